"""Views: the shape of each noun as a row of plain JSON, the same in the API's answers and in the commands' `--json`.

A row carries `id`, `provider`, `kind`, `external_id`, `connection_id` and `status` under those names wherever they make sense. Times are
RFC 3339 in UTC with a `Z`. No row holds a secret, a sealed byte or a key's hash.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tieline.flows.states import health_of
from tieline.stages.attest import hash_content
from tieline.store.admission import EngineCounts
from tieline.store.api_keys import ApiKeyRow
from tieline.store.connections import NOBODY, Connection
from tieline.store.credentials import SealedCredential
from tieline.store.entities import StoredEntity
from tieline.store.evidence import Evidence, Provenance
from tieline.store.finding_groups import Group
from tieline.store.findings import Finding, FindingEvent
from tieline.store.listing import Listing
from tieline.store.members import Member
from tieline.store.organizations import Organization
from tieline.store.outbox import Event
from tieline.store.runs import COUNTS, Rejection, Run
from tieline.store.schedules import Schedule

if TYPE_CHECKING:
    from tieline.flows.disconnect import Disconnected
    from tieline.flows.imports import Imported

T = TypeVar("T")
JsonRow = dict[str, Any]


def listing(page: Listing[T], row: Callable[[T], JsonRow]) -> JsonRow:
    """A page of rows, and the cursor of the next one (`None` on the last)."""
    return {"items": [row(one) for one in page.items], "next": page.next}


def moment(at: datetime | None) -> str | None:
    """A time as it is written everywhere: `2026-01-31T12:00:00.000000Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if at else None


# What an organization has


def connection_row(connection: Connection) -> JsonRow:
    """A connection; `kind` is how it authenticates, `external_id` the account's id at the provider."""
    return {
        "id": connection.id,
        "provider": connection.provider,
        "kind": connection.auth,
        "external_id": connection.account_id,
        "connection_id": connection.id,
        "status": connection.status,
        "health": health_of(connection.status),
        "reason": _reason(connection.status_slug, connection.status_message),
        "owner": connection.owner_id,
        "name": connection.name,
        "account_name": connection.account_name,
        "options": connection.options,
        "overrides": connection.overrides,
        "scopes": connection.scopes,
        "missing_scopes": list(connection.missing_scopes),
        "remarks": list(connection.remarks),
        "expires_at": moment(connection.expires_at),
        "created_at": moment(connection.created_at),
        "updated_at": moment(connection.updated_at),
        "validated_at": moment(connection.validated_at),
        "disconnected_at": moment(connection.disconnected_at),
    }


def disconnected_row(gone: Disconnected) -> JsonRow:
    """A connection that is no more, what was revoked, and what is left to do at the provider."""
    return connection_row(gone.connection) | {
        "revoked": gone.revoked,
        "to_revoke": gone.to_revoke,
        "remains": gone.remains,
    }


def credential_row(row: SealedCredential) -> JsonRow:
    """A version of a credential: all that is known of it, nothing of what it holds."""
    return {
        "id": row.id,
        "slot": row.slot,
        "version": row.version,
        "in_force": row.retired_at is None,
        "fingerprint": row.fingerprint,
        "key_id": row.key_id,
        "created_at": moment(row.created_at),
        "created_by": row.created_by,
        "refreshed_at": moment(row.refreshed_at),
        "expires_at": moment(row.expires_at),
        "retired_at": moment(row.retired_at),
    }


def imported_row(one: Imported) -> JsonRow:
    """What became of one row of an import."""
    error = one.error
    return {
        "row": one.row,
        "status": one.status,
        "provider": one.provider,
        "account": one.account,
        "connection_id": one.connection_id,
        "reason": {"slug": error.slug, "message": error.message, "advice": error.what_to_do} if error else None,
    }


def schedule_row(schedule: Schedule) -> JsonRow:
    """How one operation of a connection is planned; `reason` says what stops it besides a person who switched it off."""
    return {
        "operation": schedule.operation,
        "enabled": schedule.enabled,
        "switched_on": schedule.switched_on,
        "reason": schedule.off_reason,
        "every_seconds": _seconds(schedule.period),
        "own_every_seconds": _seconds(schedule.own_every),
        "next_run_at": moment(schedule.next_run_at),
        "run_id": schedule.run_id,
    }


def run_row(run: Run) -> JsonRow:
    """A run; `exchange` is the redacted exchange with the provider that ended it, if one did."""
    return {
        "id": run.id,
        "provider": run.provider,
        "kind": run.kind,
        "operation": run.operation,
        "connection_id": run.connection_id,
        "status": run.status,
        "reason": _reason(run.error_slug, run.error_message),
        "cause": run.cause,
        "force": run.force,
        "attempts": run.attempts,
        "counts": {name: getattr(run, name) for name in COUNTS},
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "finished_at": moment(run.finished_at),
        "resume_at": moment(run.resume_at),
        "exchange": run.exchange,
    }


def rejection_row(rejection: Rejection) -> JsonRow:
    """A sample of a record that no entity could be made from: which field, and why."""
    return {
        "id": rejection.id,
        "run_id": rejection.run_id,
        "kind": rejection.kind,
        "field": rejection.field,
        "reason": rejection.reason,
        "record": rejection.record,
        "at": moment(rejection.at),
    }


def entity_row(entity: StoredEntity) -> JsonRow:
    """An entity; `data` are its normalised fields, `answers` the standing answer of each check."""
    return {
        "id": entity.id,
        "provider": entity.provider,
        "kind": entity.kind,
        "external_id": entity.external_id,
        "connection_id": entity.connection_id,
        "status": entity.status,
        "operation": entity.operation,
        "run_id": entity.run_id,
        "data": entity.data,
        "answers": {check: outcome for check, (outcome, _) in sorted(entity.outcomes.items())},
        "first_seen_at": moment(entity.first_seen_at),
        "changed_at": moment(entity.changed_at),
        "removed_at": moment(entity.removed_at),
    }


def entity_detail(entity: StoredEntity, raw: Any) -> JsonRow:
    """An entity with the provider's record that it came from."""
    return entity_row(entity) | {"raw": raw}


def finding_row(finding: Finding) -> JsonRow:
    """A finding; `values` are the fields that decided, `subject` is the entity's name for people."""
    return {
        "id": finding.id,
        "provider": finding.provider,
        "kind": finding.kind,
        "external_id": finding.external_id,
        "connection_id": finding.connection_id,
        "status": finding.status,
        "entity_id": finding.entity_id,
        "subject": finding.subject,
        "owner": finding.owner_id,
        "check": finding.check_id,
        "severity": finding.severity,
        "title": finding.title,
        "values": finding.values,
        "opened_at": moment(finding.opened_at),
        "changed_at": moment(finding.changed_at),
        "resolved_at": moment(finding.resolved_at),
        "reopened": finding.reopened,
        "muted_reason": finding.muted_reason,
        "muted_until": moment(finding.muted_until),
    }


def group_row(group: Group) -> JsonRow:
    """Findings that have something in common; `key` has the names of the filters that lead to just these."""
    names = {"check_id": "check", "owner_id": "owner"}
    key = {names.get(name, name): value for name, value in group.key.items()}
    return {
        "key": {name: value or (NOBODY if name == "owner" else value) for name, value in key.items()},
        "title": group.title,
        "severity": group.severity,
        "open": group.open,
        "muted": group.muted,
        "resolved": group.resolved,
        "entities": group.entities,
        "oldest": moment(group.oldest),
    }


def finding_event_row(event: FindingEvent) -> JsonRow:
    """One thing that happened to a finding: opened, resolved, reopened, muted, unmuted, assigned, unassigned."""
    return {
        "id": event.id,
        "finding_id": event.finding_id,
        "event": event.event,
        "at": moment(event.at),
        "run_id": event.run_id,
        "actor": event.actor,
        "note": event.note,
        "values": event.values,
    }


def evidence_row(evidence: Evidence) -> JsonRow:
    """A statement; `status` is `supports` or `contradicts`, `hash` is SHA-256 in hex."""
    return {
        "id": evidence.id,
        "provider": evidence.provider,
        "kind": evidence.kind,
        "external_id": evidence.external_id,
        "connection_id": evidence.connection_id,
        "status": evidence.stance,
        "run_id": evidence.run_id,
        "entity_id": evidence.entity_id,
        "check": evidence.check_id,
        "controls": list(evidence.controls),
        "statement": str(evidence.content.get("statement", "")),
        "observed_at": moment(evidence.observed_at),
        "hash": evidence.hash.hex(),
    }


def evidence_detail(evidence: Evidence, provenance: Provenance | None) -> JsonRow:
    """A statement with what is hashed, where it came from, and whether both still match their hashes.

    `verified.provenance` is true only if the provenance matches its own hash and is the one that the statement names.
    """
    named = evidence.content.get("provenance")
    return evidence_row(evidence) | {
        "content": evidence.content,
        "provenance": None if provenance is None else {
            "id": provenance.id,
            "run_id": provenance.run_id,
            "content": provenance.content,
            "hash": provenance.hash.hex(),
        },
        "verified": {
            "content": hash_content(evidence.content) == evidence.hash,
            "provenance": provenance is not None
            and hash_content(provenance.content) == provenance.hash
            and named == provenance.hash.hex(),
        },
    }  # fmt: skip


def event_row(event: Event) -> JsonRow:
    """A domain event, such as `finding.opened`."""
    return {"id": event.id, "type": event.type, "at": moment(event.at), "data": event.data}


# What the platform has


def api_key_row(key: ApiKeyRow, *, now: datetime) -> JsonRow:
    """A key, which is `active`, `expired` or `revoked`; of the key itself only the prefix is known."""
    expired = key.expires_at is not None and key.expires_at <= now
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "prefix": key.prefix,
        "status": "revoked" if key.revoked_at else "expired" if expired else "active",
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "last_used_at": moment(key.last_used_at),
        "revoked_at": moment(key.revoked_at),
    }


def member_row(member: Member) -> JsonRow:
    """A person of an organization, who is `invited` until they sign in."""
    return {
        "id": member.id,
        "email": member.email,
        "name": member.name,
        "role": member.role,
        "status": member.status,
        "created_at": moment(member.created_at),
        "last_seen_at": moment(member.last_seen_at),
    }


def organization_row(organization: Organization) -> JsonRow:
    """An organization."""
    return {
        "id": organization.id,
        "slug": organization.slug,
        "name": organization.name,
        "created_at": moment(organization.created_at),
    }


def engine_row(counts: EngineCounts, next_due: datetime | None) -> JsonRow:
    """How the engine stands: what is due and waits, what runs, since when the oldest waits, and what comes next."""
    return {
        "waiting": counts.waiting,
        "running": counts.held,
        "oldest_waiting_since": moment(counts.oldest),
        "next_due_at": moment(next_due),
    }


def _seconds(period: timedelta | None) -> int | None:
    return int(period.total_seconds()) if period else None


def _reason(slug: str | None, message: str | None) -> JsonRow | None:
    """Why something is in its state; `None` when there is nothing to say."""
    return {"slug": slug, "message": message} if slug or message else None
