"""An AWS role in the customer's account that Tieline assumes for an hour (AWS STS).

The external id is Tieline's, another for every organization, so that no customer can name another's role. Without a key of the
operator's, Tieline's own identity token is shown in place of a signature, and the role trusts its subject.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import httpx2
from pydantic import Field, SecretStr

from tieline.errors import Forbidden, Invalid, ProviderError, RateLimited, Unauthorised, Unavailable, Unexpected
from tieline.sdk.answers import Answer, judge
from tieline.sdk.auth.credential import Credential, OAuthApp, ShortLived
from tieline.sdk.auth.kinds import AuthContext
from tieline.sdk.auth.token_answer import read_time

_PARTITIONS = "aws|aws-cn|aws-us-gov|aws-eusc|aws-iso|aws-iso-b|aws-iso-e|aws-iso-f"
_ROLE = re.compile(rf"arn:(?:{_PARTITIONS}):iam::[0-9]{{12}}:role/[\w+=,.@/-]{{1,576}}", re.ASCII)
_FORM = "application/x-www-form-urlencoded"
_REFUSED = frozenset({"AccessDenied", "IDPRejectedClaim", "InvalidIdentityToken"})
_KEY_REFUSED = frozenset({
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId",
    "MissingAuthenticationToken", "SignatureDoesNotMatch", "UnrecognizedClientException",
})  # fmt: skip
_TOO_MANY = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"})


class Role(Credential):
    """A role in the customer's account. Nothing secret."""

    role_arn: str = Field(
        min_length=1,
        max_length=2_048,
        title="Role ARN",
        description="The role to assume; its trust policy asks for the external ID that Tieline shows",
        examples=["arn:aws:iam::123456789012:role/tieline"],
        json_schema_extra={"pattern": _ROLE.pattern},
    )


class AwsSession(ShortLived):
    """Temporary keys of a role."""

    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr


@dataclass(frozen=True, kw_only=True)
class AssumeRole:
    """A role that is assumed with the operator's key (`client_id` and `client_secret` of the app), or `keyless` by identity token.

    The request is signed for the region that `sts_url` names. A vendor's SDK signs the provider's requests with what is minted:
    `await ctx.fresh()`. `seconds` is how long a session lasts; a role chained from another gives an hour at most.
    """

    sts_url: str = "{sts}"
    keyless: bool = False
    audience: str = "sts.amazonaws.com"
    session_name: str = "tieline"
    seconds: int = 3600
    help: str = ""
    slot: str = "role"
    kind: str = "role"

    @property
    def credential(self) -> type[Credential]:
        """The role's ARN."""
        return Role

    @property
    def app_fields(self) -> frozenset[str]:
        """The operator's key, unless there is none."""
        return frozenset() if self.keyless else frozenset({"client_id", "client_secret"})

    def sign(self, request: httpx2.Request, credential: Any) -> None:
        """Nothing: a vendor's SDK signs its own requests."""

    async def mint(self, ctx: AuthContext, credential: Role) -> AwsSession:
        """A session; raises `Unauthorised` if the role does not trust Tieline with this external id (any more)."""
        if not _ROLE.fullmatch(credential.role_arn):
            raise Invalid(
                "That is not the ARN of a role", advice="It looks like arn:aws:iam::123456789012:role/tieline."
            )
        asked = {
            "Version": "2011-06-15",
            "RoleArn": credential.role_arn,
            "RoleSessionName": self.session_name,
            "DurationSeconds": str(self.seconds),
        }
        return _read(await (self._by_token(ctx, asked) if self.keyless else self._by_key(ctx, asked)))

    async def _by_key(self, ctx: AuthContext, asked: dict[str, str]) -> Answer:
        if not ctx.external_id:
            raise Invalid("There is no external id, and no role is assumed without one")
        form = {"Action": "AssumeRole", **asked, "ExternalId": ctx.external_id}
        url, app = ctx.url(self.sts_url), _need_key(ctx)
        headers = _signed(url, form, app, _region_of(url))
        return await ctx.send("POST", url, form=form, headers=headers, secrets=tuple(app.secrets()))

    async def _by_token(self, ctx: AuthContext, asked: dict[str, str]) -> Answer:
        token = await ctx.identity_token(self.audience)
        form = {"Action": "AssumeRoleWithWebIdentity", **asked, "WebIdentityToken": token}
        return await ctx.send("POST", ctx.url(self.sts_url), form=form, secrets=(token,))


