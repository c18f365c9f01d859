"""Announce: put what happened into the outbox, in the transaction in which it happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tieline.ids import new_id
from tieline.store.connect_sessions import ConnectSession
from tieline.store.connections import Connection
from tieline.store.db import Work
from tieline.store.findings import Finding
from tieline.store.outbox import Event, add_to_outbox
from tieline.store.runs import Run


async def announce_findings(work: Work, moved: Mapping[str, Sequence[Finding]], *, now: datetime) -> None:
    """`finding.opened`, `.reopened`, `.resolved`, `.muted`, `.unmuted`, `.assigned`, `.unassigned`: one event for each finding."""
    events = [
        Event(new_id("evt"), work.org_id, f"finding.{what}", now, _about(finding))
        for what, found in moved.items()
        for finding in found
    ]
    await add_to_outbox(work, events)


async def announce_connection(work: Work, connection: Connection, what: str, *, now: datetime, **more: Any) -> None:
    """`connection.<what>`, such as `connection.connected`."""
    data = {"connection_id": connection.id, "provider": connection.provider, "account": connection.account_name, **more}
    await add_to_outbox(work, [Event(new_id("evt"), work.org_id, f"connection.{what}", now, data)])


async def announce_session(work: Work, session: ConnectSession, what: str, *, now: datetime, **more: Any) -> None:
    """`connect_session.<what>`: `connected`, `failed` (it can be tried again) or `cancelled`."""
    data = {"connect_session_id": session.id, "provider": session.provider, **more}
    await add_to_outbox(work, [Event(new_id("evt"), work.org_id, f"connect_session.{what}", now, data)])


async def announce_run(work: Work, run: Run, status: str, *, now: datetime, **more: Any) -> None:
    """`run.<status>`, when a run ends."""
    data = {"run_id": run.id, "connection_id": run.connection_id, "operation": run.operation, **more}
    await add_to_outbox(work, [Event(new_id("evt"), work.org_id, f"run.{status}", now, data)])


def _about(finding: Finding) -> dict[str, Any]:
    names = ("id", "connection_id", "provider", "entity_id", "kind", "external_id", "subject", "check_id", "severity")
    return {"title": finding.title, "owner": finding.owner_id} | {name: getattr(finding, name) for name in names}
