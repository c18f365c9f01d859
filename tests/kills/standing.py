"""What stands in a database at the end of a life, in a form that is the same for the same story.

Every row of every table that belongs to an organization is taken, with three kinds of values made equal:

- An id becomes the name of what it names: an entity its kind and external id, a finding its check and entity, a run its
  operation and place among that operation's runs, a connection its account, a key its place in the key ring. An id that names
  nothing else (a row's own) becomes a blank.
- A time becomes `(time)`, and a hash, a fingerprint or a sealed value, which depend on ids and times, `(bytes)`: whether there is
  one is compared, not which. That hashes are right is asked of those who check them: the audit chain is verified.
- What counts tries is left out, and so is how long things took: being killed may cost both. So is that a credential was opened,
  which each process does that uses it.

What has an order is also compared in it: the states of each entity, the events of each finding, the
statements about each answer, what the outbox and the audit log tell of each thing.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tieline.flows.audit import verify
from tieline.flows.parts import Parts
from tieline.ids import to_uuid
from tieline.store.tables import metadata

LEFT_OUT = {
    "audit_entries": {"seq"},
    "audit_heads": {"seq"},
    "runs": {"attempts"},
    "schedules": {"fence"},
    "run_spans": {"begun_at", "ended_at", "read_ms", "limited_ms", "retried_ms", "load_ms"},
    "rate_budgets": {"remaining"},
}
"""Columns that count tries or take times; and places in the audit log, whose order is compared by target."""

READINGS = {"pages", "records", "unchanged", "skipped", "rejected"}
"""Columns of a run that tell how much was read."""

OPENED = "credential.opened"
"""What the audit log tells of each process that uses a credential: of two processes, twice."""

_ID = re.compile(r"\b([a-z]{2,5})_([0-9a-hjkmnp-tv-z]{26})\b")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:?00)?( UTC)?|\b\d\d:\d\d:\d\d UTC")
_HASH = re.compile(r"\b[0-9a-f]{64}\b")

Rows = dict[str, list[dict[str, Any]]]


async def take_standing(parts: Parts, org: str, world: str) -> dict[str, Any]:
    """What stands, by table, and in order; `world` is the life's own address of its provider."""
    rows = await _read(parts, org)
    entries = len(rows["audit_entries"])
    rows["audit_entries"] = [row for row in rows["audit_entries"] if row["action"] != OPENED]
    naming = _Naming(rows, org, world)
    standing: dict[str, Any] = {
        table: sorted(naming.of_row(table, row) for row in found) for table, found in rows.items()
    }
    standing["run_spans"] = sorted(naming.of_row("run_spans", row) for row in rows["run_spans"] if not row["cause"])
    standing |= {
        "states in order": _in_order(naming, rows["entity_versions"], "entity_id", "until", "fields", "removed"),
        "events in order": _in_order(naming, rows["finding_events"], "finding_id", "at", "event"),
        "outbox in order": _in_order(naming, [_with_subject(row) for row in rows["outbox"]], "subject", "at", "type"),
        "audit log in order": _in_order(naming, rows["audit_entries"], "target", "seq", "action"),
        "statements in order": _in_order(naming, rows["evidence"], ("check_id", "entity_id"), "observed_at", "stance"),
    }
    verdict = await verify(parts, org)
    standing["audit chain"] = (verdict.first_bad_seq, verdict.reason, verdict.entries == entries)
    return standing


async def _read(parts: Parts, org: str) -> Rows:
    """Every row of the organization, and of the queue, which should be empty."""
    tables = sorted(one.name for one in metadata.tables.values() if "org_id" in one.c)
    async with parts.db.work(org) as work:
        driver = await work.driver()
        rows = {table: [dict(row) for row in await driver.fetch(f"SELECT * FROM {table}")] for table in tables}
    async with parts.db.system() as system:
        driver = await system.driver()
        rows["pgqueuer"] = [dict(row) for row in await driver.fetch("SELECT entrypoint, status FROM pgqueuer")]
    return rows


