"""Runs: what was read when, and what became of it; one run live, what it rejected, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.flows import runs as flow
from tieline.flows.views import JsonRow, listing, rejection_row, run_row
from tieline.store import runs as store
from tieline.store.connections import get_connection, list_connections
from tieline.store.listing import Paging
from tieline.store.runs import UNFINISHED, Run
from tieline.web import live
from tieline.web.data import pretty
from tieline.web.listing import MAX_ROWS, Column, Filter, show_list
from tieline.web.page import AnyPage, ApiCall, MemberPage, Page
from tieline.web.route import ConsoleRoute
from tieline.web.templating import render
from tieline.web.timeline import draw
from tieline.web.words import word

router = APIRouter(route_class=ConsoleRoute)

STATES = ("queued", "running", "succeeded", "partial", "failed", "held", "cancelled")
_COLUMNS = (
    Column("id", "id"),
    Column("provider", "provider"),
    Column("operation", "operation"),
    Column("connection", "connection_id"),
    Column("state", "status"),
    Column("cause", "cause"),
    Column("asked for", "created_at"),
    Column("began", "started_at"),
    Column("ended", "finished_at"),
    *(Column(name.replace("_", " "), f"counts.{name}") for name in store.COUNTS),
    Column("error", "reason.slug"),
    Column("message", "reason.message"),
)
_REJECTED = (
    Column("id", "id"),
    Column("kind", "kind"),
    Column("field", "field"),
    Column("reason", "reason"),
    Column("record", "record"),
    Column("at", "at"),
)
_ADVICE = {
    "brake": "Look at the provider. If they are really gone, release the run. If not, run it again once the provider shows them.",
    "cancelled": "Start it again when you want it.",
    "credential-rejected": "Make a new credential at the provider, then reconnect the connection.",
    "internal": "The fault is ours. Try again; if it stays, give this run's id to whoever runs this Tieline.",
    "not-offered": "Nothing to do: it reads nothing until the account has the feature.",
    "permission-missing": "Grant the named permission at the provider, then test the connection.",
    "provider-unavailable": "Look at the provider's status page. Tieline tries again by itself.",
    "rate-limited": "Nothing to do: it goes on by itself at the time that the provider named.",
    "stopped": "Resume the connection; the run goes on where it stood.",
    "suspended": "Lift the suspension at the provider, then test the connection.",
    "unexpected-answer": "The provider answered something that its documentation does not allow. Report it with the exchange below.",
    "unreadable-records": "See what was rejected and why. Nothing was removed meanwhile.",
}
_SOME_ADVICE = "Try again. If it stays, give this run's id to whoever runs this Tieline."


@router.get("/runs")
async def show_runs(page: AnyPage) -> Response:
    """List runs."""
    async with page.parts.db.work(page.org_id) as work:
        found = await list_connections(work, Paging(limit=MAX_ROWS))
    names = {one.id: one.name for one in found.items}
    wanted = page.request.query_params.get("connection_id", "").strip()  # may be one that was disconnected
    chosen = {wanted: wanted} | names if wanted and wanted not in names else names
    filters = (
        Filter("status", "State", [(one, word(one)) for one in STATES]),
        Filter("connection_id", "Connection", list(chosen.items())),
        Filter("operation", "Operation", [(one, word(one)) for one in sorted(_operations(page))]),
    )

    async def fetch(values: Mapping[str, str | None], paging: Paging) -> JsonRow:
        async with page.parts.db.work(page.org_id) as work:
            return listing(await store.list_runs(work, paging, **values), run_row)

    return await show_list(
        page,
        "pages/runs.html",
        title="Runs",
        filters=filters,
        columns=_COLUMNS,
        fetch=fetch,
        api="/v1/runs",
        names=names,
        title_of=lambda one: _title(page, one["provider"], one["operation"]),
    )


@router.get("/runs/{run_id}")
async def show_run(page: AnyPage, run_id: str) -> Response:
    """Show one run."""
    run, name = await _find(page, run_id)
    title, (_, shown) = _title(page, run.provider, run.operation), await _told(page, run_id)
    return page.show("pages/run.html", title=title, api=ApiCall(f"/v1/runs/{run.id}"), name=name, **shown)


@router.get("/runs/{run_id}/live")
async def follow_run(page: AnyPage, run_id: str) -> Response:
    """The part of a run's page that moves, whenever it does."""
    await _find(page, run_id)

    async def look() -> tuple[str, bool]:
        run, shown = await _told(page, run_id)
        return render("parts/run.html", page=page, **shown), run.status not in UNFINISHED

    return live.stream(page, look)


@router.get("/runs/{run_id}/rejections")
async def show_rejections(page: AnyPage, run_id: str) -> Response:
    """Show samples of the records that a run could make no entity from."""
    run, _ = await _find(page, run_id)

    async def fetch(_: Mapping[str, str | None], paging: Paging) -> JsonRow:
        async with page.parts.db.work(page.org_id) as work:
            return listing(await store.list_rejections(work, run.id, paging), rejection_row)

    return await show_list(
        page,
        "pages/rejections.html",
        title="Rejected records",
        filters=(),
        columns=_REJECTED,
        fetch=fetch,
        api=f"/v1/runs/{run.id}/rejections",
        run=run_row(run),
        pretty=pretty,
        of=_title(page, run.provider, run.operation),
    )


@router.post("/runs/{run_id}/cancel")
async def cancel_run(page: MemberPage, run_id: str) -> Response:
    """Ask that a run end."""
    run = await flow.cancel_run(page.parts, page.org_id, run_id)
    told = "The run is cancelled." if run.status == "cancelled" else "The run ends before its next page."
    return page.go(f"/runs/{run.id}", told)


@router.post("/runs/{run_id}/retry")
async def retry_run(page: MemberPage, run_id: str) -> Response:
    """Run the same operation again."""
    run = await flow.retry_run(page.parts, page.org_id, run_id)
    return page.go(f"/runs/{run.id}", "This is the new run. It begins as soon as a worker is free.")


@router.post("/runs/{run_id}/release")
async def release_run(page: MemberPage, run_id: str) -> Response:
    """Let a run that the brake holds go on."""
    run = await flow.release_held(page.parts, page.org_id, run_id)
    return page.go(f"/runs/{run.id}", "The run goes on, and removes what it did not see.")


async def _told(page: Page, run_id: str) -> tuple[Run, dict[str, Any]]:
    """A run, and what the moving part of its page shows."""
    run, spans = await flow.read_spans(page.parts, page.org_id, run_id)
    return run, {
        "run": run_row(run),
        "unfinished": run.status in UNFINISHED,
        "mapped": run.created + run.changed + run.unchanged,
        "advice": _ADVICE.get(run.error_slug or "", _SOME_ADVICE),
        "timeline": draw(run, spans, page.now),
    }


async def _find(page: Page, run_id: str) -> tuple[Run, str]:
    """A run, and the name of its connection."""
    async with page.parts.db.work(page.org_id) as work:
        run = await store.get_run(work, run_id)
        return run, (await get_connection(work, run.connection_id)).name


def _operations(page: Page) -> set[str]:
    """The ids of all operations that there are."""
    return {one.id for provider in page.parts.catalog.providers.values() for one in provider.operations}


def _title(page: Page, provider: str, operation: str) -> str:
    """An operation in words; the ids where the catalog does not know it any more."""
    found = page.parts.catalog.providers.get(provider)
    if found is None:
        return f"{provider}: {operation}"
    title = next((one.title for one in found.operations if one.id == operation), operation)
    return f"{found.name}: {title}"
