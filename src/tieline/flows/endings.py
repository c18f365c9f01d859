"""How runs end: well, waiting, in part, in failure, by a person, or held by the brake. One place decides, by the error's type."""

from __future__ import annotations

import logging
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tieline import faults
from tieline.errors import (
    Conflict,
    Forbidden,
    NotOffered,
    ProviderError,
    RateLimited,
    RequestError,
    Suspended,
    TielineError,
    Unauthorised,
    Unavailable,
)
from tieline.flows.states import RUNNABLE, move_connection
from tieline.log import place_of
from tieline.stages.announce import announce_connection, announce_findings, announce_run
from tieline.store import runs, schedules
from tieline.store.connections import Connection, get_connection, lock_connection
from tieline.store.db import Work, is_passing
from tieline.store.findings import unmute_expired
from tieline.store.run_spans import add_wait, fold_spans
from tieline.store.runs import Run
from tieline.store.schedules import Schedule
from tieline.telemetry import instruments

if TYPE_CHECKING:
    from tieline.flows.judging import Sync

MOST_ATTEMPTS = 5
"""How often an unavailable provider is tried, without a page stored in between, before the run fails and the connection shows an error."""

SHORTEST_WAIT = timedelta(seconds=5)
"""A provider that limits, but says that it can be asked again at once, is given so much time all the same."""

_AS_WISHED = frozenset({"succeeded", "cancelled"})

_log = logging.getLogger(__name__)


class Cancelled(TielineError):
    """A person asked for the run, or for the whole connection, to end."""

    slug = "cancelled"
    advice = "Start it again when you want it."


class Stopped(TielineError):
    """The connection was paused, or lost its credential, while the run was under way."""

    slug = "stopped"
    advice = "Resume the connection; the run goes on where it stood."


class Braked(TielineError):
    """More entities would vanish than is believable; nothing was removed."""

    slug = "brake"
    advice = "Look at the provider. If they are really gone, release the run: `tieline runs release RUN`."

    def __init__(self, unseen: int, present: int) -> None:
        super().__init__(f"{unseen} of {present} entities would be removed, so the run stopped before removing any")


class Unreadable(TielineError):
    """Some records could not be told apart, so what is missing from the rest may be among them."""

    slug = "unreadable-records"
    advice = "See what was rejected and why: `tieline runs rejections RUN`."

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} records could not be read far enough to tell whose they are, so nothing was removed")


async def take_turn(work: Work, connection: Connection) -> None:
    """Let only one transaction at a time write what concerns a connection: its operations' pages touch the same rows."""
    await lock_connection(work, connection.id)


async def keep_or_stop(work: Work, sync: Sync, *, got_on: bool = False) -> None:
    """Last thing in each transaction of a run: prove that the run is still ours and still wanted; if it `got_on`, say so."""
    if await schedules.keep(work, sync.hold, got_on=got_on):
        raise Cancelled("Cancelled by a person")
    status = (await get_connection(work, sync.connection.id)).status
    if status == "disconnected":
        raise Cancelled("The connection was disconnected")
    if status not in RUNNABLE:
        raise Stopped("The connection was stopped")


def refuse_unless_runnable(connection: Connection) -> None:
    """Raises `Conflict` if runs of this connection cannot start."""
    if connection.status not in RUNNABLE:
        raise Conflict(
            f"The connection is {connection.status}, so nothing can run", advice=_HOW_TO_RUN.get(connection.status)
        )


async def succeed(sync: Sync) -> None:
    """The run saw everything."""
    async with sync.parts.db.work(sync.hold.org_id) as work:
        current = await get_connection(work, sync.connection.id, lock=True)
        await _finish(work, sync, "succeeded")
        await announce_findings(work, {"unmuted": await unmute_expired(work, now=sync.now)}, now=sync.now)
        if current.status == "error":
            await move_connection(work, current, "degraded" if current.missing_scopes else "active", now=sync.now)
    faults.passing("run.finished")


