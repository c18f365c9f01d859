"""What it costs to map a record and to judge an entity, without a database: microseconds of the processor.

    python benchmarks/assess.py [--records 5000] [--rounds 15]

Mapping is that of the benchmark's provider, a filter and ten fields with the entity that they make, once by compiled closures and once
by the specification's engine that they fall back to. Judging is by the checks of the catalogue, once of entities that are new and once
of entities whose answers stand, which are judged because time goes by. All by turns.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parent / "provider"))

import bench_findings
import orjson
from rig import findings, machine
from rig.report import Report, Table, at_most, spread

from tieline.catalog import load_catalog
from tieline.ids import entity_uuid, new_id, uuid7
from tieline.sdk.cel import by_engine
from tieline.sdk.entities import Entity
from tieline.sdk.mapping import CompiledMapping
from tieline.stages.assess import Judge, Subject, assess
from tieline.store.connections import Connection

MAPPING = bench_findings.findings.into[0]


def main() -> None:
    """Run the benchmark and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    asked = parser.parse_args()
    records = [orjson.loads(findings.encoded(number, 0)) for number in range(asked.records)]
    work = _work(records)
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(asked.rounds):
        for name, one in work.items():
            took[name].append(_microseconds(one, asked.records))
    compiled, fallback = spread(took["map, compiled"]), spread(took["map, by the engine"])
    goals = [
        at_most("mapping, compiled", compiled, 10, "under 10 µs a record", unit=" µs", form=".1f"),
        at_most("mapping, by the engine", fallback, 35, "under 35 µs a record", unit=" µs", form=".1f"),
    ]
    rows = [(name, spread(each).told(".1f")) for name, each in took.items()]
    table = Table("Mapping and judging, µs a record: median (least … most)", ("", "µs"), rows)
    Report("What it costs to map and to judge.", machine.describe(), goals, [table]).tell(asked.json)


def _work(records: list[dict[str, Any]]) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    compiled = MAPPING.compile()
    with patch("tieline.sdk.mapping.compile_expression", by_engine):
        fallback = MAPPING.compile()
    entities = [compiled.apply(one) for one in records]
    judge = _judge()
    new = [Subject(entity_uuid(uuid7(), one.kind, one.external_id), one, {}) for one in entities]
    answers = asyncio.run(assess(None, new, judge))
    standing = [Subject(one.id, one.entity, answers.outcomes[one.id], answers.judge_at[one.id]) for one in new]
    assert sum(outcome[0] == "fail" for one in answers.outcomes.values() for outcome in one.values())
    return {
        "map, compiled": lambda: _map(compiled, records),
        "map, by the engine": lambda: _map(fallback, records),
        "judge, new": lambda: _assess(new, judge),
        "judge, answers stand": lambda: _assess(standing, judge),
    }


def _map(mapping: CompiledMapping[Any], records: list[dict[str, Any]]) -> None:
    for one in records:
        made = mapping.apply(one, variant=None, options={})
        assert isinstance(made, Entity)


def _assess(subjects: list[Subject], judge: Judge) -> None:
    """The checks of this kind ask for no other entities, so there is no database to be asked."""

    async def work() -> None:  # gives nothing back: of what it gave, `asyncio.run` would make the repr
        await assess(None, subjects, judge)

    asyncio.run(work())


def _judge() -> Judge:
    now = datetime.now(UTC)
    connection = Connection(
        id=new_id("conn"), org_id=new_id("org"), provider="bench-findings", name="Benchmark", auth="api_key", status="active",
        account_id="account", account_name="Account", options={}, created_at=now, updated_at=now, validated_at=now,
    )  # fmt: skip
    return Judge(load_catalog(), connection, now, frozenset())


def _microseconds(work: Callable[[], object], records: int) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e6 / records


if __name__ == "__main__":
    main()
