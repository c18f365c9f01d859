"""Which project a connection reads, what its credential may do there, and where the bill is exported to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any

from pydantic import Field

from tieline.sdk import (
    Context,
    Forbidden,
    Identified,
    Invalid,
    Options,
    PageToken,
    ServiceAccountKey,
    Unavailable,
    Unexpected,
)
from tieline.sdk.auth.service_account import read_key

_MAY_NAME = "resourcemanager.projects.get"
_ASKED = (
    _MAY_NAME,
    "iam.serviceAccounts.list",
    "iam.serviceAccountKeys.list",
    "bigquery.datasets.get",
    "bigquery.tables.list",
)
_EXPORT = "gcp_billing_export_"
"""How the names of the standard, the detailed and the FOCUS table begin; the rest is the billing account's id."""


class GcpOptions(Options):
    """Which project."""

    project_id: str | None = Field(
        default=None,
        title="Project ID",
        description="The project to read; by default the one that the key belongs to.",
        pattern=r"^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$",
    )
    billing_dataset_id: str | None = Field(
        default=None,
        title="Billing dataset",
        description="The BigQuery dataset that Cloud Billing exports to: dataset, or project.dataset if it is another's. "
        "By default it is looked for in the project.",
        pattern=r"^([a-z0-9.:-]+\.)?[A-Za-z0-9_]{1,1024}$",
    )


async def identify(ctx: Context[GcpOptions]) -> Identified:
    """The project, provided that BigQuery lists its datasets; a missing billing export is a remark, no failure."""
    project = project_of(ctx)
    first = PageToken(size_param="maxResults", size=1)
    answer = await ctx.request("GET", f"/bigquery/v2/projects/{project}/datasets", params=first.request(None).params)
    shown = first.read(answer, "datasets?")
    remarks = () if await _has_export(ctx) else (_no_export(ctx, any_dataset=bool(shown)),)
    granted = await _permissions(ctx, project)
    name = await _name(ctx, project) if granted and _MAY_NAME in granted else project
    return Identified(id=project, name=name, scopes=granted, remarks=remarks)


def project_of(ctx: Context[GcpOptions]) -> str:
    """The project that is read; raises `Invalid` if neither the options nor the key name one."""
    project = ctx.options.project_id or _own_project(ctx)
    if project is None:
        raise Invalid("Say which project to read", advice="Give its ID as the option project_id.")
    return project


def _own_project(ctx: Context[GcpOptions]) -> str | None:
    """The project that the service account's key belongs to; `None` where there is no key."""
    held = ctx.credential
    return read_key(held.key.get_secret_value()).get("project_id") if isinstance(held, ServiceAccountKey) else None


async def read_exports(ctx: Context[GcpOptions]) -> AsyncGenerator[dict[str, Any], None]:
    """The tables of billing exports, in the dataset that was named or in all of the project."""

    async def exports(dataset: dict[str, Any]) -> list[dict[str, Any]]:
        reference = dataset["datasetReference"]
        tables = _tables(ctx, reference["projectId"], reference["datasetId"])
        return [table async for table in tables if _is_export(table)]

    if named := ctx.options.billing_dataset_id:
        project, _, dataset_id = named.rpartition(".")
        async for table in _tables(ctx, project or project_of(ctx), dataset_id):
            if _is_export(table):
                yield table
        return
    path = f"/bigquery/v2/projects/{project_of(ctx)}/datasets"
    listed = ctx.pages(path, pages=PageToken(size_param="maxResults"), items="datasets?")
    async for tables in listed.join(exports):
        for table in tables:
            yield table


def _tables(ctx: Context[GcpOptions], project_id: str, dataset_id: str) -> AsyncIterable[dict[str, Any]]:
    path = f"/bigquery/v2/projects/{project_id}/datasets/{dataset_id}/tables"
    return ctx.pages(path, pages=PageToken(size_param="maxResults", size=1_000), items="tables?", missing=())


def _is_export(table: dict[str, Any]) -> bool:
    return str(table["tableReference"]["tableId"]).startswith(_EXPORT)


async def _has_export(ctx: Context[GcpOptions]) -> bool:
    try:
        async with aclosing(read_exports(ctx)) as exports:
            return await anext(exports, None) is not None
    except Forbidden:  # whoever may list datasets need not be allowed to list tables
        return False


def _no_export(ctx: Context[GcpOptions], *, any_dataset: bool) -> str:
    if named := ctx.options.billing_dataset_id:
        return f"No billing export was found in the dataset {named}."
    where = "in the project's datasets" if any_dataset else "as the project shows no dataset"
    return f"No billing export was found {where}. Export Cloud Billing to BigQuery and name the dataset."


async def _permissions(ctx: Context[GcpOptions], project: str) -> frozenset[str] | None:
    """Those of the permissions asked for that the credential has; `None` if that cannot be asked: the API may be off."""
    path = f"{ctx.hosts['resources']}/v3/projects/{project}:testIamPermissions"
    try:
        found = await ctx.post(path, {"permissions": list(_ASKED)}, idempotent=True)
    except (Forbidden, Unavailable, Unexpected):
        return None
    return frozenset(found.get("permissions", []))


async def _name(ctx: Context[GcpOptions], project: str) -> str:
    """What people call the project."""
    found = await ctx.get(f"{ctx.hosts['resources']}/v3/projects/{project}")
    return str(found.get("displayName") or project)