async def end(sync: Sync, error: Exception) -> None:
    """End a run that did not succeed."""
    error = _first_of(error)
    async with sync.parts.db.work(sync.hold.org_id) as work:
        attempt = await _failures(work, sync)
        match error:
            case RateLimited():
                await _wait(work, sync, max(error.until, sync.now + SHORTEST_WAIT), error)
            case Unavailable() if attempt + 1 < MOST_ATTEMPTS:
                await _wait(work, sync, sync.now + _backoff(attempt), error, attempt=attempt + 1)
            case Stopped():
                await _wait(work, sync, None, error)
            case Cancelled():
                await _finish(work, sync, "cancelled", error)
            case Braked():
                await _finish(work, sync, "held", error)
            case Unreadable():
                await _finish(work, sync, "partial", error)
            case ProviderError() | RequestError():
                await _fail(work, sync, error)
            case _ if is_passing(error) or attempt + 1 < MOST_ATTEMPTS:
                instruments.FAULTS.add()
                raise error  # a fault of the database or of ours: the engine hands the run back, to be tried again later
            case _:
                await _fail(
                    work, sync, TielineError(f"The run failed with {type(error).__name__} at {place_of(error)}")
                )


async def close(
    work: Work, schedule: Schedule, run: Run, error: TielineError, *, status: str = "cancelled", now: datetime
) -> None:
    """End a run that cannot begin, or begin again."""
    told = {"error_slug": error.slug, "error_message": error.message}
    await runs.update_run(work, run.id, status=status, finished_at=now, resume_at=None, **told)
    await runs.forget_pages(work, run)
    later = now + schedule.period if schedule.period else None
    await schedules.release(
        work, schedule.hold, now=now, next_run_at=later, run_id=None, attempt=0, error=error.slug, done=True
    )
    await announce_run(work, run, status, now=now, error=error.slug)


async def close_waiting(work: Work, schedule: Schedule, why: str, *, now: datetime) -> None:
    """End the run that waits for its turn, if one does; one under way ends by itself at its next page."""
    if schedule.run_id is None or schedule.held_by:
        return
    ended = {"status": "cancelled", "finished_at": now, "resume_at": None, "error_slug": Cancelled.slug}
    await runs.update_run(work, schedule.run_id, **ended, error_message=why)
    run = await runs.get_run(work, schedule.run_id)
    await runs.forget_pages(work, run)
    await schedules.set_run(work, schedule.id, None)
    await announce_run(work, run, "cancelled", now=now)


async def _fail(work: Work, sync: Sync, error: TielineError) -> None:
    current = await get_connection(work, sync.connection.id, lock=True)  # before its schedules, as all who lock both do
    if isinstance(error, Unauthorised) and current.status in RUNNABLE and _was_validated_since(sync, current):
        await _wait(work, sync, None, Stopped("The credential was replaced"))
        return
    run = await runs.get_run(work, sync.run.id)
    partial = run.pages or isinstance(error, NotOffered)  # what is not offered is no failure, and no reading either
    await _finish(work, sync, "partial" if partial else "failed", error)
    if current.status not in RUNNABLE:  # a person, or another operation, was faster: that stands
        return
    about: dict[str, Any] = {"now": sync.now, "slug": error.slug, "message": error.message}
    match error:
        case Unauthorised():
            await move_connection(work, current, "needs_reconnect", **about)
            await schedules.set_enabled(work, current.id, False, reason=error.slug, now=sync.now)
            await announce_connection(work, current, "needs_reconnect", now=sync.now)
        case Suspended():
            await move_connection(work, current, "suspended", **about)
            await schedules.set_enabled(work, current.id, False, reason=error.slug, now=sync.now)
            await announce_connection(work, current, "suspended", now=sync.now)
        case NotOffered():
            pass
        case Forbidden():
            await move_connection(work, current, "degraded", **about)
            off = {"operation": sync.operation.id, "reason": error.scope or error.slug}
            await schedules.set_enabled(work, current.id, False, **off, now=sync.now)
            await announce_connection(work, current, "degraded", now=sync.now, **off)
        case Unavailable():
            await move_connection(work, current, "error", **about)
            await announce_connection(work, current, "error", now=sync.now)


