"""AWS: read from moto with every signature and permission checked, and from canned answers for what moto cannot do.

The environment of every test is full of rubbish that botocore would heed by itself: that the tests pass is the proof that
it reads nothing but the connection's credential.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import boto3
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError
from tests.emulators.moto import serving_moto

from tieline.clock import Clock, SystemClock
from tieline.errors import Forbidden, Invalid, NotOffered, RateLimited, Unauthorised, Unavailable, Unexpected
from tieline.providers.aws import provider
from tieline.providers.aws.account import AwsCredential, AwsOptions
from tieline.providers.aws.client import AwsClient
from tieline.providers.aws.provider import aws
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import AuthContext, AwsSession, Mints, OAuthApp, Role, make_send, malformed_fields
from tieline.sdk.checks import Related
from tieline.sdk.context import Checkpoint, Context, Record
from tieline.sdk.entities import AccessKey, Account, Alert, Entity, Group, Membership, Vulnerability
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget
from tieline.sdk.mapping import Rejected
from tieline.sdk.provider import Operation

ACCOUNT = "123456789012"
USERS, FINDINGS = 30, 130
PARTY = {"ExternalId": "party-7f3"}
OPERATIONS = {operation.id: operation for operation in aws.operations}
CHECKS = {check.id: check for check in aws.checks}
README = Path(provider.__file__).with_name("README.md")
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@dataclass(frozen=True)
class Moto:
    """A running moto that holds the seeded account, and the credentials that were made in it."""

    url: str
    reader: AwsCredential
    lister: AwsCredential
    outsider: AwsCredential
    role_arn: str

    def control(self, method: str, path: str, body: str = "") -> str:
        """Call moto's own API."""
        connection = HTTPConnection(self.url.removeprefix("http://"))
        try:
            connection.request(method, f"/moto-api/{path}", body=body)
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read().decode()
        finally:
            connection.close()

    def asked(self) -> list[str]:
        """The bodies of the requests since the recording began."""
        lines = [json.loads(line) for line in self.control("GET", "recorder/download-recording").splitlines()]
        return [b64decode(line["body"]).decode() if line["body_encoded"] else line["body"] for line in lines]


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with serving_moto(tmp_path_factory.mktemp("moto")) as url:
        running = _seed(url)
        running.control("POST", "reset-auth", "0")  # from now on every signature and permission is checked
        yield running


