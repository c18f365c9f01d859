"""Google Cloud, on answers of the forms in Google's Discovery documents: what a connection's test finds, and how it asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from tests.providers.readings import Answers, mapped

from tieline.clock import SystemClock
from tieline.providers.gcp.project import GcpOptions, project_of
from tieline.providers.gcp.provider import gcp
from tieline.sdk import Context, Credential, Forbidden, Identified, Invalid, ServiceAccountKey, Token
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import WorkloadPool
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget

Answer = tuple[int, Any, dict[str, str]]
DATASETS = "/bigquery/v2/projects/example-project/datasets"
PERMISSIONS = ["resourcemanager.projects.get", "bigquery.datasets.get"]
KEY = ServiceAccountKey.model_validate(
    {
        "key": json.dumps(
            {
                "type": "service_account",
                "project_id": "example-project",
                "client_email": "tieline@example-project.iam.gserviceaccount.com",
                "private_key": "not read here",
            }
        )
    }
)
POOL = WorkloadPool.model_validate(
    {"audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p"}
)


def table(dataset: str, name: str) -> dict[str, Any]:
    reference = {"projectId": "example-project", "datasetId": dataset, "tableId": name}
    return {"id": f"example-project:{dataset}.{name}", "tableReference": reference, "type": "TABLE"}


def google(request: httpx2.Request) -> Answer:
    """A project with one dataset, in which there is no billing export."""
    listed = {"datasetReference": {"projectId": "example-project", "datasetId": "sales"}}
    answers: dict[str, Any] = {
        DATASETS: {"datasets": [listed]},
        f"{DATASETS}/sales/tables": {"tables": [table("sales", "orders")]},
        "/v3/projects/example-project": {"projectId": "example-project", "displayName": "Example Project"},
        "/v3/projects/example-project:testIamPermissions": {"permissions": PERMISSIONS},
        "/v3/projects:search": {},
        "/v1/projects/example-project/serviceAccounts": {},
    }
    return (200, answers[request.url.path], {}) if request.url.path in answers else (404, {}, {})


@asynccontextmanager
async def opened(
    answer: Callable[[httpx2.Request], Answer], *, credential: Credential = KEY, **options: str
) -> AsyncIterator[Context[GcpOptions]]:
    clock, policy = SystemClock(), AddressPolicy.parse("127.0.0.1")
    token = Token.model_validate({"access_token": "example-token"})
    async with Http(
        base_url=gcp.base_url.format(**gcp.hosts),
        origins=[one.format(**gcp.hosts) for one in gcp.origins],
        provider=gcp.name,
        policy=policy,
        budget=LocalBudget(clock),
        clock=clock,
        sign=lambda request: gcp.mode("service_account").sign(request, token),
        transport=Answers(answer),
    ) as http:
        chosen = GcpOptions(**options)
        yield Context(options=chosen, credential=credential, http=http, policy=policy, clock=clock, hosts=gcp.hosts)


async def identify(answer: Callable[[httpx2.Request], Answer], **how: Any) -> Identified:
    async with opened(answer, **how) as ctx:
        return await gcp.identity(ctx)


async def read(operation: str, answer: Callable[[httpx2.Request], Answer], **how: Any) -> list[Any]:
    reader = next(one for one in gcp.operations if one.id == operation).read
    async with opened(answer, **how) as ctx:
        return [record async for record in reader(ctx)]


async def test_a_missing_billing_export_is_a_remark_and_no_failure() -> None:
    account = await identify(google)
    assert (account.id, account.name, account.scopes) == ("example-project", "Example Project", frozenset(PERMISSIONS))
    assert "No billing export was found" in account.remarks[0]


@pytest.mark.parametrize("name", ["gcp_billing_export_v1_0A", "gcp_billing_export_resource_v1_0A"])
async def test_a_billing_export_is_found_by_its_tables_name(name: str) -> None:
    def answer(request: httpx2.Request) -> Answer:
        if request.url.path == f"{DATASETS}/sales/tables":
            return 200, {"tables": [table("sales", "orders"), table("sales", name)]}, {}
        return google(request)

    assert (await identify(answer)).remarks == ()
    assert [found["tableReference"]["tableId"] for found in await read("billing_exports", answer)] == [name]


@pytest.mark.parametrize(
    ("named", "path"),
    [
        ("billing", f"{DATASETS}/billing/tables"),
        ("other-project.billing", "/bigquery/v2/projects/other-project/datasets/billing/tables"),
    ],
)
async def test_the_billing_dataset_that_is_named_is_the_only_one_looked_into(named: str, path: str) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> Answer:
        asked.append(request.url.path)
        return 200, {"tables": [table("billing", "gcp_billing_export_v1_0A")]}, {}

    assert len(await read("billing_exports", answer, billing_dataset_id=named)) == 1
    assert asked == [path]


async def test_the_permissions_that_are_asked_about_are_those_that_operations_need() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> Answer:
        if request.url.path.endswith(":testIamPermissions"):
            asked.extend(json.loads(request.content)["permissions"])
        return google(request)

    await identify(answer)
    assert set(asked) == {need for operation in gcp.operations for need in operation.needs}


async def test_without_access_to_bigquery_there_is_no_connection() -> None:
    def answer(request: httpx2.Request) -> Answer:
        return (403, {}, {}) if request.url.path.startswith("/bigquery") else google(request)

    with pytest.raises(Forbidden):
        await identify(answer)


@pytest.mark.parametrize("status", [403, 404])
async def test_with_resource_manager_off_permissions_are_not_known(status: int) -> None:
    def answer(request: httpx2.Request) -> Answer:
        return (status, {}, {}) if request.url.path.startswith("/v3") else google(request)

    account = await identify(answer)
    assert (account.name, account.scopes) == ("example-project", None)


async def test_every_api_gets_the_same_token() -> None:
    hosts: dict[str, str] = {}

    def answer(request: httpx2.Request) -> Answer:
        hosts[request.url.host] = request.headers.get("authorization", "none")
        return google(request)

    for operation in ("projects", "service_accounts", "datasets"):
        await read(operation, answer)
    names = ("bigquery", "iam", "cloudresourcemanager")
    assert hosts == {f"{name}.googleapis.com": "Bearer example-token" for name in names}


async def test_the_project_is_the_one_named_or_else_the_keys_own() -> None:
    async with opened(google) as ctx:
        assert project_of(ctx) == "example-project"
    async with opened(google, project_id="other-project") as ctx:
        assert project_of(ctx) == "other-project"
    async with opened(google, credential=POOL) as ctx:
        with pytest.raises(Invalid, match="which project"):
            project_of(ctx)


async def test_a_file_that_is_no_key_is_refused_in_words() -> None:
    with pytest.raises(Invalid, match="not JSON"):
        await identify(google, credential=ServiceAccountKey.model_validate({"key": "-----BEGIN"}))


@pytest.mark.parametrize(
    ("access", "public"),
    [
        ([{"role": "OWNER", "specialGroup": "projectOwners"}], False),
        ([{"role": "READER", "specialGroup": "allAuthenticatedUsers"}], True),
        ([{"role": "OWNER", "userByEmail": "ada@example.com"}, {"role": "READER", "iamMember": "allUsers"}], True),
        (None, None),
    ],
)
def test_a_dataset_is_public_if_everybody_was_let_in(access: Any, public: bool | None) -> None:
    reference = {"projectId": "example-project", "datasetId": "sales"}
    dataset = {"id": "example-project:sales", "datasetReference": reference, "creationTime": "1714550400123"}
    found = mapped(gcp, "datasets", dataset | ({} if access is None else {"access": access}))
    assert found.public is public


def test_a_key_without_an_end_has_none() -> None:
    key = {
        "name": "projects/example-project/serviceAccounts/tieline@example.com/keys/aaaa",
        "account": "1",
        "email": "tieline@example.com",
        "validAfterTime": "2025-06-01T08:00:00Z",
        "validBeforeTime": "9999-12-31T23:59:59Z",
    }
    found = mapped(gcp, "service_account_keys", key)
    assert (found.expires_at, found.active, found.name) == (None, True, "tieline@example.com aaaa")
    ends = mapped(gcp, "service_account_keys", key | {"validBeforeTime": "2026-06-01T08:00:00Z", "disabled": True})
    assert (ends.expires_at is None, ends.active) == (False, False)
