"""Chain: what binds the entries of an audit log to each other, and what of it others can check.

An entry's hash is HMAC-SHA-256 under the audit key, over all its fields and the hash of the entry before, so that whoever lacks the
key can neither change an entry nor put one in. The head carries a seal under the same key, so that a chain cannot be cut and
given a new end. A checkpoint is an Ed25519 signature (RFC 8032) over the hash at one `seq`: with the public key anybody can check
it, and one that was exported convicts even a database that was set back as a whole.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tieline.errors import Invalid
from tieline.stages.attest import canonical
from tieline.store.audit import Checkpoint, Entry, Head

GENESIS = bytes(32)
"""What stands for the hash of the entry before the first."""


@dataclass(frozen=True, order=True)
class Fault:
    """Something that is not as it was written; `seq` is the first place that it concerns."""

    seq: int
    reason: str


# Writing


def first_head(key: bytes, org_id: str) -> Head:
    """The head of a chain that has no entry yet."""
    return sealed(key, Head(org_id, 0, GENESIS))


def linked(key: bytes, entry: Entry) -> Entry:
    """The entry with its hash."""
    return replace(entry, hash=_hash(key, entry))


def sealed(key: bytes, head: Head) -> Head:
    """The head with its seal."""
    return replace(head, seal=_seal(key, head))


def signed(seed: bytes, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its signature, under the key made from a seed of 32 bytes."""
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(canonical(statement(checkpoint)))
    return replace(checkpoint, signature=signature)


def is_sealed(key: bytes, head: Head) -> bool:
    """Whether a head is as it was written."""
    return hmac.compare_digest(_seal(key, head), head.seal)


def public_key(seed: bytes) -> Ed25519PublicKey:
    """The key with which anybody can check what was signed under a seed."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key()


def statement(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint's signature is over: these members as JSON, names sorted, no white space."""
    return {
        "org_id": checkpoint.org_id,
        "seq": checkpoint.seq,
        "prev_seq": checkpoint.prev_seq,
        "hash": checkpoint.hash.hex(),
        "signed_at": moment(checkpoint.signed_at),
    }


# Checking


class Walk:
    """A walk along the entries of a chain, in order, up to the first that is not as it was written.

    It begins after `begin`, which is (0, `GENESIS`) or a checkpoint up to which retention took entries away. `marks` are the hashes
    that good checkpoints state, by `seq`.
    """

    def __init__(self, key: bytes, org_id: str, *, begin: tuple[int, bytes], marks: Mapping[int, bytes]) -> None:
        self._key = key
        self.org_id = org_id
        self._marks = marks
        self.seq, self.hash = begin
        self.entries = 0

    def past(self, entries: Iterable[Entry]) -> Fault | None:
        """Go past the next entries."""
        for entry in entries:
            if entry.seq != self.seq + 1:
                missing = entry.seq > self.seq
                reason = "The entry is missing" if missing else "The entry does not belong here"
                return Fault(self.seq + 1 if missing else entry.seq, reason)
            if entry.prev_hash != self.hash or not hmac.compare_digest(_hash(self._key, entry), entry.hash):
                return Fault(entry.seq, "The entry is not as it was written")
            if self._marks.get(entry.seq, entry.hash) != entry.hash:
                return Fault(entry.seq, "The entry is another one than the checkpoint says")
            self.seq, self.hash = entry.seq, entry.hash
            self.entries += 1
        return None

    def end_at(self, head: Head | None, *, is_sealed: bool, beyond: int | None) -> Fault | None:
        """See whether this is where the chain ends; what comes after the last good entry is named by its `seq` plus one."""
        after = self.seq + 1
        if head is None:
            return Fault(after, "The head of the chain is gone, and perhaps entries with it")
        if not is_sealed:
            return Fault(after, "The head of the chain was altered, perhaps to hide that entries are gone")
        if (head.seq, head.hash) != (self.seq, self.hash):
            return Fault(after, "Entries are missing at the end")
        if beyond is not None:
            return Fault(beyond, "The entry stands after the end of the chain")
        if self.seq < (last := max(self._marks, default=0)):
            return Fault(after, f"Entries are missing at the end: a checkpoint says that there were {last}")
        return None


def faults_of_checkpoints(key: Ed25519PublicKey, stored: Sequence[Checkpoint], head: Head | None) -> list[Fault]:
    """What is wrong with stored checkpoints; `head` is left out if it is not good itself."""
    good = [one for one in stored if is_signed(key, one)]
    known = {one.seq for one in stored} | {0}
    faults = [Fault(one.seq, "The checkpoint is not as it was signed") for one in stored if one not in good]
    named = [one.prev_seq for one in good] + ([head.checkpoint_seq] if head else [])
    faults += [Fault(seq, "The checkpoint is missing") for seq in named if seq not in known]
    return faults


def is_signed(key: Ed25519PublicKey, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is as it was signed."""
    try:
        key.verify(checkpoint.signature, canonical(statement(checkpoint)))
    except InvalidSignature:
        return False
    return True


# In and out


def checkpoint_row(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as it is exported: its statement and the signature in base64."""
    return statement(checkpoint) | {"signature": b64encode(checkpoint.signature).decode()}


def read_checkpoint(row: Any) -> Checkpoint:
    """A checkpoint that was exported; raises `Invalid`."""
    try:
        return Checkpoint(
            org_id=str(row["org_id"]),
            seq=int(row["seq"]),
            prev_seq=int(row["prev_seq"]),
            hash=bytes.fromhex(row["hash"]),
            signed_at=datetime.fromisoformat(row["signed_at"]).astimezone(UTC),
            signature=b64decode(row["signature"], validate=True),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Invalid("That is no checkpoint of an audit log") from None


def moment(at: datetime) -> str:
    """A time as it is written everywhere: `2026-01-31T12:00:00.000000Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _hash(key: bytes, entry: Entry) -> bytes:
    content = {
        "org_id": entry.org_id,
        "seq": entry.seq,
        "at": moment(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "details": entry.details,
        "request_id": entry.request_id,
        "prev_hash": entry.prev_hash.hex(),
    }
    return hmac.digest(key, canonical(content), "sha256")


def _seal(key: bytes, head: Head) -> bytes:
    content = ["head", head.org_id, head.seq, head.hash.hex(), head.checkpoint_seq, head.pruned_to]
    return hmac.digest(key, canonical(content), "sha256")