@pytest.fixture(autouse=True)
def _rubbish_around(moto: Moto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What botocore, left alone, would obey; `moto` comes first, for it is seeded by a plain client."""
    config = tmp_path / ".aws" / "config"
    config.parent.mkdir()
    config.write_text("[default]\nregion = rubbish\nretry_mode = rubbish\ncredential_process = false\n[rubbish")
    config.with_name("credentials").write_text("[default]\naws_access_key_id = rubbish\n[rubbish")
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "AKIARUBBISHRUBBISH00",
        "AWS_SECRET_ACCESS_KEY": "rubbish",
        "AWS_SESSION_TOKEN": "rubbish",
        "AWS_PROFILE": "rubbish",
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "AWS_REGION": "rubbish",
        "AWS_DEFAULT_REGION": "rubbish",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_IAM": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/rubbish",
        "REQUESTS_CA_BUNDLE": "/rubbish",
        "AWS_RETRY_MODE": "rubbish",
        "AWS_MAX_ATTEMPTS": "rubbish",
        "AWS_DEFAULTS_MODE": "rubbish",
        "AWS_STS_REGIONAL_ENDPOINTS": "rubbish",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "HTTPS_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def _seed(url: str) -> Moto:
    """Thirty users, two of three with a password, every second with MFA; three groups; 130 findings; a role."""
    how: dict[str, Any] = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "aws_access_key_id": "AKIASEEDINGSEEDING00",
        "aws_secret_access_key": "seeding",
    }
    iam = boto3.client("iam", **how)
    hub: Any = boto3.client("securityhub", **how)
    iam.create_account_alias(AccountAlias="larkfield")
    iam.update_account_password_policy(MinimumPasswordLength=16, PasswordReusePrevention=5, MaxPasswordAge=90)
    names = [f"user-{number:02}" for number in range(USERS)]
    for group in ("admins", "everyone", "nobody"):
        iam.create_group(GroupName=group)
    for number, name in enumerate(names):
        iam.create_user(UserName=name)
        iam.add_user_to_group(GroupName="everyone", UserName=name)
        if number % 3:
            iam.create_login_profile(UserName=name, Password="correct horse battery")
        if number % 2:
            device = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]["SerialNumber"]
            iam.enable_mfa_device(
                UserName=name, SerialNumber=device, AuthenticationCode1="123456", AuthenticationCode2="654321"
            )
    iam.enable_mfa_device(
        UserName=names[0],
        SerialNumber=f"arn:aws:iam::{ACCOUNT}:u2f/user/{names[0]}/key",
        AuthenticationCode1="123456",
        AuthenticationCode2="654321",
    )
    iam.add_user_to_group(GroupName="admins", UserName=names[0])
    hub.batch_import_findings(Findings=[_finding(number) for number in range(FINDINGS)])
    reader = _user_with_key(iam, names[0], [EVERYTHING])
    retired = iam.create_access_key(UserName=names[1])["AccessKey"]
    iam.update_access_key(UserName=names[1], AccessKeyId=retired["AccessKeyId"], Status="Inactive")
    lister = _user_with_key(iam, names[2], [{"Effect": "Allow", "Action": ["iam:ListUsers"], "Resource": "*"}])
    outsider = _user_with_key(iam, names[3], [{"Effect": "Allow", "Action": ["sts:AssumeRole"], "Resource": "*"}])
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{names[3]}"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": PARTY["ExternalId"]}},
    }
    role = iam.create_role(RoleName="tieline", AssumeRolePolicyDocument=_policy([trust]))["Role"]["Arn"]
    iam.put_role_policy(RoleName="tieline", PolicyName="read", PolicyDocument=_policy([EVERYTHING]))
    return Moto(url, reader, lister, outsider, role)


def _policy(statements: Sequence[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _user_with_key(iam: Any, name: str, statements: Sequence[dict[str, Any]]) -> AwsCredential:
    iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=_policy(statements))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return AwsCredential(access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])


def _finding(number: int) -> dict[str, Any]:
    """Every tenth is a CVE; workflows and severities go round."""
    finding: dict[str, Any] = {
        "SchemaVersion": "2018-10-08",
        "Id": f"arn:aws:securityhub:us-east-1:{ACCOUNT}:finding/{number:04}",
        "ProductArn": f"arn:aws:securityhub:us-east-1:{ACCOUNT}:product/{ACCOUNT}/default",
        "GeneratorId": "generator",
        "AwsAccountId": ACCOUNT,
        "Types": ["Software and Configuration Checks/Industry and Regulatory Standards"],
        "FirstObservedAt": "2026-01-02T03:04:05.678Z",
        "LastObservedAt": "2026-02-02T03:04:05Z",
        "CreatedAt": "2026-01-02T03:04:05Z",
        "UpdatedAt": "2026-02-02T03:04:05Z",
        "Severity": {"Label": ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL")[number % 5]},
        "Workflow": {"Status": ("NEW", "NOTIFIED", "RESOLVED", "SUPPRESSED")[number % 4]},
        "RecordState": "ACTIVE",
        "Title": f"Finding {number}",
        "Description": "What is wrong",
        "Resources": [{"Type": "AwsS3Bucket", "Id": f"arn:aws:s3:::bucket-{number}"}],
        "Remediation": {"Recommendation": {"Text": "Close it", "Url": "https://docs.example/close"}},
    }
    if number % 10 == 0:
        finding["Types"] = ["Software and Configuration Checks/Vulnerabilities/CVE"]
        finding["Vulnerabilities"] = [
            {
                "Id": f"CVE-2026-{number:04}",
                "Cvss": [{"Version": "2.0", "BaseScore": 5.0}, {"Version": "3.1", "BaseScore": 9.8}],
                "VulnerablePackages": [{"Name": "openssl", "Version": "3.0.1", "FixedInVersion": "3.0.2"}],
                "FixAvailable": "YES",
                "ReferenceUrls": ["https://cve.example/1"],
            }
        ]
    return finding


# Canned answers


@contextmanager
def answering(
    answer: Callable[[dict[str, str]], tuple[int, str]], *, tls: Path | None = None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers each question with `answer(question)`: its URL, and the list of what it was asked.

    `tls` is a file of a certificate and its key, with which it speaks https.
    """
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            question = dict(parse_qsl(body)) if self.path == "/" else {"Action": "GetFindings", "body": body}
            asked.append(question)
            status, text = answer(question)
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def setup(self) -> None:
            if tls:
                with suppress(ssl.SSLError):  # who does not trust the certificate hangs up
                    self.request.do_handshake()
            super().setup()

        def handle(self) -> None:
            with suppress(ssl.SSLError):
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        how = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        how.load_cert_chain(tls)
        server.socket = how.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusing(status: int, code: str, message: str = "no") -> Callable[[dict[str, str]], tuple[int, str]]:
    """IAM and STS answer XML, Security Hub JSON; a body of both kinds does not exist, so the question decides."""

    def answer(question: dict[str, str]) -> tuple[int, str]:
        if question["Action"] == "GetFindings":
            return status, json.dumps({"Code": code, "Message": message})
        return status, f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"

    return answer


def xml(action: str, inner: str) -> tuple[int, str]:
    return 200, f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"


def _certified(folder: Path) -> Path:
    """A file of a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / "loopback.pem"
    file.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return file


# The harness

STATIC = AwsCredential(access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="k" * 40)


def context(
    url: str | None,
    credential: AwsCredential | Role = STATIC,
    *,
    session: Callable[[], Awaitable[AwsSession]] | None = None,
    allowed: str = "127.0.0.1",
    region: str = "us-east-1",
    start: Checkpoint | None = None,
    turned: Any = None,
    clock: Clock | None = None,
) -> Context[AwsOptions]:
    policy, clock = AddressPolicy.parse(allowed), clock or SystemClock()
    http = Http(base_url=aws.base_url, provider=aws.name, policy=policy, budget=LocalBudget(clock), clock=clock)
    return Context(
        options=AwsOptions(endpoint_url=url, region=region),
        credential=credential,
        http=http,
        policy=policy,
        clock=clock,
        fresh=session,
        start=start,
        turned=turned,
    )


def entity_of(operation: Operation, record: Any) -> Entity | None:
    """What becomes of a record, which must be JSON and must not be rejected."""
    variant, payload = (record.variant, record.payload) if isinstance(record, Record) else (None, record)
    mapping = operation.mapping_for(variant)
    assert mapping is not None
    entity = mapping.compile().apply(orjson.loads(orjson.dumps(payload)))
    assert not isinstance(entity, Rejected), entity
    return entity


async def read(operation: str, ctx: Context[AwsOptions]) -> list[Any]:
    found = [entity_of(OPERATIONS[operation], record) async for record in OPERATIONS[operation].read(ctx)]
    return [entity for entity in found if entity is not None]


# What is read


async def test_identity_names_the_account_by_its_alias(moto: Moto) -> None:
    found = await aws.identity(context(moto.url, moto.reader))

    assert (found.id, found.name, found.scopes) == (ACCOUNT, "larkfield", None)


async def test_identity_falls_back_to_the_account_id_where_the_alias_may_not_be_read(moto: Moto) -> None:
    found = await aws.identity(context(moto.url, moto.lister))

    assert (found.id, found.name) == (ACCOUNT, ACCOUNT)


async def test_users_become_accounts_and_those_without_a_password_are_services(moto: Moto) -> None:
    found = await read("users", context(moto.url, moto.reader))

    assert [account.username for account in found] == [f"user-{number:02}" for number in range(USERS)]
    for number, account in enumerate(found):
        assert account.has_password is bool(number % 3)
        assert account.type == ("person" if number % 3 else "service")
        assert account.active is True
        assert account.mfa is None
        assert account.created_at is not None


async def test_mfa_devices_link_to_their_accounts(moto: Moto) -> None:
    accounts = {
        account.external_id: account.username for account in await read("users", context(moto.url, moto.reader))
    }

    found = await read("mfa_devices", context(moto.url, moto.reader))

    owners = sorted(accounts[device.account] for device in found)
    assert owners == sorted(["user-00"] + [f"user-{number:02}" for number in range(1, USERS, 2)])
    keys = [device for device in found if device.phishing_resistant]
    assert [(accounts[key.account], key.type) for key in keys] == [("user-00", "security_key")]
    assert {device.type for device in found if device not in keys} == {"totp"}


async def test_groups_come_with_their_memberships(moto: Moto) -> None:
    accounts = {
        account.username: account.external_id for account in await read("users", context(moto.url, moto.reader))
    }

    found = await read("groups", context(moto.url, moto.reader))

    groups = {entity.external_id: entity for entity in found if isinstance(entity, Group)}
    counts = {group.name: group.member_count for group in groups.values()}
    assert counts == {"admins": 1, "everyone": USERS, "nobody": 0}
    memberships = [entity for entity in found if isinstance(entity, Membership)]
    assert len(memberships) == len({membership.external_id for membership in memberships}) == USERS + 1
    admins = [membership.account for membership in memberships if groups[membership.group].name == "admins"]
    assert admins == [accounts["user-00"]]


async def test_access_keys_tell_whether_they_are_active_and_when_they_were_used(moto: Moto) -> None:
    found = {key.external_id: key for key in await read("access_keys", context(moto.url, moto.reader))}

    assert len(found) == 4
    assert [key.active for key in found.values()].count(False) == 1
    assert all(key.created_at and key.account for key in found.values())
    assert found[moto.reader.access_key_id].last_used_at is not None
    assert next(key for key in found.values() if not key.active).last_used_at is None


async def test_the_password_policy_is_read(moto: Moto) -> None:
    (policy,) = await read("password_policy", context(moto.url, moto.reader))

    assert (policy.status, policy.min_length, policy.history, policy.max_age_days) == ("active", 16, 5, 90)


async def test_an_account_without_a_password_policy_has_the_default_of_aws() -> None:
    with answering(refusing(404, "NoSuchEntity")) as (url, _):
        (policy,) = await read("password_policy", context(url))

    assert (policy.name, policy.status, policy.min_length) == ("AWS default password policy", "active", 8)
    assert (policy.history, policy.max_age_days) == (0, None)


async def test_findings_become_alerts_and_cves_become_vulnerabilities(moto: Moto) -> None:
    found = await read("security_hub", context(moto.url, moto.reader))

    alerts = [entity for entity in found if isinstance(entity, Alert)]
    weaknesses = [entity for entity in found if isinstance(entity, Vulnerability)]
    assert (len(alerts), len(weaknesses)) == (117, 13)
    assert [alert.status for alert in alerts[:4]] == ["open", "resolved", "dismissed", "open"]
    assert [alert.severity for alert in alerts[:4]] == ["high", "medium", "low", "info"]
    first = alerts[0]
    assert (first.resource, first.recommendation) == ("arn:aws:s3:::bucket-1", "Close it")
    assert first.first_seen_at == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    weakness = weaknesses[1]
    assert (weakness.cve, weakness.score, weakness.severity) == ("CVE-2026-0010", 9.8, "critical")
    assert (weakness.package, weakness.fixed_version, weakness.fix_available) == ("openssl", "3.0.2", True)
    assert (weakness.status, weakness.affects) == ("fixed", "arn:aws:s3:::bucket-10")


def test_a_finding_that_lacks_every_optional_part_is_still_an_entity() -> None:
    bare = {
        name: value for name, value in _finding(1).items() if name not in {"Remediation", "FirstObservedAt", "Types"}
    }
    cve = _finding(0) | {
        "Vulnerabilities": [{"Id": "CVE-1", "Cvss": [], "VulnerablePackages": [], "ReferenceUrls": []}]
    }

    alert = entity_of(OPERATIONS["security_hub"], Record(bare | {"RecordState": "ARCHIVED"}, "alert"))
    weakness = entity_of(OPERATIONS["security_hub"], Record(cve, "vulnerability"))

    assert isinstance(alert, Alert)
    assert (alert.status, alert.url, alert.category) == ("resolved", None, None)
    assert isinstance(weakness, Vulnerability)
    assert (weakness.cve, weakness.score, weakness.package, weakness.fix_available) == ("CVE-1", None, None, None)


# Paging and resuming


async def test_security_hub_goes_on_from_the_page_after_the_last_complete_one(moto: Moto) -> None:
    reached: list[Checkpoint] = []

    async def turned(checkpoint: Checkpoint) -> None:
        reached.append(checkpoint)

    whole = await read("security_hub", context(moto.url, moto.reader, turned=turned))
    rest = await read("security_hub", context(moto.url, moto.reader, start=reached[0]))

    assert len(reached) == 2
    assert orjson.loads(orjson.dumps(reached[0].cursor)) == reached[0].cursor
    assert rest == whole[100:]
    assert await read("security_hub", context(moto.url, moto.reader, start=reached[1])) == []


@pytest.mark.parametrize("operation", ["users", "mfa_devices", "access_keys"])
async def test_iam_lists_go_on_from_their_marker(operation: str) -> None:
    with answering(_three_pages) as (url, asked):
        found = await read(operation, context(url, start=Checkpoint(0, "page-2")))

    assert [question.get("Marker") for question in asked if question["Action"] == "ListUsers"] == ["page-2", "page-3"]
    assert len(found) == 2


async def test_a_user_deleted_while_it_is_read_has_no_details() -> None:
    def answer(question: dict[str, str]) -> tuple[int, str]:
        return _three_pages(question) if question["Action"] == "ListUsers" else refusing(404, "NoSuchEntity")(question)

    with answering(answer) as (url, _):
        assert await read("mfa_devices", context(url)) == []
        assert [account.has_password for account in await read("users", context(url))] == [False, False, False]


async def test_a_page_token_that_comes_again_ends_the_reading() -> None:
    page = xml("ListGroups", "<Groups></Groups><IsTruncated>true</IsTruncated><Marker>again</Marker>")

    with answering(lambda _: page) as (url, asked), pytest.raises(Unexpected, match="repeated its page token"):
        await read("groups", context(url))

    assert len(asked) == 2


def _three_pages(question: dict[str, str]) -> tuple[int, str]:
    """Three pages of one user each, who each have one key and one device."""
    at = int(question.get("Marker", "page-1")[-1])
    match question["Action"]:
        case "ListUsers":
            more = f"<IsTruncated>true</IsTruncated><Marker>page-{at + 1}</Marker>" if at < 3 else ""
            user = f"<UserName>u{at}</UserName><UserId>AIDA{at}</UserId><CreateDate>2026-01-01T00:00:00Z</CreateDate>"
            return xml("ListUsers", f"<Users><member>{user}</member></Users>{more}")
        case "ListMFADevices":
            device = "<SerialNumber>GAHT12345678</SerialNumber><EnableDate>2026-01-01T00:00:00Z</EnableDate>"
            return xml("ListMFADevices", f"<MFADevices><member>{device}</member></MFADevices>")
        case "ListAccessKeys":
            name = question["UserName"]
            key = f"<AccessKeyId>AKIA000000000000{name}</AccessKeyId><UserName>{name}</UserName><Status>Active</Status>"
            return xml("ListAccessKeys", f"<AccessKeyMetadata><member>{key}</member></AccessKeyMetadata>")
        case "GetAccessKeyLastUsed":
            return xml("GetAccessKeyLastUsed", "<AccessKeyLastUsed><Region>N/A</Region></AccessKeyLastUsed>")
        case _:
            return refusing(404, "NoSuchEntity")(question)


# The root user and the checks


def _judged(check: str, entity: Entity, **related: Related[Any]) -> str | None:
    judgement = CHECKS[f"aws.{check}"].judge(entity, now=datetime.now(UTC), related=related)
    return judgement.outcome if judgement else None


def _summary(**counts: int) -> Callable[[dict[str, str]], tuple[int, str]]:
    entries = "".join(f"<entry><key>{name}</key><value>{count}</value></entry>" for name, count in counts.items())
    return lambda _: xml("GetAccountSummary", f"<SummaryMap>{entries}</SummaryMap>")


@pytest.mark.parametrize(("present", "outcome"), [(1, "pass"), (0, "fail")])
async def test_the_root_user_needs_mfa(present: int, outcome: str) -> None:
    summary = _summary(AccountMFAEnabled=present, AccountAccessKeysPresent=0, AccountPasswordPresent=1, Users=7)
    with answering(summary) as (url, _):
        (account,) = await read("root_user", context(url))

    assert (account.external_id, account.admin, account.mfa, account.has_password) == (
        "root",
        True,
        bool(present),
        True,
    )
    assert _judged("root-user-has-mfa", account) == outcome


async def test_a_root_user_without_a_password_needs_no_mfa() -> None:
    summary = _summary(AccountMFAEnabled=0, AccountAccessKeysPresent=0, AccountPasswordPresent=0)
    with answering(summary) as (url, _):
        (account,) = await read("root_user", context(url))

    assert _judged("root-user-has-mfa", account) is None


async def test_the_root_user_must_have_no_access_keys() -> None:
    with answering(_summary(AccountMFAEnabled=1, AccountAccessKeysPresent=1)) as (url, _):
        account, key = await read("root_user", context(url))

    assert isinstance(key, AccessKey)
    assert key.account == account.external_id
    keys = Related([key], complete=True)
    assert _judged("root-user-has-no-access-keys", account, keys=keys) == "fail"
    assert _judged("root-user-has-no-access-keys", account, keys=Related([], complete=True)) == "pass"
    assert _judged("root-user-has-no-access-keys", account, keys=Related([], complete=False)) == "unknown"


async def test_the_root_user_is_read_from_a_real_summary(moto: Moto) -> None:
    (account,) = await read("root_user", context(moto.url, moto.reader))

    assert account.mfa is False


def test_the_checks_are_of_the_root_user_alone() -> None:
    assert _judged("root-user-has-mfa", Account(external_id="AIDA1", mfa=False)) is None
    assert (
        _judged("root-user-has-no-access-keys", Account(external_id="AIDA1"), keys=Related([], complete=True)) is None
    )


# Credentials


async def test_a_role_is_assumed_with_the_external_id(moto: Moto) -> None:
    role, session = _role(moto), await _assume(moto)

    async def fresh() -> AwsSession:
        return session

    assert (await aws.identity(context(moto.url, role, session=fresh))).id == ACCOUNT
    assert len(await read("users", context(moto.url, role, session=fresh))) == USERS


async def test_without_its_external_id_a_role_is_not_assumed(moto: Moto) -> None:
    with pytest.raises(Unauthorised) as refused:
        await _assume(moto, "another")

    assert "trust policy" in refused.value.what_to_do


async def test_the_session_that_follows_signs_what_is_asked_after_it(moto: Moto) -> None:
    sessions = [await _assume(moto), await _assume(moto)]

    async def fresh() -> AwsSession:
        return sessions[0]

    client = AwsClient(context(moto.url, _role(moto), session=fresh))
    moto.control("POST", "recorder/reset-recording")
    moto.control("POST", "recorder/start-recording")
    await client.one("sts:GetCallerIdentity", "Account")
    ended = sessions.pop(0)
    await client.one("sts:GetCallerIdentity", "Account")
    moto.control("POST", "recorder/stop-recording")

    signed = [
        re.search(r"Credential=(\w+)/", line)
        for line in moto.control("GET", "recorder/download-recording").splitlines()
    ]
    assert [found and found[1] for found in signed] == [ended.access_key_id, sessions[0].access_key_id]


@pytest.mark.parametrize(
    ("partition", "region"),
    [("aws", "cn-north-1"), ("aws-cn", "us-east-1"), ("aws-us-gov", "us-west-2"), ("aws", "eusc-de-east-1")],
)
async def test_a_region_of_another_partition_than_the_role_is_refused_before_anything_is_asked(
    partition: str, region: str
) -> None:
    role = Role(role_arn=f"arn:{partition}:iam::{ACCOUNT}:role/tieline")
    with pytest.raises(Invalid, match="partition"):
        await aws.identity(context("http://127.0.0.1:1", role, region=region))


async def test_a_wrong_secret_or_an_unknown_key_is_a_dead_credential(moto: Moto) -> None:
    wrong = moto.reader.model_copy(update={"secret_access_key": STATIC.secret_access_key})
    for credential in (wrong, STATIC):
        with pytest.raises(Unauthorised) as refused:
            await aws.identity(context(moto.url, credential))
        assert all(secret not in str(refused.value) for secret in credential.secrets())


async def test_a_permission_that_is_missing_is_named(moto: Moto) -> None:
    with pytest.raises(Forbidden) as refused:
        await read("groups", context(moto.url, moto.lister))

    assert refused.value.scope == "iam:ListGroups"


async def test_a_permission_that_is_missing_for_a_detail_is_named_too(moto: Moto) -> None:
    with pytest.raises((Forbidden, ExceptionGroup)) as raised:
        await read("users", context(moto.url, moto.lister))

    error: Any = raised.value
    while isinstance(error, ExceptionGroup):  # details are asked for side by side
        error = error.exceptions[0]
    assert isinstance(error, Forbidden)
    assert error.scope == "iam:GetLoginProfile"


async def test_no_secret_is_logged_even_at_debug(moto: Moto, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "botocore"):
        caplog.set_level(logging.DEBUG, name)
    session = await _assume(moto)

    async def fresh() -> AwsSession:
        return session

    await read("users", context(moto.url, _role(moto), session=fresh))

    shown = caplog.text + repr(AwsClient(context(moto.url, _role(moto), session=fresh)).__dict__)
    assert "urllib3" in caplog.text  # the log was on
    assert not re.search("SecretAccessKey|SessionToken|Signature=|Security-Token", shown)
    assert all(secret not in shown for secret in session.secrets())


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "https://iam.amazonaws.com"),
        ("cn-north-1", "https://iam.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://iam.us-gov.amazonaws.com"),
    ],
)
def test_without_an_endpoint_the_region_alone_decides_the_host(region: str, host: str) -> None:
    assert AwsClient(context(None, region=region)).client("iam", STATIC).meta.endpoint_url == host


def test_the_form_of_a_credential_is_checked_field_by_field() -> None:
    good = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "k" * 40}
    assert malformed_fields(AwsCredential(**good)) == []
    wrong = AwsCredential(
        access_key_id="BKIAIOSFODNN7EXAMPLE",
        secret_access_key="k k",
    )
    assert malformed_fields(wrong) == ["access_key_id", "secret_access_key"]
    assert malformed_fields(Role(role_arn=f"arn:aws:iam::{ACCOUNT}:user/x")) == ["role_arn"]


@pytest.mark.parametrize("region", ["us-east-1.evil.example", "us-east-1/x", "rubbish", ""])
def test_a_region_is_a_region(region: str) -> None:
    with pytest.raises(ValidationError):
        AwsOptions(region=region)


def _role(moto: Moto) -> Role:
    return Role(role_arn=moto.role_arn)


async def _assume(moto: Moto, external_id: str = PARTY["ExternalId"]) -> AwsSession:
    """What the recommended way mints, with the outsider's key as the operator's."""
    way, clock = aws.mode("role"), SystemClock()
    assert isinstance(way, Mints)
    key = moto.outsider
    minting = AuthContext(
        provider=aws.name,
        places={**aws.hosts, "sts": moto.url},
        clock=clock,
        send=make_send(AddressPolicy.parse("127.0.0.1"), clock, aws.name),
        identity_token=_no_identity_token,
        external_id=external_id,
        app=OAuthApp(client_id=key.access_key_id, client_secret=key.secret_access_key),
    )
    session = await way.mint(minting, _role(moto))
    assert isinstance(session, AwsSession)
    return session


async def _no_identity_token(_audience: str) -> str:
    raise AssertionError("this way asks for none")


# Refusals and failures


@pytest.mark.parametrize(
    ("status", "code", "message", "error"),
    [
        (403, "InvalidClientTokenId", "The security token included in the request is invalid", Unauthorised),
        (403, "SignatureDoesNotMatch", "The request signature we calculated does not match", Unauthorised),
        (403, "SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier", Unexpected),
        (400, "ExpiredToken", "expired", Unauthorised),
        (400, "UnrecognizedClientException", "never quoted", Unauthorised),
        (403, "AccessDenied", "never quoted", Forbidden),
        (403, "AccessDeniedException", "never quoted", Forbidden),
        (403, "UnauthorizedOperation", "never quoted", Forbidden),
        (401, "InvalidAccessException", "Account 1 is not subscribed to AWS Security Hub", NotOffered),
        (401, "InvalidAccessException", "never quoted", Forbidden),
        (400, "InvalidInput", "never quoted", Unexpected),
    ],
)
@pytest.mark.parametrize("action", ["iam:ListUsers", "securityhub:GetFindings"])
async def test_each_refusal_becomes_its_error(action: str, status: int, code: str, message: str, error: type) -> None:
    with answering(refusing(status, code, message)) as (url, asked), pytest.raises(error) as raised:
        await AwsClient(context(url)).one(action, "What")

    assert type(raised.value) is error
    assert code in str(raised.value)
    assert message not in str(raised.value)
    assert getattr(raised.value, "scope", action) == action
    assert len(asked) == 1


async def test_being_asked_to_slow_down_is_no_failure_and_is_told_a_time() -> None:
    clock = SystemClock()
    before = clock.now()
    with answering(refusing(400, "ThrottlingException")) as (url, asked), pytest.raises(RateLimited) as raised:
        await AwsClient(context(url, clock=clock)).one("iam:ListUsers", "Users")

    assert before + timedelta(seconds=60) <= raised.value.until <= clock.now() + timedelta(seconds=60)
    assert len(asked) == 3


async def test_a_failure_of_theirs_is_tried_three_times() -> None:
    with answering(refusing(503, "ServiceUnavailable")) as (url, asked), pytest.raises(Unavailable):
        await AwsClient(context(url)).one("iam:ListUsers", "Users")

    assert len(asked) == 3


async def test_nobody_at_the_address_is_unavailable_and_its_url_is_not_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    with pytest.raises(Unavailable, match=r"sts:GetCallerIdentity \(EndpointConnectionError\)") as raised:
        await aws.identity(context(url))

    assert "127.0.0.1" not in str(raised.value)


@pytest.mark.parametrize("page", ["<html><body>Sign in</body>", "<html><body>Sign in</body></html>", "Sign in", ""])
async def test_an_answer_that_is_not_awss_is_unexpected(page: str) -> None:
    with answering(lambda _: (200, page)) as (url, _):
        with pytest.raises(Unexpected):
            await aws.identity(context(url))
        with pytest.raises(Unexpected):
            await read("users", context(url))
        with pytest.raises(Unexpected):
            await read("security_hub", context(url))


# Addresses


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254", "http://127.0.0.1:9", "file:///etc/passwd", "https://10.0.0.7"]
)
def test_an_endpoint_that_the_operator_does_not_allow_is_refused_at_once(url: str) -> None:
    with pytest.raises(Invalid):
        AwsClient(context(url, allowed=""))


async def test_a_name_that_leads_to_a_refused_address_is_not_called() -> None:
    with answering(refusing(500, "no")) as (url, asked), pytest.raises(Invalid):
        await aws.identity(context(url.replace("127.0.0.1", "localhost"), allowed="10.0.0.0/8"))

    assert asked == []


async def test_only_the_operators_own_certificates_are_trusted_besides_the_public_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _certified(tmp_path)
    answer = xml("GetCallerIdentity", f"<Account>{ACCOUNT}</Account>")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with answering(lambda _: answer, tls=certificate) as (url, asked):
        with pytest.raises(Unavailable, match="SSLError"):
            await AwsClient(context(url)).one("sts:GetCallerIdentity", "Account")
        assert asked == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await AwsClient(context(url)).one("sts:GetCallerIdentity", "Account") == ACCOUNT


# The declaration


def test_the_mappings_have_no_fault_and_loading_them_imports_no_sdk() -> None:
    assert [fault for operation in aws.operations for mapping in operation.into for fault in mapping.faults()] == []
    code = "import sys, tieline.providers.aws.provider; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"boto3", "botocore", "urllib3"} & set(loaded)


def test_the_policy_in_the_readme_grants_what_the_operations_need_and_no_more() -> None:
    (text,) = re.findall(r"```json\n(\{.*?\n\})\n```", README.read_text(), re.DOTALL)
    granted = {action for statement in json.loads(text)["Statement"] for action in statement["Action"]}

    needed = {action for operation in aws.operations for action in operation.needs}
    assert granted == needed | {"iam:ListAccountAliases"}
    assert set(re.findall(r"^ +- (\w+:\w+)$", README.read_text(), re.MULTILINE)) == granted  # CloudFormation's copy
