"""Clouds without a stored secret: a role at AWS, and Tieline's own word to Google Cloud and AWS, which they verify.

AWS is moto in its checked mode. Of keyless access no emulator verifies anything: `tests/emulators/cloud.py` is ours, and fetches what a
Tieline that is really served publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from socket import create_server
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import uvicorn
from tests.counterparts.conftest import Ahead, Site, Start, Tenant
from tests.emulators.cloud import ACCOUNT, EXCHANGE, PROJECT, TYPE, Cloud, Trust, running_cloud
from tests.emulators.moto import ACCOUNT as AWS_ACCOUNT
from tests.emulators.moto import USERS, Moto, running_moto

from tieline.flows.issuer import issue_identity_token

pytestmark = pytest.mark.xdist_group("emulators")
REFUSED = "credential-rejected"
POOL = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/acme/providers/tieline"
SECRET_ID = "an-external-id-of-somebody-else"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with running_moto(tmp_path_factory.mktemp("moto")) as started:
        yield started


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with running_cloud() as started:
        yield started


async def external_id(tenant: Tenant) -> str:
    """What the organization is told to put into its role's trust policy."""
    setup = await tenant.ask("GET", "/providers/aws/setup")
    (told,) = {way["external_id"] for way in setup["ways"] if way["slot"] == "role"}
    return str(told)


def aws_settings(moto: Moto, sts: str) -> dict[str, str]:
    key, secret = moto.operator
    return {"OAUTH_AWS_CLIENT_ID": key, "OAUTH_AWS_CLIENT_SECRET": secret, "HOST_AWS_STS": sts}


