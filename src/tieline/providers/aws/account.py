"""Which account a connection reads, the ways to its credentials, and the test call that names it."""

from __future__ import annotations

from pydantic import Field, SecretStr

from tieline.providers.aws.client import AwsClient
from tieline.sdk import AssumeRole, Context, Credential, Custom, Forbidden, Identified, Invalid, Options, Role

_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}  # by the beginning of a region's name


class AwsCredential(Credential):
    """An access key of an IAM user in the account that is read."""

    access_key_id: str = Field(
        min_length=20,
        max_length=128,
        title="Access key ID",
        examples=["AKIAIOSFODNN7EXAMPLE"],
        json_schema_extra={"pattern": "A[KS]IA[A-Z0-9]{16,}"},
    )
    secret_access_key: SecretStr = Field(
        min_length=1,
        max_length=200,
        title="Secret access key",
        json_schema_extra={"pattern": "[A-Za-z0-9/+=]{40}"},
    )
    session_token: SecretStr | None = Field(
        None,
        max_length=10_000,
        title="Session token",
        description="Only for temporary keys, which begin with ASIA",
    )


_ROLE_HELP = (
    "AWS console → IAM → Roles → Create role → Custom trust policy, with a read-only policy; the README has both, and a "
    "CloudFormation template."
)

WAYS = (
    AssumeRole(help=f"{_ROLE_HELP} Trust policy: Tieline's principal, with the external ID that is shown here."),
    AssumeRole(
        slot="web_identity",
        keyless=True,
        help=f"{_ROLE_HELP} Trust policy: Tieline's issuer as an identity provider, with the audience sts.amazonaws.com "
        "and the subject that is shown here.",
    ),
    Custom(
        AwsCredential,
        slot="access_key",
        help="AWS console → IAM → Users → the read-only user → Security credentials → Access keys",
    ),
)


class AwsOptions(Options):
    """Where to read."""

    region: str = Field(
        "us-east-1",
        pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$",
        title="Region",
        description="Where Security Hub is read; it also decides between AWS, AWS China and GovCloud",
    )
    endpoint_url: str | None = Field(
        None,
        max_length=500,
        title="Endpoint",
        description="Only for emulators and private endpoints",
    )


async def identify(ctx: Context[AwsOptions]) -> Identified:
    """The account that the credential opens; its alias, where there is one and reading it is allowed, is the name.

    Raises `Invalid` if the region is of another partition than the role, whose keys would be unknown there.
    """
    if isinstance(ctx.credential, Role):
        _check_partition(ctx.credential.role_arn, ctx.options.region)
    client = AwsClient(ctx)
    account = await client.one("sts:GetCallerIdentity", "Account")
    try:
        aliases = await client.one("iam:ListAccountAliases", "AccountAliases")
    except Forbidden:
        aliases = []
    return Identified(id=account, name=aliases[0] if aliases else account)


def _check_partition(role_arn: str, region: str) -> None:
    """AWS, China, GovCloud and the sovereign cloud know nothing of each other's accounts."""
    partition = role_arn.split(":")[1]
    expected = next((name for prefix, name in _PARTITIONS.items() if region.startswith(prefix)), "aws")
    if partition != expected:
        raise Invalid(
            f"region: {region} is of the partition {expected}, and the role is of {partition}",
            advice="Give a region of the partition that the role's ARN names.",
        )
