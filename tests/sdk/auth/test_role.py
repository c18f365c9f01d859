"""A role at AWS's token service as moto plays it, which checks every signature, trust policy and external id."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from pydantic import SecretStr
from tests.sdk.auth.conftest import everything_in, make_context

from tieline.errors import Invalid, Unauthorised, Unexpected
from tieline.sdk import AssumeRole, AuthContext, OAuthApp, Role

EXTERNAL_ID = "tieline-external-id"
ROLE = Role(role_arn="arn:aws:iam::123456789012:role/tieline")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}  # as many as `operator` needs to set itself up
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert server.poll() is None, "moto ended at once"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def operator(moto: str) -> OAuthApp:
    """The operator's principal, and a role that trusts it together with one external id."""
    iam: Any = boto3.client(
        "iam", endpoint_url=moto, region_name="us-east-1", aws_access_key_id="setting", aws_secret_access_key="up"
    )
    user = iam.create_user(UserName="tieline")["User"]
    allowed = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    iam.put_user_policy(
        UserName="tieline", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    )
    trusted = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": user["Arn"]},
        "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
    }
    iam.create_role(
        RoleName="tieline", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trusted]})
    )
    key = iam.create_access_key(UserName="tieline")["AccessKey"]
    return OAuthApp(client_id=key["AccessKeyId"], client_secret=SecretStr(key["SecretAccessKey"]))


def context_of(moto: str, app: OAuthApp, external_id: str = EXTERNAL_ID) -> AuthContext:
    return make_context({"sts": moto}, app=app, external_id=external_id)


async def test_a_role_is_assumed_and_its_session_works(moto: str, operator: OAuthApp) -> None:
    session = await AssumeRole().mint(context_of(moto, operator), ROLE)
    assert session.access_key_id.startswith("ASIA")
    assert session.expires_at
    sts: Any = boto3.client(
        "sts",
        endpoint_url=moto,
        region_name="us-east-1",
        aws_access_key_id=session.access_key_id,
        aws_secret_access_key=session.secret_access_key.get_secret_value(),
        aws_session_token=session.session_token.get_secret_value(),
    )
    assert sts.get_caller_identity()["Arn"] == "arn:aws:sts::123456789012:assumed-role/tieline/tieline"


async def test_another_organizations_external_id_opens_nothing(moto: str, operator: OAuthApp) -> None:
    with pytest.raises(Unauthorised, match="AccessDenied") as refused:
        await AssumeRole().mint(context_of(moto, operator, "tieline-of-another"), ROLE)
    assert "external id" in refused.value.what_to_do


async def test_a_wrong_key_is_the_operators_matter(moto: str, operator: OAuthApp) -> None:
    wrong = operator.model_copy(update={"client_secret": SecretStr("wrong-secret-canary")})
    with pytest.raises(Unexpected, match="SignatureDoesNotMatch") as refused:
        await AssumeRole().mint(context_of(moto, wrong), ROLE)
    assert "wrong-secret-canary" not in everything_in(refused.value)
    unknown = operator.model_copy(update={"client_id": "AKIAUNKNOWNUNKNOWN00"})
    with pytest.raises(Unexpected, match="InvalidClientTokenId"):
        await AssumeRole().mint(context_of(moto, unknown), ROLE)


async def test_without_the_operators_key_it_is_the_key_that_is_asked_for() -> None:
    with pytest.raises(Invalid, match="AWS access key of the operator's") as refused:
        await AssumeRole().mint(make_context({"sts": "https://sts.example"}), ROLE)
    assert "TIELINE_OAUTH_AWS_CLIENT_SECRET" in refused.value.what_to_do
    assert "OAuth app" not in everything_in(refused.value)
