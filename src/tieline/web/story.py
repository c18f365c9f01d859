"""Story: what happened to a connection, in sentences: what people and Tieline did with it, and the runs that went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tieline.store.audit import Entry
from tieline.store.runs import Run
from tieline.web.words import every, word

_DONE = {
    "connection.connected": ("Connected", "good"),
    "connection.paused": ("Paused: nothing is read until it is resumed", "warn"),
    "connection.resumed": ("Resumed", "good"),
    "connection.tested": ("Tested, and it works", "good"),
    "connection.test_failed": ("Tested, and it does not work", "bad"),
    "connection.disconnected": ("Disconnected; its credentials were destroyed", "quiet"),
    "credential.rotated": ("Given a new credential", "good"),
    "credential.switched": ("Went on by another way", "good"),
    "credential.rolled_back": ("Went back to its former credential", "good"),
    "credential.expired": ("Its credential ended", "bad"),
    "credential.expiring": ("Its credential ends soon", "warn"),
    "credential.revoked": ("The provider was told to forget a credential", "quiet"),
    "credential.not_revoked": ("The provider could not be told to forget a credential", "warn"),
    "credential.revocation_failed": ("The provider could not be told yet to forget a credential", "warn"),
    "credential.destroyed": ("A former credential was destroyed", "quiet"),
    "token.refresh_failed": ("Its token could not be refreshed", "bad"),
}
_ENDED = {"failed": ("failed", "bad"), "held": ("was held: too much would have vanished", "warn")}
_CHANGED = {"name": "name", "options": "options", "overrides": "own filters and fields", "owner": "owner"}


@dataclass(frozen=True)
class Told:
    """One thing that happened: when, what in words, by whom, the reason if there is one, and the run that it was."""

    at: datetime
    what: str
    who: str
    tone: str = "quiet"
    why: str | None = None
    run_id: str | None = None


def tell(
    entries: Iterable[Entry], runs: Iterable[Run], *, titles: Mapping[str, str], people: Mapping[str, str]
) -> list[Told]:
    """The newest first; `titles` are the operations' by id, `people` the names of those who act."""
    told = [_tell_entry(one, titles, people) for one in entries] + [_tell_run(one, titles) for one in runs]
    return sorted(told, key=lambda one: one.at, reverse=True)


def name_actor(actor: str, people: Mapping[str, str]) -> str:
    """Who did something, in words."""
    ours = {"engine": "a worker", "system": "Tieline itself"}
    return people.get(actor) or ours.get(actor) or (actor[4:] + ", by command" if actor.startswith("cli:") else actor)


def _tell_entry(entry: Entry, titles: Mapping[str, str], people: Mapping[str, str]) -> Told:
    what, tone = _DONE.get(entry.action) or (_sentence(entry.action, entry.details, titles, people), "quiet")
    reason = entry.details.get("reason")
    return Told(entry.at, what, name_actor(entry.actor, people), tone, word(str(reason)) if reason else None)


def _sentence(action: str, details: Mapping[str, Any], titles: Mapping[str, str], people: Mapping[str, str]) -> str:
    operation = str(details.get("operation") or "")
    title = titles.get(operation, operation)
    match action:
        case "connection.changed":
            names = [_CHANGED.get(str(one), str(one)) for one in details.get("changed") or []]
            return (
                _told_owner(details, people)
                if names == ["owner"]
                else f"Changed its {' and '.join(names) or 'settings'}"
            )
        case "sync.requested":
            return f"A run asked for: {title}" if title else "A run of everything asked for"
        case "operation.switched_off":
            return f"Switched off: {title}"
        case "operation.switched_on":
            return f"Switched on: {title}"
        case "operation.rescheduled":
            seconds = details.get("every_seconds")
            return f"{title}: {every(timedelta(seconds=seconds)) if seconds else 'as often as the provider says'}"
    return word(action.replace(".", " "))


def _told_owner(details: Mapping[str, Any], people: Mapping[str, str]) -> str:
    owner = details.get("owner")
    return f"Looked after by {people.get(owner, owner)} from now on" if owner else "Looked after by nobody from now on"


def _tell_run(run: Run, titles: Mapping[str, str]) -> Told:
    how, tone = _ENDED.get(run.status, ("was read in part", "warn"))
    title = titles.get(run.operation, run.operation)
    return Told(run.finished_at or run.created_at, f"{title} {how}", "a worker", tone, run.error_message, run.id)
