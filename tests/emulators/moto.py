"""AWS on the loopback: moto in its checked mode, in which every signature, permission and trust policy counts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3

ACCOUNT = "123456789012"
USERS = 4
"""Who is in the account: two people, the operator of Tieline and an administrator."""


@dataclass(frozen=True)
class Moto:
    """The running account, its administrator, and the key by which Tieline is known."""

    url: str
    admin: tuple[str, str] = field(repr=False)
    operator: tuple[str, str] = field(repr=False)

    def make_role(self, name: str, *, external_id: str) -> str:
        """A role that trusts Tieline's key with this external id; its ARN."""
        trust = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/tieline"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
        }
        iam = self._client("iam", self.admin)
        made: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=_policy(_allow("*")))
        return made

    def assume(self, role_arn: str, external_id: str) -> Mapping[str, Any]:
        """A session of a role, by Tieline's key."""
        how = {"RoleArn": role_arn, "RoleSessionName": "front", "ExternalId": external_id}
        session: Mapping[str, Any] = self._client("sts", self.operator).assume_role(**how)["Credentials"]
        return session

    def record(self) -> None:
        """Begin to write down what is asked."""
        self._control("recorder/reset-recording")
        self._control("recorder/start-recording")

    def recorded(self) -> list[str]:
        """The bodies of what was asked since."""
        with urlopen(f"{self.url}/moto-api/recorder/download-recording", timeout=30) as answer:
            lines = [json.loads(line) for line in answer.read().splitlines()]
        return [b64decode(line["body"]).decode() if line["body_encoded"] else line["body"] for line in lines]

    def _client(self, service: Any, key: tuple[str, str]) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key[0],
            aws_secret_access_key=key[1],
        )

    def _control(self, name: str, body: str = "") -> None:
        request = Request(f"{self.url}/moto-api/{name}", body.encode(), {"content-type": "text/plain"})
        with urlopen(request, timeout=30):
            pass


@contextmanager
def running_moto(folder: Path) -> Iterator[Moto]:
    """Run it on a free port of 127.0.0.1, its account furnished."""
    with serving_moto(folder) as url:
        yield _seeded(url)


@contextmanager
def serving_moto(folder: Path, **settings: str) -> Iterator[str]:
    """Run moto on a free port of 127.0.0.1, with these environment variables besides; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = os.environ | {"MOTO_RECORDER_FILEPATH": str(folder / "recording")} | settings
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert server.poll() is None, "moto ended at once"
            time.sleep(0.05)
        else:
            return
    raise AssertionError("moto does not listen")


def _seeded(url: str) -> Moto:
    bare = Moto(url, ("AKIASEEDINGSEEDING00", "seeding"), ("", ""))
    iam = bare._client("iam", bare.admin)
    for name in ("anna", "bert"):
        iam.create_user(UserName=name)
    moto = Moto(url, _user(iam, "admin", "*"), _user(iam, "tieline", "sts:AssumeRole"))
    moto._control("reset-auth", "0")  # from now on everything is checked
    return moto


def _user(iam: Any, name: str, action: str) -> tuple[str, str]:
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=_policy(_allow(action)))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def _allow(action: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": "*"}


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
