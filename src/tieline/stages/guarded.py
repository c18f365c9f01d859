"""Guarded: a batch mapped in the process beside this one, for connections whose organization has expressions of its own.

Nobody has vouched for those, and one evaluation may take any time and memory (`bench.py` says why). What comes of the batch are the same
drafts as here, mapped already and carried as plain JSON; an entity is validated again on this side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from tieline.catalog.compile import Catalog, CompiledOperation, compile_operation
from tieline.sdk.context import Record
from tieline.stages.assess import read_entity
from tieline.stages.transform import Candidate, Draft, Refusal, data_of, draft, read_record
from tieline.stages.trial import Trial, read_trial, written_trial

_NOTHING = Catalog({}, (), {})


def write_batch(
    records: Sequence[Any],
    operation: CompiledOperation,
    own: Mapping[str, Any],
    *,
    connection: UUID,
    options: Mapping[str, Any],
) -> tuple[bytes, list[Draft | Refusal]]:
    """A batch as one line of JSON, with what tells its mappings' revisions; and the refusals of those records that cannot be read.

    No expression is evaluated on this side, so nobody's own can be.
    """
    texts: list[tuple[orjson.Fragment, str | None]] = []
    refused: list[Draft | Refusal] = []
    for one in records:
        read = read_record(one, operation)
        if isinstance(read, Refusal):
            refused.append(read)
        else:
            texts.append((orjson.Fragment(read.raw), one.variant if isinstance(one, Record) else None))
    batch = written_trial(Trial(operation.operation, own, [], connection, options)) | {"records": texts}
    revisions = [(variant, revision.hex()) for variant, revision in operation.revisions.items()]
    return orjson.dumps(batch | {"revisions": revisions}), refused


def answer_batch(written: Mapping[str, Any]) -> list[list[Any]]:
    """Draft and map a batch that came as JSON; what came of each record as such."""
    trial, compiled = _compiled(orjson.dumps({name: one for name, one in written.items() if name != "records"}))
    records = [Record(payload, variant) if variant else payload for payload, variant in written["records"]]
    return [_told(one) for one in draft(records, compiled, connection=trial.connection, options=trial.options)]


def read_drafts(told: Sequence[Sequence[Any]]) -> list[Draft | Refusal]:
    """What the other process made of a batch, as if it had been made here."""
    return [_read(*one) for one in told]


@lru_cache(maxsize=8)
def _compiled(written: bytes) -> tuple[Trial, CompiledOperation]:
    """What a run's batches have in common."""
    told = orjson.loads(written)
    trial = read_trial(told | {"records": []})
    compiled = compile_operation(_NOTHING, "", trial.operation, trial.own)
    return trial, replace(compiled, revisions={name: bytes.fromhex(one) for name, one in told["revisions"]})


def _told(one: Draft | Refusal) -> list[Any]:
    whose = one.id.hex if one.id else None
    if isinstance(one, Refusal):
        return [whose, one.kind, None, "refused", one.field, one.reason]
    match one.made:
        case None:
            made: list[Any] = ["left out"]
        case Refusal() as refusal:
            made = ["rejected", refusal.field, refusal.reason, refusal.record]
        case candidate:
            made = ["kept", orjson.Fragment(candidate.data), candidate.hash.hex(), candidate.raw]
    return [whose, one.kind, one.hash.hex(), *made]


def _read(whose: str | None, kind: str, digest: str | None, what: str, *told: Any) -> Draft | Refusal:
    id = UUID(hex=whose) if whose else None
    made: Candidate | Refusal | None = None
    match what, *told:
        case "refused", field, reason:
            return Refusal(kind, field, reason, None, id)
        case "rejected", field, reason, record:
            made = Refusal(kind, field, reason, record, id)
        case "kept", data, hash, raw if id:
            entity = read_entity(kind, data)
            made = Candidate(id, entity, bytes.fromhex(hash), raw, data_of(entity))
    return Draft.of(id, kind, bytes.fromhex(digest or ""), made)