class _Naming:
    """The names of what has ids."""

    def __init__(self, rows: Rows, org: str, world: str) -> None:
        self._world = world
        names = {to_uuid(org, "org"): "the organization"}
        names |= {row["id"]: f"connection of {row['account_id']}" for row in rows["connections"]}
        names |= {row["id"]: f"{row['kind']} {row['external_id']}" for row in rows["entities"]}
        names |= {row["id"]: f"schedule of {row['operation']}" for row in rows["schedules"]}
        names |= {row["id"]: f"{row['check_id']} of {names[row['entity_id']]}" for row in rows["findings"]}
        told: dict[str, int] = defaultdict(int)
        for row in sorted(rows["runs"], key=lambda row: row["id"]):
            told[row["operation"]] += 1
            names[row["id"]] = f"run {told[row['operation']]} of {row['operation']}"
        names |= {row["id"]: f"provenance of {names[row['run_id']]}" for row in rows["provenances"]}
        self._names = names
        keys = sorted({row["key_id"] for row in rows["credentials"] + rows["revocations"]})
        self._keys = {key: f"key {place}" for place, key in enumerate(keys)}

    def of_row(self, table: str, row: dict[str, Any]) -> str:
        kept = {name: value for name, value in row.items() if name not in LEFT_OUT.get(table, ())}
        return json.dumps(self.of(kept), sort_keys=True)

    def of(self, value: Any) -> Any:
        match value:
            case UUID():
                return self._names.get(value, "(id)")
            case datetime() | timedelta():
                return "(time)"
            case bytes():
                return "(bytes)"
            case str():
                return self._of_text(value)
            case dict():
                return {name: self.of(one) if name != "fingerprint" else "(bytes)" for name, one in value.items()}
            case list() | tuple():
                return sorted((self.of(one) for one in value), key=str)
        return value

    def _of_text(self, value: str) -> Any:
        if value[:1] in {"{", "["}:
            return self.of(json.loads(value))
        value = value.replace(self._world, "(world)")
        value = _ID.sub(self._of_id, value)
        value = _UUID.sub(lambda found: self.of(UUID(found[0])), value)
        return _HASH.sub("(bytes)", _TIME.sub("(time)", value))

    def _of_id(self, found: re.Match[str]) -> str:
        prefix, whole = found[1], found[0]
        return self._keys.get(whole) or self._names.get(to_uuid(whole, prefix), f"({prefix})")


def _in_order(naming: _Naming, rows: list[dict[str, Any]], by: Any, at: str, *what: str) -> dict[str, list[Any]]:
    """What happened to each thing, one after the other."""
    told: dict[str, list[Any]] = defaultdict(list)
    keys = (by,) if isinstance(by, str) else by
    for row in sorted(rows, key=lambda row: (row[at], str([naming.of(row[one]) for one in what]))):
        told[" ".join(str(naming.of(row[one])) for one in keys)].append([naming.of(row[one]) for one in what])
    return dict(told)


def _with_subject(row: dict[str, Any]) -> dict[str, Any]:
    """An event of the outbox with what it is about."""
    data = json.loads(row["data"]) if isinstance(row["data"], str) else row["data"]
    return row | {"subject": data.get("id") or data.get("operation") or data.get("connection_id")}


def but_for_readings(standing: dict[str, Any]) -> dict[str, Any]:
    """What stands, however often the same was read.

    Cut off within a page that is stored in parts, a run reads that page again, and counts what it reads.
    """

    def less(table: str) -> list[str]:
        rows = [json.loads(row) for row in standing[table]]
        return sorted(str({name: value for name, value in row.items() if name not in READINGS}) for row in rows)

    counted = {table: less(table) for table in ("runs", "run_tallies")}
    return standing | counted | {"rejections": sorted(set(standing["rejections"])), "run_spans": None}


def differences(found: dict[str, Any], undisturbed: dict[str, Any]) -> list[str]:
    """What is otherwise, a line each; nothing if all is as it should be."""
    told = []
    for part in sorted(found.keys() | undisturbed.keys()):
        mine, others = found.get(part), undisturbed.get(part)
        if mine != others:
            told.append(f"{part}: {_first_difference(mine, others)}")
    return told


def _first_difference(mine: Any, others: Any) -> str:
    if isinstance(mine, dict) and isinstance(others, dict):
        key = next(one for one in sorted(mine.keys() | others.keys()) if mine.get(one) != others.get(one))
        return f"{key}: {mine.get(key)} instead of {others.get(key)}"
    if isinstance(mine, list) and isinstance(others, list):
        more, fewer = _beyond(mine, others), _beyond(others, mine)
        return f"{len(more)} too many, {len(fewer)} missing, such as {(more + fewer)[:2]} / {fewer[:1]}"
    return f"{mine} instead of {others}"


def _beyond(these: list[Any], those: list[Any]) -> list[Any]:
    left = list(those)
    return [one for one in these if one not in left or left.remove(one)]  # type: ignore[func-returns-value]
