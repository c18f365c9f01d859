"""AWS: one account's IAM and Security Hub, read by a role or with an access key, through AWS's own SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.aws.account import WAYS, AwsOptions, identify
from tieline.providers.aws.client import AwsClient, Fetch
from tieline.providers.aws.findings import MAPPINGS, finding_record, open_findings
from tieline.sdk import (
    AccessKey,
    Account,
    Authenticator,
    Context,
    Group,
    Membership,
    Policy,
    Provider,
    Record,
    Related,
)

ROOT = "root"
MOST = 100  # a page's size: what Security Hub allows, and IAM's own default

aws: Provider[AwsOptions] = Provider(
    slug="aws",
    name="AWS",
    category="cloud",
    base_url="https://iam.amazonaws.com",
    docs_url="https://docs.aws.amazon.com/IAM/latest/APIReference/",
    remains="The role, or the IAM user with its access key: delete it in IAM.",
    description="IAM users, MFA devices, groups, access keys and password policy; Security Hub findings",
    hosts={"sts": "https://sts.us-east-1.amazonaws.com"},
    auth=WAYS,
    identity=identify,
    options=AwsOptions,
)


@aws.sync(
    Account.map(
        external_id="payload.UserId",
        username="payload.UserName",
        display_name="payload.UserName",
        type="has(payload.LoginProfile) ? 'person' : 'service'",
        active="true",  # IAM cannot suspend a user: one that exists may sign in with what it has
        has_password="has(payload.LoginProfile)",  # noqa: S106  an expression
        last_login_at="payload.PasswordLastUsed",
        created_at="payload.CreateDate",
    ),
    every="6h",
    needs=["iam:ListUsers", "iam:GetLoginProfile"],
)
async def users(ctx: Context[AwsOptions]) -> AsyncIterator[Any]:
    """IAM users, and whether each has a password for the console.

    The credential report would tell it in one call, but may be four hours old.
    """
    client = AwsClient(ctx)

    async def with_login(user: dict[str, Any]) -> dict[str, Any]:
        asked = {"UserName": user["UserName"]}
        return user | {"LoginProfile": await client.one("iam:GetLoginProfile", "LoginProfile", asked, missing=None)}

    async for user in ctx.each(_users(client)).join(with_login):
        yield user


@aws.sync(
    (
        Account.map(
            external_id=f"'{ROOT}'",
            username=f"'{ROOT}'",
            display_name="'Root user'",
            active="true",
            admin="true",
            mfa="payload.AccountMFAEnabled > 0",
            has_password="payload.AccountPasswordPresent > 0",  # noqa: S106  an expression
            variant="account",
        ),
        AccessKey.map(
            filter="payload.AccountAccessKeysPresent > 0",
            external_id=f"'{ROOT}'",
            account=f"'{ROOT}'",
            name="'Access keys of the root user'",
            variant="access_key",
        ),
    ),
    every="6h",
    needs=["iam:GetAccountSummary"],
)
async def root_user(ctx: Context[AwsOptions]) -> AsyncIterator[Any]:
    """The root user, of which the account's summary tells whether it has MFA, keys and a password."""
    summary = await AwsClient(ctx).one("iam:GetAccountSummary", "SummaryMap")
    facts = {name: value for name, value in summary.items() if name.startswith("Account")}
    yield Record(facts, "account")
    yield Record(facts, "access_key")


@aws.sync(
    Authenticator.map(
        external_id="payload.SerialNumber",
        account="payload.UserId",
        type="payload.SerialNumber.contains(':u2f/') ? 'security_key' : "
        "payload.SerialNumber.contains(':mfa/') ? 'totp' : 'hardware'",
        active="true",
        phishing_resistant="payload.SerialNumber.contains(':u2f/')",
        created_at="payload.EnableDate",
    ),
    every="6h",
    needs=["iam:ListUsers", "iam:ListMFADevices"],
)
async def mfa_devices(ctx: Context[AwsOptions]) -> AsyncIterator[Any]:
    """The MFA devices of each IAM user."""
    client = AwsClient(ctx)

    async def devices(user: dict[str, Any]) -> list[dict[str, Any]]:
        found = await client.whole("iam:ListMFADevices", "MFADevices", {"UserName": user["UserName"]})
        return [device | {"UserId": user["UserId"]} for device in found]

    async for enrolled in ctx.each(_users(client)).join(devices):
        for device in enrolled:
            yield device


