"""Guarded: a batch mapped in the process beside this one, for connections whose organization has expressions of its own.

Nobody has vouched for those, and one evaluation may take any time and memory (`bench.py` says why). What comes of the batch is the same
`Transformed` as here, carried as plain JSON; an entity is validated again on this side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson

from tieline.catalog.compile import Catalog, CompiledOperation, compile_operation
from tieline.sdk.context import Record
from tieline.stages.assess import read_entity
from tieline.stages.load import data_of
from tieline.stages.transform import Candidate, Refusal, Transformed, transform
from tieline.stages.trial import Trial, read_trial, written_trial

_NOTHING = Catalog({}, (), {})


def write_batch(
    records: Sequence[Any],
    operation: CompiledOperation,
    own: Mapping[str, Any],
    *,
    connection: UUID,
    options: Mapping[str, Any],
) -> tuple[bytes, list[Any]]:
    """A batch as one line of JSON, with what tells its mappings' revisions; and the records that JSON does not allow.

    Those `transform` refuses before it looks at any expression.
    """
    texts, others = [], []
    for one in records:
        payload, variant = (one.payload, one.variant) if isinstance(one, Record) else (one, None)
        try:
            texts.append((orjson.Fragment(orjson.dumps(payload)), variant))
        except TypeError:
            others.append(one)
    batch = written_trial(Trial(operation.operation, own, [], connection, options)) | {"records": texts}
    revisions = [(variant, revision.hex()) for variant, revision in operation.revisions.items()]
    return orjson.dumps(batch | {"revisions": revisions}), others


def answer_batch(written: Mapping[str, Any]) -> dict[str, Any]:
    """Map a batch that came as JSON; what came of it as such."""
    trial = read_trial(written)
    compiled = compile_operation(_NOTHING, "", trial.operation, trial.own)
    compiled = replace(compiled, revisions={name: bytes.fromhex(revision) for name, revision in written["revisions"]})
    records = [Record(payload, variant) if variant else payload for payload, variant in trial.records]
    made = transform(records, compiled, connection=trial.connection, options=trial.options)
    kept = [
        (one.id.hex, one.entity.kind, orjson.loads(data_of(one.entity)), one.hash.hex(), one.raw)
        for one in made.candidates.values()
    ]
    refused = [(one.kind, one.field, one.reason, one.record, one.id and one.id.hex) for one in made.refusals]
    return {"kept": kept, "refused": refused, "skipped": made.skipped}


def read_made(told: Mapping[str, Any]) -> Transformed:
    """What the other process made of a batch."""
    candidates = [
        Candidate(UUID(hex=id), read_entity(kind, data), bytes.fromhex(digest), raw)
        for id, kind, data, digest, raw in told["kept"]
    ]
    refusals = [
        Refusal(kind, field, reason, record, UUID(hex=whose) if whose else None)
        for kind, field, reason, record, whose in told["refused"]
    ]
    return Transformed({one.id: one for one in candidates}, refusals, told["skipped"])
