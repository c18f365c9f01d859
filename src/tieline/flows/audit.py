"""Audit: write down who did what, sign where the chain stands, and find out whether anybody has touched it.

An entry is written in the transaction of the action that it tells of: if it cannot be written, the action does not happen. Entries
hold ids, names, counts and fingerprints, never values.
"""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tieline import faults
from tieline.access.actor import current_actor
from tieline.errors import AuditError, Conflict, Invalid
from tieline.flows.parts import Parts
from tieline.log import bound
from tieline.stages import chain
from tieline.stages.chain import Fault, moment
from tieline.store import audit as store
from tieline.store.audit import Checkpoint, Entry, Head, Standing
from tieline.store.db import Work
from tieline.store.listing import MAX_LIMIT, Paging

CHECKPOINT_EVERY = 1_000
"""Entries after which a checkpoint is signed at the latest; `sign_checkpoints` signs in between."""
MAX_TEXT = 500
"""Characters of a name that are kept."""

_ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What verifying a chain found; `first_bad_seq` is the first entry that cannot be relied on, with the reason."""

    entries: int
    checkpoints: int
    first_bad_seq: int | None = None
    reason: str | None = None


# Writing


async def record(work: Work, parts: Parts, action: str, target: str | None = None, **details: Any) -> None:
    """Write down that the present actor does something, such as `connection.paused`, to a target, which is an id.

    Call it last in the transaction: it locks the organization's chain to its end. Details are texts, whole numbers, truth values,
    times, and lists and mappings of such; anything else, a secret above all, raises `TypeError`. Raises `AuditError` if the entry
    cannot be written or the chain's end was altered; let it end the transaction.
    """
    if not _ACTION.fullmatch(action):
        raise ValueError(f"{action!r} is not of the form noun.done")
    head, told = await _good_head(work, parts), _plain(details)
    entry = Entry(
        org_id=work.org_id,
        seq=head.seq + 1,
        at=parts.clock.now(),
        actor=_text(current_actor()),
        action=action,
        target=target and _text(target),
        details=told,
        request_id=bound("request_id"),
        prev_hash=head.hash,
    )
    entry = chain.linked(parts.keys.audit_key, entry)
    head = chain.sealed(parts.keys.audit_key, replace(head, seq=entry.seq, hash=entry.hash))
    await store.append_entry(work, entry, head)
    if head.seq - head.checkpoint_seq >= CHECKPOINT_EVERY:
        await _sign(work, parts, head)
    faults.passing("audit.recorded")


async def sign_checkpoints(parts: Parts) -> int:
    """Sign where the chains stand that have grown since they were last signed; how many. For the hourly upkeep."""
    async with parts.db.system() as work:
        behind = await store.behind_checkpoint(work)
    count = 0
    for org_id in behind:
        async with parts.db.work(org_id) as work:
            try:
                head = await _good_head(work, parts)
            except AuditError as error:  # the others' chains are to be signed all the same
                _log.error("An audit log cannot be signed", extra={"org_id": org_id, "reason": error.message})
                continue
            if head.seq > head.checkpoint_seq:
                await _sign(work, parts, head)
                count += 1
    return count


async def prune(parts: Parts, org_id: str, *, before: datetime) -> int:
    """Take away the entries up to the last checkpoint that was signed before a time; how many. The rest stays verifiable from there.

    Raises `Conflict` if there is no such checkpoint, or nothing left before it.
    """
    async with parts.db.work(org_id) as work:
        head = await _good_head(work, parts)
        mark = await store.last_checkpoint(work, before=before)
        if mark is None or mark.seq <= head.pruned_to:
            raise Conflict(
                "There is nothing to take away", advice="Entries go up to a checkpoint: `tieline audit checkpoints`."
            )
        head = chain.sealed(parts.keys.audit_key, replace(head, pruned_to=mark.seq))
        count = await store.prune_entries(work, head)
        await record(work, parts, "audit.pruned", org_id, upto=mark.seq, entries=count)
    return count


async def _good_head(work: Work, parts: Parts) -> Head:
    """The head, locked; it is made for the first entry. Raises `AuditError` if it is not as it was written."""
    head = await store.lock_head(work)
    if head is None:
        await store.start_chain(work, chain.first_head(parts.keys.audit_key, work.org_id))
        head = await store.lock_head(work)
    if head is None or not chain.is_sealed(parts.keys.audit_key, head):
        raise AuditError("The end of the audit log was altered, so nothing was done")
    return head


async def _sign(work: Work, parts: Parts, head: Head) -> None:
    made = Checkpoint(work.org_id, head.seq, head.checkpoint_seq, head.hash, parts.clock.now())
    head = chain.sealed(parts.keys.audit_key, replace(head, checkpoint_seq=head.seq))
    await store.save_checkpoint(work, chain.signed(parts.keys.checkpoint_key, made), head)


def _plain(value: Any) -> Any:
    """A value as JSON that comes back from the database as it went in: no fractions, no numbers over 64 bits."""
    match value:
        case None | bool():
            return value
        case int() if -(2**63) <= value < 2**63:
            return value
        case str():
            return _text(value)
        case datetime():
            return moment(value)
        case Mapping():
            return {_text(name): _plain(one) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case set() | frozenset():
            return sorted(_plain(one) for one in value)
    raise TypeError(f"a {type(value).__name__} does not belong into the audit log")


def _text(value: str) -> str:
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)[:MAX_TEXT]


# Verifying


async def verify(parts: Parts, org_id: str, *, checkpoints: Sequence[Checkpoint] | None = None) -> Verdict:
    """Go along the whole chain; also against checkpoints that were exported, of which those of other organizations are left out.

    It finds every entry that was changed, removed, put in or moved, an end that was cut off or altered, and checkpoints that were
    touched. A database set back as a whole shows in an exported checkpoint alone. Memory does not grow with the chain.
    """
    key, public = parts.keys.audit_key, chain.public_key(parts.keys.checkpoint_key)
    async with parts.db.work(org_id) as work:
        standing = await store.read_standing(work)
    head = standing.head if standing.head and chain.is_sealed(key, standing.head) else None
    found = chain.faults_of_checkpoints(public, standing.checkpoints, head)
    exported = [one for one in checkpoints or () if one.org_id == org_id]
    found += [
        Fault(one.seq, "The exported checkpoint is not signed by this installation")
        for one in exported
        if not chain.is_signed(public, one)
    ]
    marks = {one.seq: one.hash for one in [*standing.checkpoints, *exported] if chain.is_signed(public, one)}
    pruned_to = head.pruned_to if head else 0
    begin = (pruned_to, marks.get(pruned_to, chain.GENESIS))
    walk = chain.Walk(key, org_id, begin=begin, marks=marks)
    fault = await _go_along(parts, walk, standing, head)
    first = min([*found, fault] if fault else found, default=None)
    seq, reason = (first.seq, first.reason) if first else (None, None)
    return Verdict(walk.entries, len(standing.checkpoints), seq, reason)


async def _go_along(parts: Parts, walk: chain.Walk, standing: Standing, head: Head | None) -> Fault | None:
    """Walk in pages, up to where the head stood when it was read, for writers go on meanwhile."""
    after: int | None = None
    while True:
        async with parts.db.work(walk.org_id) as work:
            entries = await store.read_entries(work, after=after, upto=head.seq if head else None)
        if not entries:
            return walk.end_at(standing.head, is_sealed=head is not None, beyond=standing.beyond)
        if fault := walk.past(entries):
            return fault
        after = entries[-1].seq


# In and out


async def export(parts: Parts, org_id: str) -> AsyncIterator[dict[str, Any]]:
    """All entries as rows, oldest first, read page by page."""
    after: int | None = None
    while True:
        async with parts.db.work(org_id) as work:
            entries = await store.read_entries(work, after=after)
        for entry in entries:
            yield entry_row(entry)
        if not entries:
            return
        after = entries[-1].seq


async def export_checkpoints(parts: Parts, org_id: str) -> dict[str, Any]:
    """All checkpoints, oldest first, and the public key (32 bytes in base64) that checks them; keep it elsewhere."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        async with parts.db.work(org_id) as work:
            page = await store.list_checkpoints(work, Paging(cursor, MAX_LIMIT))
        rows += [chain.checkpoint_row(one) for one in page.items]
        cursor = page.next
        if cursor is None:
            return {"public_key": public_key_text(parts), "checkpoints": rows[::-1]}


def read_checkpoints(document: Any) -> list[Checkpoint]:
    """The checkpoints that `export_checkpoints` gave out; raises `Invalid`."""
    if not isinstance(document, Mapping) or not isinstance(document.get("checkpoints"), list):
        raise Invalid("That is no export of an audit log's checkpoints")
    return [chain.read_checkpoint(one) for one in document["checkpoints"]]


def public_key_text(parts: Parts) -> str:
    """The public key that checks checkpoints, 32 bytes in base64."""
    key = chain.public_key(parts.keys.checkpoint_key).public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b64encode(key).decode()


def entry_row(entry: Entry) -> dict[str, Any]:
    """An entry as a row."""
    return {
        "seq": entry.seq,
        "at": moment(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "details": entry.details,
        "request_id": entry.request_id,
        "prev_hash": entry.prev_hash.hex(),
        "hash": entry.hash.hex(),
    }
