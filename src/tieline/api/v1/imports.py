"""Imports: many accounts connected by one request, with a report for each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from tieline.api.body import Given, JsonBody
from tieline.api.caller import Admin, PartsOf
from tieline.api.describe import documented
from tieline.api.idempotency import once
from tieline.api.schemas import Row, answer, id_of
from tieline.errors import Invalid
from tieline.flows import imports as flow
from tieline.flows.views import imported_row

router = APIRouter(tags=["connections"])

MOST_ROWS = 200


class Import(Given):
    """Accounts to connect: `rows` as for POST /v1/connections, or `csv`."""

    rows: list[dict[str, Any]] | None = Field(
        default=None,
        max_length=MOST_ROWS,
        description=f"At most {MOST_ROWS} objects with the fields of a new connection; the CLI takes larger files.",
        examples=[[{"provider": "sandbox", "options": {}, "credential": {"token": "lks_…"}}]],
        json_schema_extra={"writeOnly": True},
        repr=False,
    )
    csv: str | None = Field(
        default=None,
        max_length=2_000_000,
        description="The same as CSV with the headings provider, name, by, expires_at, options.NAME and credential.NAME.",
        examples=[None],
        json_schema_extra={"writeOnly": True},
        repr=False,
    )
    dry_run: bool = Field(default=False, description="Only try whether each could be connected.", examples=[True])


class Why(Row):
    """Why a row was refused."""

    slug: str = Field(description="A stable name.", examples=["credential-rejected"])
    message: str = Field(description="In words.", examples=["Okta API key is invalid or expired"])
    advice: str = Field(description="What to do.", examples=["Make a new credential at the provider and reconnect."])


class ImportedRow(Row):
    """What became of a row."""

    row: int = Field(description="Its number, from 1.", examples=[1])
    status: Literal["connected", "valid", "exists", "refused"] = Field(
        description="`valid` is a dry run's `connected`; `exists` was connected before.", examples=["connected"]
    )
    provider: str | None = Field(description="The provider.", examples=["sandbox"])
    account: str | None = Field(
        description="The account that the credential opens.", examples=["Larkfield Instruments"]
    )
    connection_id: str | None = id_of("conn", "The connection.")
    reason: Why | None = Field(description="Why it was refused.", examples=[None])


class Report(Row):
    """What became of every row, in their order."""

    dry_run: bool = Field(description="Whether nothing was saved.", examples=[False])
    connected: int = Field(description="How many were connected.", examples=[1])
    refused: int = Field(description="How many were refused.", examples=[0])
    rows: list[ImportedRow] = Field(description="Each row.")


@router.post("/connections/import", **documented(Report, body=Import, repeatable=True))
@once
async def import_connections(
    parts: PartsOf, caller: Admin, body: Annotated[Import, Depends(JsonBody(Import))]
) -> Response:
    """Connect many accounts; a row that fails keeps no other from being connected, and the report says why."""
    rows = _rows(body)
    report = await flow.import_rows(parts, caller.org_id, rows, dry_run=body.dry_run)
    counts = {status: sum(one.status == status for one in report) for status in ("connected", "refused")}
    return answer({"dry_run": body.dry_run, **counts, "rows": [imported_row(one) for one in report]})


def _rows(body: Import) -> list[flow.Row]:
    if (body.rows is None) == (body.csv is None):
        raise Invalid("Give either `rows` or `csv`")
    if body.csv is None:
        given = body.rows or []
        rows = [flow.Row(number, one) for number, one in enumerate(given, start=1)]
    else:
        rows = flow.read_rows(body.csv.encode(), "csv")
    if not 0 < len(rows) <= MOST_ROWS:
        raise Invalid(
            f"An import has 1 to {MOST_ROWS} rows here", advice="Split it, or use `tieline connections import`."
        )
    return rows