@aws.sync(
    AccessKey.map(
        external_id="payload.AccessKeyId",
        account="payload.UserId",
        name="payload.UserName + ' ' + payload.AccessKeyId",
        active="payload.Status == 'Active'",
        created_at="payload.CreateDate",
        last_used_at="payload.AccessKeyLastUsed.LastUsedDate",
    ),
    every="6h",
    needs=["iam:ListUsers", "iam:ListAccessKeys", "iam:GetAccessKeyLastUsed"],
)
async def access_keys(ctx: Context[AwsOptions]) -> AsyncIterator[Any]:
    """The access keys of each IAM user, and when each was last used."""
    client = AwsClient(ctx)

    async def keys(user: dict[str, Any]) -> list[dict[str, Any]]:
        found = await client.whole("iam:ListAccessKeys", "AccessKeyMetadata", {"UserName": user["UserName"]})
        return [key | {"UserId": user["UserId"]} | await last_use(key["AccessKeyId"]) for key in found]

    async def last_use(key_id: str) -> dict[str, Any]:
        part = "AccessKeyLastUsed"
        return {part: await client.one("iam:GetAccessKeyLastUsed", part, {"AccessKeyId": key_id}, missing=None)}

    async for owned in ctx.each(_users(client)).join(keys):
        for key in owned:
            yield key


@aws.sync(
    (
        Group.map(
            external_id="payload.GroupId",
            name="payload.GroupName",
            type="'security'",
            member_count="payload.UserCount",
            created_at="payload.CreateDate",
            variant="group",
        ),
        Membership.map(
            external_id="payload.GroupId + ':' + payload.UserId",
            account="payload.UserId",
            group="payload.GroupId",
            variant="membership",
        ),
    ),
    every="6h",
    needs=["iam:ListGroups", "iam:GetGroup"],
)
async def groups(ctx: Context[AwsOptions]) -> AsyncIterator[Any]:
    """IAM groups and the users in each."""
    client = AwsClient(ctx)

    async def with_users(group: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return group, await client.whole("iam:GetGroup", "Users", {"GroupName": group["GroupName"]})

    async for group, members in ctx.each(client.pages("iam:ListGroups", "Groups", params={"MaxItems": MOST})).join(
        with_users
    ):
        yield Record(group | {"UserCount": len(members)}, "group")
        for user in members:
            yield Record({"GroupId": group["GroupId"], "UserId": user["UserId"]}, "membership")


@aws.sync(
    Policy.map(
        external_id="'password-policy'",
        name="payload.IsOwn ? 'IAM password policy' : 'AWS default password policy'",
        type="'password'",
        status="'active'",  # where an account sets none, AWS enforces its default
        min_length="payload.MinimumPasswordLength",
        history="has(payload.PasswordReusePrevention) ? payload.PasswordReusePrevention : 0",
        max_age_days="payload.MaxPasswordAge",
    ),
    every="1d",
    needs=["iam:GetAccountPasswordPolicy"],
)
async def password_policy(ctx: Context[AwsOptions]) -> AsyncIterator[Any]:
    """The account's password policy, or AWS's default where it set none.

    That asks for eight characters and lets old passwords come back:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_passwords_account-policy.html
    """
    default = {"MinimumPasswordLength": 8, "IsOwn": False}
    found = await AwsClient(ctx).one("iam:GetAccountPasswordPolicy", "PasswordPolicy", missing=default)
    yield {"IsOwn": True} | found


@aws.sync(MAPPINGS, every="1h", needs=["securityhub:GetFindings"])
async def security_hub(ctx: Context[AwsOptions]) -> AsyncIterator[Any]:
    """Security Hub findings that are not archived: CVEs as vulnerabilities, all others as alerts."""
    async for finding in ctx.each(open_findings(AwsClient(ctx), size=MOST)):
        yield finding_record(finding)


def _users(client: AwsClient) -> Fetch:
    return client.pages("iam:ListUsers", "Users", params={"MaxItems": MOST})


@aws.check(
    Account,
    severity="critical",
    controls=["soc2:CC6.1", "iso27001:A.8.2", "iso27001:A.8.5"],
    when=lambda account: account.external_id == ROOT and account.has_password is not False,
)
def root_user_has_mfa(account: Account) -> bool | None:
    """The root user signs in with a second factor.

    Sign in to the AWS console as the root user → Security credentials → Assign MFA device.
    """
    return account.mfa


@aws.check(
    Account,
    severity="critical",
    controls=["soc2:CC6.1", "iso27001:A.8.2"],
    when=lambda account: account.external_id == ROOT,
)
def root_user_has_no_access_keys(account: Account, keys: Related[AccessKey]) -> bool | None:  # noqa: ARG001  its keys decide
    """The root user has no access keys.

    Sign in to the AWS console as the root user → Security credentials → Access keys → delete each; use roles instead.
    """
    return keys.none()
