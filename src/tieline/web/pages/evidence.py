"""Evidence: dated, hashed statements for and against controls, where each came from, and whether it is as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse

from tieline.catalog import load_frameworks
from tieline.flows.materialize import materialize
from tieline.flows.pack import open_pack
from tieline.flows.views import JsonRow, evidence_detail, evidence_row, listing
from tieline.store import evidence as store
from tieline.store.connections import get_connection
from tieline.store.listing import Paging
from tieline.web.choices import choices_of, end_of_day, tell
from tieline.web.data import pairs, pretty
from tieline.web.listing import PAGE_SIZE, Asked, Column, Filter, Listed, answer_csv, read_asked
from tieline.web.page import AdminPage, AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted

router = APIRouter(route_class=ConsoleRoute)

_COLUMNS = tuple(
    Column(name, name)
    for name in (
        "id", "observed_at", "status", "statement", "check", "controls", "provider", "kind", "external_id", "entity_id", "connection_id",
        "run_id", "hash",
    )
)  # fmt: skip
_COLUMN_OF = {"check": "check_id", "status": "stance"}


@router.get("/evidence")
async def show_all_evidence(page: AnyPage) -> Response:
    """List statements, newest first, as they are now or were at the end of a day."""
    asked, wanted, before = await _read(page, page.request.query_params)
    as_of = asked.values["as_of"]

    async def fetch(paging: Paging) -> JsonRow:
        async with page.parts.db.work(page.org_id) as work:
            return listing(await store.list_evidence(work, paging, **wanted, before=before), evidence_row)

    if asked.as_csv:
        return answer_csv(f"evidence {as_of or ''}", _COLUMNS, fetch)
    found = await fetch(Paging(asked.cursor, PAGE_SIZE))
    return page.show(
        "pages/all_evidence.html",
        title="Evidence",
        listed=Listed(asked, found["items"], found["next"], _COLUMNS),
        rows=found["items"],
        as_of=as_of,
        api=_api(asked, before),
    )


@router.get("/evidence/{evidence_id}")
async def show_evidence(page: AnyPage, evidence_id: str) -> Response:
    """Show one statement: what it says, where it came from, and whether it still matches its hash."""
    async with page.parts.db.work(page.org_id) as work:
        found = await store.get_evidence(work, evidence_id)
        row = evidence_detail(found, await store.get_provenance(work, found.run_id))
        connection = await get_connection(work, found.connection_id)
        place = await store.find_place(work, found)
    return page.show(
        "pages/evidence.html",
        title="Statement",
        row=row,
        label=found.content.get("entity", {}).get("label") or found.external_id,
        values=pairs(found.content.get("values") or {}),
        content=pretty(found.content),
        source=pretty(row["provenance"]["content"]) if row["provenance"] else None,
        origin=_origin(row["provenance"]["content"]) if row["provenance"] else None,
        connection=connection,
        place=place,
        api=ApiCall(f"/v1/evidence/{evidence_id}"),
    )


@router.post("/evidence/pack")
async def export_pack(page: AnyPage) -> Response:
    """Hand over the statements that the filters name, as a zip that verifies offline."""
    sent = QueryParams({name: page.form.get(name) for name in page.form.fields})
    _, wanted, before = await _read(page, sent)
    pack = await open_pack(page.parts, page.org_id, wanted, before=before)
    headers = {"Content-Disposition": f'attachment; filename="evidence-{page.now:%Y-%m-%d}.zip"'}
    return StreamingResponse(pack, headers=headers, media_type="application/zip")


@router.post("/evidence/of/{connection_id}/materialize")
async def judge_anew(page: AdminPage, connection_id: str) -> Response:
    """Judge anew what is stored of a connection, by the checks as they are now."""
    made = await materialize(page.parts, page.org_id, connection_id=connection_id)
    told = (
        f"{counted(made['entities'], 'entity', 'entities')} judged anew: {counted(made['evidence'], 'statement')} written, "
        f"{counted(made['findings_opened'], 'finding')} opened, {made['findings_resolved']} resolved."
    )
    return page.go(f"/evidence?connection_id={connection_id}", told)


def _origin(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a provenance says, with nothing missing, so that one of an earlier release is shown too."""
    query, scope = content.get("query") or {}, content.get("scope") or {}
    return {
        "account": content.get("account") or {},
        "operation": query.get("title") or content.get("operation") or "",
        "source": query.get("source") or "",
        "cause": content.get("cause") or "",
        "started_at": content.get("started_at"),
        "options": tell(scope.get("options") or {}),
        "granted": scope.get("granted") or [],
    }


def _api(asked: Asked, before: datetime | None) -> ApiCall:
    """The API call that gives these rows."""
    query = {name: value for name, value in asked.set.items() if name != "as_of"}
    if before:
        query["before"] = before.isoformat().replace("+00:00", "Z")
    return ApiCall("/v1/evidence", query | ({"cursor": asked.cursor} if asked.cursor else {}))


async def _read(page: Page, query: QueryParams) -> tuple[Asked, dict[str, str | None], datetime | None]:
    """What is asked for: as such, by the names of the columns, and until when; raises `Invalid`."""
    asked = read_asked(query, await _filters(page, query))
    wanted = {_COLUMN_OF.get(name, name): value for name, value in asked.values.items() if name != "as_of"}
    return asked, wanted, end_of_day(asked.values["as_of"], field="as_of")


async def _filters(page: Page, query: QueryParams) -> list[Filter]:
    given = query.get("check", "").strip()
    checks = sorted(((one.id, one.title) for one in page.parts.catalog.checks), key=lambda choice: choice[1])
    if given and given not in dict(checks):
        checks.append((given, given))
    async with page.parts.db.work(page.org_id) as work:
        providers, connections = await choices_of(work, page, query)
    return [
        Filter("status", "Says", [("supports", "Supports"), ("contradicts", "Contradicts")]),
        Filter("framework", "Framework", [(one.slug, one.name) for one in load_frameworks().values()]),
        Filter("control", "Control"),
        Filter("check", "Check", checks),
        Filter("provider", "Provider", providers),
        Filter("connection_id", "Connection", connections),
        Filter("as_of", "As of (2031-01-31)"),
        Filter("entity_id", "Entity", hidden=True),
    ]