def _need_key(ctx: AuthContext) -> OAuthApp:
    """The access key that signs, which is kept as an app is."""
    if ctx.app is None:
        raise Invalid(
            f"There is no AWS access key of the operator's to assume roles with for {ctx.provider}",
            advice="Let the operator set TIELINE_OAUTH_AWS_CLIENT_ID to its access key id and TIELINE_OAUTH_AWS_CLIENT_SECRET "
            "to its secret access key; or connect by a way that needs no key.",
        )
    return ctx.app


def _region_of(url: str) -> str:
    """The region in an address such as https://sts.eu-west-1.amazonaws.com; the global one is that of us-east-1."""
    matched = re.match(r"https?://sts[.-](?:fips[.-])?([a-z]{2}(?:-[a-z]+)+-\d)\.", url)
    return matched[1] if matched else "us-east-1"


def _signed(url: str, form: dict[str, str], app: OAuthApp, region: str) -> dict[str, str]:
    """The headers of Signature Version 4, by AWS's own library, which is only loaded when it is needed."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    if app.client_secret is None:
        raise Invalid(
            "The operator's AWS key is not complete", advice="Set its secret access key as the client secret."
        )
    request = AWSRequest("POST", url, data=urlencode(form).encode(), headers={"content-type": _FORM})
    SigV4Auth(Credentials(app.client_id, app.client_secret.get_secret_value()), "sts", region).add_auth(request)
    return dict(request.headers)


def _read(answer: Answer) -> AwsSession:
    told = _parse(answer)
    if answer.status != 200:
        raise _judge(answer, told.get("Code", ""))
    ends = read_time(told.get("Expiration"))
    if ends is None or not told.keys() >= {"AccessKeyId", "SecretAccessKey", "SessionToken"}:
        raise answer.asked.fail(Unexpected, "gave no session where one was expected")
    return AwsSession(
        access_key_id=told["AccessKeyId"],
        secret_access_key=SecretStr(told["SecretAccessKey"]),
        session_token=SecretStr(told["SessionToken"]),
        expires_at=ends,
    )


def _judge(answer: Answer, code: str) -> ProviderError:
    if code in _REFUSED:
        return answer.fail(
            Unauthorised,
            f"does not let the role be assumed ({code})",
            advice="Check the role's ARN, and that its trust policy names Tieline and this very external id or subject.",
        )
    if code in _KEY_REFUSED:
        return answer.fail(
            Unexpected,
            f"refused Tieline's own key or identity token ({code})",
            advice="Let the operator check the access key and its secret, or the published issuer, and this machine's clock.",
        )
    if code in _TOO_MANY:
        return answer.fail(RateLimited, f"asks to wait until {answer.until:%H:%M:%S} UTC", until=answer.until)
    if code == "RegionDisabledException":
        return answer.fail(Forbidden, "has its token service switched off in this region")
    if code in ("IDPCommunicationError", "InternalFailure", "ServiceUnavailable"):
        return answer.fail(Unavailable, f"could not answer ({code})")
    shown = code if re.fullmatch(r"\w{1,60}", code) else "no code"
    return judge(answer) or answer.fail(Unexpected, f"answered {answer.status} ({shown})")


def _parse(answer: Answer) -> dict[str, str]:
    """The text of every element by its name. An answer with a document type, which could hold entities, is not read."""
    try:
        text = answer.body.decode()
        root = ET.fromstring(text) if "<!" not in text else None  # noqa: S314  so there is no entity to expand
    except (ValueError, ET.ParseError):
        root = None
    if root is None:
        return {}
    return {element.tag.rpartition("}")[2]: element.text.strip() for element in root.iter() if element.text}