async def _wait(
    work: Work, sync: Sync, until: datetime | None, error: TielineError, *, attempt: int | None = None
) -> None:
    """Free the worker; the same run goes on later where it stands, unless somebody asked that it end."""
    if await schedules.keep(work, sync.hold):
        await _finish(work, sync, "cancelled", Cancelled("Cancelled by a person"))
        return
    waiting = {"status": "queued", "resume_at": until, "error_slug": error.slug, "error_message": error.message}
    await runs.update_run(work, sync.run.id, **waiting, exchange=error.details.get("exchange"))
    await _note_wait(work, sync, error.slug)
    await schedules.release(
        work,
        sync.hold,
        now=sync.now,
        next_run_at=until or sync.now,
        run_id=sync.run.id,
        attempt=attempt,
        error=error.slug,
        done=False,
    )
    _log.info("The run waits", extra={"error": error.slug, "until": until})
    instruments.PUT_OFF.add(provider=sync.provider.slug, outcome=error.slug)
    faults.passing("run.waiting")


async def _finish(work: Work, sync: Sync, status: str, error: TielineError | None = None) -> None:
    told = (
        {"error_slug": error.slug, "error_message": error.message}
        if error
        else {"error_slug": None, "error_message": None}
    )
    exchange = error.details.get("exchange") if error else None
    await runs.update_run(work, sync.run.id, status=status, finished_at=sync.now, exchange=exchange, **told)
    if status == "held":
        await _note_wait(work, sync, Braked.slug)
    await runs.forget_pages(work, sync.run, held=status == "held")
    await fold_spans(work, sync.run.id, pages=(await runs.get_run(work, sync.run.id)).pages)
    current = await schedules.get_schedule(work, sync.connection.id, sync.operation.id, lock=True)
    own = current.own_every if current else None  # a person may have changed it since the run began
    await schedules.release(
        work,
        sync.hold,
        now=sync.now,
        next_run_at=sync.now + _with_jitter(own or sync.operation.every),
        run_id=None,
        attempt=0,
        error=error.slug if error else None,
        done=True,
    )
    await announce_run(work, sync.run, status, now=sync.now, error=error.slug if error else None)
    why = {"error": error.slug, "reason": error.message} if error else {}
    _log.log(
        logging.INFO if status in _AS_WISHED else logging.WARNING, "The run ended", extra={"status": status, **why}
    )
    faults.passing("run.ending")


async def _failures(work: Work, sync: Sync) -> int:
    """How often the run has failed since it last got on, which may have been a moment ago."""
    current = await schedules.get_schedule(work, sync.connection.id, sync.operation.id)
    return current.attempt if current else 0


async def _note_wait(work: Work, sync: Sync, cause: str) -> None:
    pages = (await runs.get_run(work, sync.run.id)).pages
    await add_wait(work, sync.run.id, page=pages, cause=cause, now=sync.now)


def _was_validated_since(sync: Sync, current: Connection) -> bool:
    """Whether the connection passed a test call after the run began: what was refused may be a credential of before."""
    return current.validated_at > sync.connection.validated_at


def _first_of(error: Exception) -> Exception:
    """Requests made side by side fail as a group; the first one decides."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _with_jitter(period: timedelta) -> timedelta:
    """Spread what was connected together: up to a twentieth later."""
    return period * random.uniform(1.0, 1.05)  # noqa: S311  not a secret


def _backoff(attempt: int) -> timedelta:
    """5 s, 20 s, 80 s, 320 s, each ±20 %."""
    return timedelta(seconds=5 * 4**attempt * random.uniform(0.8, 1.2))  # noqa: S311  not a secret


_HOW_TO_RUN = {
    "paused": "Resume the connection.",
    "needs_reconnect": "Give the connection a new credential: `tieline connections rotate`.",
    "suspended": "Lift the suspension at the provider, then `tieline connections test`.",
    "expired": "Give the connection a new credential: `tieline connections rotate`.",
    "disconnected": "Connect the account again.",
}