@asynccontextmanager
async def served(start: Start, **settings: str) -> AsyncIterator[Site]:
    """A Tieline that is really served, at the address that it names as its own."""
    with create_server(("127.0.0.1", 0)) as listener:
        public = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with start(public_url=public, **settings) as site:
            server = uvicorn.Server(uvicorn.Config(site.app, log_config=None, lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield site
            finally:
                server.should_exit = True
                await serving


# A role, assumed by the operator's key


async def test_a_role_is_assumed_with_the_external_id_of_the_organization_and_no_other(
    moto: Moto, start: Start
) -> None:
    async with start(**aws_settings(moto, moto.url)) as site:
        ours, theirs = await site.tenant(), await site.tenant()
        assert await external_id(ours) != await external_id(theirs)
        role = await asyncio.to_thread(moto.make_role, "ours", external_id=await external_id(ours))
        other = await asyncio.to_thread(moto.make_role, "other", external_id=SECRET_ID)

        for tenant, arn in ((theirs, role), (ours, other)):  # another organization's role; a role with a wrong id
            refusal = await tenant.give("aws", "role", {"role_arn": arn}, status=422, endpoint_url=moto.url)
            assert refusal["slug"] == REFUSED
            assert await tenant.connections() == []
        chosen = {"role_arn": role, "external_id": await external_id(ours)}
        refusal = await theirs.give("aws", "role", chosen, status=422, endpoint_url=moto.url)
        assert [one["field"] for one in refusal["fields"]] == ["credential.external_id"], "nobody chooses their own"

        await asyncio.to_thread(moto.record)
        connection = await ours.give("aws", "role", {"role_arn": role}, endpoint_url=moto.url)
        assert (connection["external_id"], connection["status"]) == (AWS_ACCOUNT, "active")
        assert (await ours.runs(connection))["users"] == "succeeded"
        assert len(await ours.read("account", connection)) == USERS + 1  # and the root user
        before = await asyncio.to_thread(assumed, moto)
        site.let_pass(minutes=30)
        await ours.sync(connection, "users")
        assert await asyncio.to_thread(assumed, moto) == before, "a session is used while it lasts"
        site.let_pass(minutes=30)
        assert (await ours.sync(connection, "users"))["users"] == "succeeded"
        assert await asyncio.to_thread(assumed, moto) > before, "and followed by another when it is over"


def assumed(moto: Moto) -> int:
    """How many sessions were asked for."""
    return sum("Action=AssumeRole&" in body for body in moto.recorded())


# A role, by Tieline's own word


async def test_a_role_is_assumed_by_an_identity_token_of_the_organization_and_no_other(
    moto: Moto, cloud: Cloud, start: Start
) -> None:
    role = await asyncio.to_thread(moto.make_role, "keyless", external_id=SECRET_ID)
    cloud.assume = lambda arn: moto.assume(arn, SECRET_ID)
    async with served(start, HOST_AWS_STS=cloud.url) as site:
        ours, theirs = await site.tenant(), await site.tenant()
        cloud.roles[role] = Trust(**await shown_trust(ours, "aws", "web_identity"))

        refusal = await theirs.give("aws", "web_identity", {"role_arn": role}, status=422, endpoint_url=moto.url)
        assert (refusal["slug"], await theirs.connections()) == (REFUSED, [])
        assert len(cloud.refused) == 1

        connection = await ours.give("aws", "web_identity", {"role_arn": role}, endpoint_url=moto.url)
        assert (connection["external_id"], connection["status"]) == (AWS_ACCOUNT, "active")
        assert (await ours.runs(connection))["users"] == "succeeded"
        assert len(await ours.read("account", connection)) == USERS + 1


# Google Cloud's workload identity federation


async def test_google_cloud_takes_an_organization_s_word_and_no_other_s(cloud: Cloud, start: Start) -> None:
    async with served(start, **gcp_settings(cloud)) as site:
        ours, theirs = await site.tenant(), await site.tenant()
        await trust_pool(cloud, ours)
        credential, options = {"audience": POOL, "service_account": ACCOUNT}, {"project_id": PROJECT}

        refusal = await theirs.give("gcp", "federated", credential, status=422, **options)
        assert (refusal["slug"], await theirs.connections()) == (REFUSED, [])
        assert cloud.refused == ["InvalidClaimError"]
        assert f"POST /v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken" not in cloud.asked

        connection = await ours.give("gcp", "federated", credential, **options)
        assert (connection["external_id"], connection["account_name"], connection["status"]) == (
            PROJECT,
            "Acme",
            "active",
        )
        assert set((await ours.runs(connection)).values()) == {"succeeded"}
        assert [one["data"]["email"] for one in await ours.read("account", connection)] == [ACCOUNT]

        exchanges = cloud.asked.count("POST /v1/token")
        cloud.tokens.clear()  # as if all were revoked
        assert (await ours.sync(connection, "service_accounts"))["service_accounts"] == "succeeded"
        assert cloud.asked.count("POST /v1/token") == exchanges + 1
        cloud.pools.clear()  # Tieline is trusted no more
        cloud.tokens.clear()
        assert (await ours.sync(connection, "service_accounts"))["service_accounts"] == "failed"
        assert (await ours.connection(connection["id"]))["status"] == "needs_reconnect"


async def test_a_token_that_is_not_what_the_pool_trusts_is_refused_by_it(cloud: Cloud, start: Start) -> None:
    """So that the acceptance above means something: one thing is wrong with each."""
    async with served(start, **gcp_settings(cloud)) as site:
        ours = await site.tenant()
        await trust_pool(cloud, ours)
        parts = site.tieline.parts
        old = replace(parts, clock=Ahead(by=-timedelta(minutes=10)))
        elsewhere = replace(parts, public_url="http://127.0.0.1:9")
        good = await issue_identity_token(parts, ours.org_id, "gcp", audience=f"https:{POOL}")
        head, body, signature = good.split(".")
        flipped = ("A" if signature[9] != "A" else "B").join((signature[:9], signature[10:]))
        wrong = {
            "its signature": f"{head}.{body}.{flipped}",
            "its audience": await issue_identity_token(parts, ours.org_id, "gcp", audience="https://elsewhere"),
            "its time": await issue_identity_token(old, ours.org_id, "gcp", audience=f"https:{POOL}"),
            "its issuer": await issue_identity_token(elsewhere, ours.org_id, "gcp", audience=f"https:{POOL}"),
            "its subject": await issue_identity_token(
                parts, (await site.tenant()).org_id, "gcp", audience=f"https:{POOL}"
            ),
        }
        assert {why: await asyncio.to_thread(exchange, cloud, token) for why, token in wrong.items()} == dict.fromkeys(
            wrong, 400
        )
        assert await asyncio.to_thread(exchange, cloud, good) == 200


def gcp_settings(cloud: Cloud) -> dict[str, str]:
    return {
        f"HOST_GCP_{name}": cloud.url for name in ("BIGQUERY", "IAM", "RESOURCES", "STS", "IAMCREDENTIALS", "OAUTH")
    }


async def trust_pool(cloud: Cloud, tenant: Tenant) -> None:
    """What the customer sets up: the issuer, and the one subject that may come in."""
    cloud.pools[POOL] = Trust(**await shown_trust(tenant, "gcp", "federated") | {"audience": f"https:{POOL}"})


async def shown_trust(tenant: Tenant, provider: str, slot: str) -> dict[str, str]:
    """Whom the organization is told to let its cloud trust."""
    setup = await tenant.ask("GET", f"/providers/{provider}/setup")
    (told,) = [way["trust"] for way in setup["ways"] if way["slot"] == slot]
    return dict(told)


def exchange(cloud: Cloud, token: str) -> int:
    """The status with which the pool answers an exchange."""
    form: dict[str, Any] = {"grant_type": EXCHANGE, "audience": POOL, "subject_token": token}
    form |= {"subject_token_type": f"{TYPE}jwt", "requested_token_type": f"{TYPE}access_token"}
    try:
        with urlopen(Request(f"{cloud.url}/v1/token", urlencode(form).encode()), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
