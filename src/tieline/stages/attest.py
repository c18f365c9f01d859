"""Attest: turn answers into evidence, for or against the controls that their checks are mapped to.

A statement is written when an answer changes or is no longer fresh, never twice for the same. Its hash is SHA-256 over the canonical
form of its content (JSON, sorted keys, no white space, UTF-8), which names the hash of the provenance it came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson

from tieline.ids import new_id, to_uuid, uuid7
from tieline.stages.assess import Answer
from tieline.stages.load import label_of
from tieline.stages.transform import may_hold_nul, without_nul
from tieline.store import evidence as store
from tieline.store.connections import Connection
from tieline.store.db import Work
from tieline.store.evidence import Provenance
from tieline.store.runs import Run

STANCES = {"pass": "supports", "fail": "contradicts"}


async def attest(
    work: Work, answers: Sequence[Answer], *, connection: Connection, run: Run, query: dict[str, Any], now: datetime
) -> int:
    """Write evidence for the answers that are certain; how much. `query` says what was asked of the provider."""
    certain = [one for one in answers if one.outcome in STANCES]
    if not certain:
        return 0
    provenance = await _provenance(work, connection, run, query)
    told = {"observed_at": now.isoformat(), "provenance": provenance.hash.hex()}
    same = {
        "org_id": to_uuid(connection.org_id, "org"), "connection_id": to_uuid(connection.id, "conn"),
        "provider": connection.provider, "run_id": to_uuid(run.id, "run"), "observed_at": now,
    }  # fmt: skip
    await store.add_evidence(work, [_row(one, told) for one in certain], same=same)
    return len(certain)


def canonical(content: Any) -> bytes:
    """The canonical form that is hashed: JSON with sorted keys, no white space, UTF-8."""
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def hash_content(content: Any) -> bytes:
    """SHA-256 over the canonical form."""
    return sha256(canonical(content)).digest()


def _row(answer: Answer, told: Mapping[str, Any]) -> tuple[Any, ...]:
    """A statement as it is stored: its content in the canonical form, of which the hash is taken."""
    entity, check = answer.subject.entity, answer.check
    label = label_of(entity)
    stance = STANCES[answer.outcome or ""]
    content = {
        "statement": f"{check.title}: {'holds' if stance == 'supports' else 'does not hold'} for {label}",
        "check": {"id": check.id, "title": check.title, "severity": check.severity},
        "stance": stance,
        "controls": list(check.controls),
        "entity": {"kind": entity.kind, "external_id": entity.external_id, "label": label},
        "values": answer.judgement.values if answer.judgement else {},
        **told,
    }
    text = canonical(content)
    if may_hold_nul(text):
        text = canonical(orjson.loads(without_nul(text)))  # names may have changed places
    return (
        uuid7(), answer.subject.id, entity.kind, entity.external_id, check.id, stance, list(check.controls),
        text.decode(), sha256(text).digest(),
    )  # fmt: skip


async def _provenance(work: Work, connection: Connection, run: Run, query: dict[str, Any]) -> Provenance:
    """The run's provenance, made with its first statement."""
    if found := await store.get_provenance(work, run.id):
        return found
    content = {
        "provider": connection.provider,
        "connection": connection.id,
        "account": {"id": connection.account_id, "name": connection.account_name},
        "run": run.id,
        "operation": run.operation,
        "cause": run.cause,
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "query": query,
        "scope": {"options": connection.options, "granted": connection.scopes},
    }
    made = Provenance(new_id("prov"), work.org_id, run.id, content, hash_content(content))
    await store.save_provenance(work, made)
    return made
