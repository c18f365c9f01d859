"""Google Cloud: a project's service accounts and their keys, its BigQuery datasets, and where its bill is exported to.

A connection reads one project. Each of Google's APIs has an address of its own and takes the same token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.gcp.project import GcpOptions, identify, project_of, read_exports
from tieline.sdk import (
    AccessKey,
    Account,
    Asset,
    Context,
    Federated,
    PageToken,
    Provider,
    ServiceAccount,
)

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
"""IAM takes no narrower one: what the connection may do is decided by the roles of its service account."""

gcp: Provider[GcpOptions] = Provider(
    slug="gcp",
    name="Google Cloud",
    category="cloud",
    description="Projects, service accounts and their keys, BigQuery datasets and the billing export.",
    docs_url="https://cloud.google.com/apis/docs/overview",
    base_url="{bigquery}",
    hosts={
        "bigquery": "https://bigquery.googleapis.com",
        "iam": "https://iam.googleapis.com",
        "resources": "https://cloudresourcemanager.googleapis.com",
        "oauth": "https://oauth2.googleapis.com",
        "sts": "https://sts.googleapis.com",
        "iamcredentials": "https://iamcredentials.googleapis.com",
    },
    origins=("{iam}", "{resources}"),
    auth=[
        ServiceAccount(
            token_url="{oauth}/token",  # noqa: S106  a URL
            scopes=_SCOPES,
            help="Cloud console → IAM & Admin → Service Accounts → the account → Keys → Add key → JSON.",
        ),
        Federated(
            token_url="{sts}/v1/token",  # noqa: S106  a URL
            scopes=_SCOPES,
            impersonate_url="{iamcredentials}/v1/projects/-/serviceAccounts/{service_account}:generateAccessToken",
            help="Cloud console → IAM & Admin → Workload Identity Federation → Create pool, with Tieline as its OIDC provider. "
            "No key is kept.",
        ),
    ],
    options=GcpOptions,
    identity=identify,
    remains="Delete the service account's key, or the workload identity pool, and the roles that were granted.",
)


@gcp.sync(
    Asset.map(
        drop=("etag", "updateTime"),
        external_id="payload.name",
        name="has(payload.displayName) ? payload.displayName : payload.projectId",
        type="'project'",
        status="payload.state.lowerAscii()",
        url="'https://console.cloud.google.com/home/dashboard?project=' + payload.projectId",
        created_at="payload.createTime",
    ),
    every="6h",
    needs=["resourcemanager.projects.get"],
)
async def projects(ctx: Context[GcpOptions]) -> AsyncIterator[dict[str, Any]]:
    """Projects that the service account sees."""
    path = f"{ctx.hosts['resources']}/v3/projects:search"
    async for project in ctx.pages(path, pages=PageToken(size_param="pageSize", size=200), items="projects?"):
        yield project


@gcp.sync(
    Account.map(
        drop=("etag",),
        external_id="payload.uniqueId",
        email="payload.email",
        username="payload.email",
        display_name="has(payload.displayName) ? payload.displayName : payload.email",
        type="'service'",
        status="has(payload.disabled) && payload.disabled ? 'suspended' : 'active'",
    ),
    every="6h",
    needs=["iam.serviceAccounts.list"],
)
async def service_accounts(ctx: Context[GcpOptions]) -> AsyncIterator[dict[str, Any]]:
    """Service accounts of the project."""
    async for account in _service_accounts(ctx):
        yield account


@gcp.sync(
    AccessKey.map(
        external_id="payload.name",
        account="payload.account",
        name="payload.email + ' ' + payload.name.split('/')[5]",
        active="!(has(payload.disabled) && payload.disabled)",
        created_at="payload.validAfterTime",
        # A key without an end is said to end in the year 9999.
        expires_at="payload.validBeforeTime.startsWith('9999') ? null : payload.validBeforeTime",
    ),
    every="6h",
    needs=["iam.serviceAccounts.list", "iam.serviceAccountKeys.list"],
)
async def service_account_keys(ctx: Context[GcpOptions]) -> AsyncIterator[dict[str, Any]]:
    """Keys that people made for service accounts; Google's own, which it renews by itself, are left out."""

    async def keys(account: dict[str, Any]) -> list[dict[str, Any]]:
        path = f"{ctx.hosts['iam']}/v1/{account['name']}/keys"
        found = await ctx.get(path, params={"keyTypes": "USER_MANAGED"}, missing={})
        return [key | {"account": account["uniqueId"], "email": account["email"]} for key in found.get("keys", [])]

    async for made in _service_accounts(ctx).join(keys):
        for key in made:
            yield key


@gcp.sync(
    Asset.map(
        drop=("etag", "lastModifiedTime"),
        external_id="payload.id",
        name="payload.datasetReference.datasetId",
        type="'dataset'",
        region="payload.location",
        # Open to everyone, or to whoever has a Google account.
        public="payload.access.exists(a, (has(a.specialGroup) && a.specialGroup == 'allAuthenticatedUsers')"
        " || (has(a.iamMember) && a.iamMember in ['allUsers', 'allAuthenticatedUsers']))",
        encrypted="true",  # BigQuery encrypts all that it stores, with keys of its own or the customer's
        created_at="timestamp(int(payload.creationTime) / 1000)",
    ),
    every="6h",
    needs=["bigquery.datasets.get"],
)
async def datasets(ctx: Context[GcpOptions]) -> AsyncIterator[dict[str, Any]]:
    """BigQuery datasets of the project, with where they are and who may read them."""

    async def whole(listed: dict[str, Any]) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await ctx.get(f"{path}/{listed['datasetReference']['datasetId']}", missing=None)
        return found

    path = f"/bigquery/v2/projects/{project_of(ctx)}/datasets"
    async for dataset in ctx.pages(path, pages=PageToken(size_param="maxResults"), items="datasets?").join(whole):
        if dataset is not None:
            yield dataset


@gcp.sync(
    Asset.map(
        external_id="payload.id",
        name="payload.tableReference.tableId",
        type="'billing_export'",
        created_at="timestamp(int(payload.creationTime) / 1000)",
    ),
    every="1d",
    needs=["bigquery.datasets.get", "bigquery.tables.list"],
)
async def billing_exports(ctx: Context[GcpOptions]) -> AsyncIterator[dict[str, Any]]:
    """Tables that Cloud Billing exports to."""
    async for table in read_exports(ctx):
        yield table


def _service_accounts(ctx: Context[GcpOptions]) -> Any:
    path = f"{ctx.hosts['iam']}/v1/projects/{project_of(ctx)}/serviceAccounts"
    return ctx.pages(path, pages=PageToken(size_param="pageSize"), items="accounts?")


@gcp.check(
    Asset,
    severity="high",
    controls=["soc2:CC6.1", "iso27001:A.8.3"],
    when=lambda asset: asset.type == "dataset",
)
def dataset_is_not_public(asset: Asset) -> bool | None:
    """The BigQuery dataset is not open to everyone.

    BigQuery → the dataset → Sharing → Permissions: remove allUsers and allAuthenticatedUsers, and grant access to groups or
    service accounts. If the data is public on purpose, mute this finding with that reason.
    """
    return None if asset.public is None else not asset.public
