"""How fast a list is synced, beside the least that must be done and what others do: first, unchanged, and 1 % changed.

    python benchmarks/sync.py [--records 50000] [--rounds 3] [--only tieline limit]
    python benchmarks/sync.py --delay-ms 100          a slow provider, against the time that it takes by itself
    python benchmarks/sync.py --page 100              short pages, against pages of 1,000
    python benchmarks/sync.py --memory 1000000        memory for so many records, against a tenth of them

Everybody reads the same pages from the same server on loopback and stores ten mapped columns and the record itself in the same
PostgreSQL, each in a process and a database of its own, by turns. What was stored is counted after each phase. The others do less:
they keep no history, no findings and no evidence, ask no checks, know no tenants and cannot go on where they were stopped. dlt is
installed into an environment of its own in the cache directory the first time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from rig import environment, machine, postgres
from rig.contest import Contestant, Phase, Results, Taken, hold
from rig.pages import Served, serving
from rig.report import Bars, Goal, Report, Table, at_least, at_most, ratio, spread

DLT = (
    "dlt[postgres]==1.31.0",
    "psycopg2-binary==2.9.13",
    "pyarrow==26.0.1",
    "adbc-driver-postgresql==1.13.0",
    "adbc-driver-manager==1.13.0",
)
_FLAT = "SELECT count(*), count(*) FILTER (WHERE title LIKE $1) FROM {}"
_ENTITIES = "SELECT count(*), count(*) FILTER (WHERE data ->> 'title' LIKE $1) FROM entities"
TIELINE = Contestant("Tieline", "tieline_path.py", _ENTITIES, migrated=True)
LIMIT = Contestant("the limit", "limit.py", _FLAT.format("findings"))
CORE = Contestant("SQLAlchemy Core", "core.py", _FLAT.format("findings"))
CORE_MANY = Contestant("SQLAlchemy Core, executemany", "core.py", _FLAT.format("findings"), arguments=("--many",))
DLT_MERGE = Contestant("dlt, merge", "dlt_merge.py", _FLAT.format("bench.findings"))
DLT_ARROW = Contestant("dlt, Arrow", "dlt_arrow.py", _FLAT.format("bench.findings"))
NAMES = {
    "tieline": TIELINE,
    "limit": LIMIT,
    "core": CORE,
    "core-many": CORE_MANY,
    "dlt": DLT_MERGE,
    "dlt-arrow": DLT_ARROW,
}
FIRST, UNCHANGED, CHANGED = "first", "unchanged", "1 % changed"


def main() -> None:
    """Run what is asked for and tell what was found."""
    asked = _arguments()
    asyncio.run(_run(asked)).tell(asked.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=sorted(NAMES), default=list(NAMES), help="who competes")
    question = parser.add_mutually_exclusive_group()
    question.add_argument("--delay-ms", type=int, help="the provider takes so long to answer")
    question.add_argument("--page", type=int, help="so many records in a page")
    question.add_argument("--memory", type=int, help="so many records, against a tenth of them")
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    return parser.parse_args()


async def _run(asked: argparse.Namespace) -> Report:
    contestants = _installed([NAMES[name] for name in asked.only])
    with serving() as pages:
        async with postgres.started() as server:
            about = machine.describe(server.version)
            if asked.delay_ms:
                phases = [Phase(FIRST, Served(asked.records, delay=asked.delay_ms))]
                return _slow(
                    about, await hold(server, pages, contestants, phases, rounds=asked.rounds), phases[0].served
                )
            if asked.page:
                few = [one for one in contestants if one in (TIELINE, LIMIT)]
                by_page = [
                    await hold(server, pages, few, [Phase(FIRST, Served(asked.records, page=page))], rounds=1)
                    for _ in range(asked.rounds)
                    for page in (1_000, asked.page)
                ]
                return _short_pages(about, by_page[::2], by_page[1::2], asked.page)
            if asked.memory:
                sizes = (asked.memory // 10, asked.memory)
                held = [await hold(server, pages, [TIELINE], [Phase(FIRST, Served(size))], rounds=1) for size in sizes]
                return _memory(about, sizes, [one[TIELINE.name, FIRST][0] for one in held])
            phases = _phases(asked.records)
            results = await hold(server, pages, contestants, phases, rounds=asked.rounds)
            profile = (
                await hold(server, pages, [replace(TIELINE, arguments=("--profile",))], phases, rounds=1)
                if TIELINE in contestants
                else {}
            )
            return _compared(about, asked.records, results, profile)


def _installed(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Those who can compete, told without whom and why."""
    found = []
    for one in contestants:
        if one not in (DLT_MERGE, DLT_ARROW):
            found.append(one)
            continue
        try:
            found.append(replace(one, python=environment.python_with(DLT)))
        except environment.CannotInstallError as error:
            print(f"Without {one.name}: it cannot be installed here ({error}).")
    return found


def _phases(records: int) -> list[Phase]:
    return [
        Phase(FIRST, Served(records)),
        Phase(UNCHANGED, Served(records)),
        Phase(CHANGED, Served(records, version=1)),
    ]


def _compared(about: str, records: int, results: Results, profile: Results) -> Report:
    """Everybody's figures, Tieline's goals, and where its time goes."""
    tables = [_figures(name, results) for name in (FIRST, UNCHANGED, CHANGED)]
    rates = [
        (who, spread([one.rate for one in taken]).middle) for (who, phase), taken in results.items() if phase == FIRST
    ]
    chart = Bars(f"First sync of {records:,} records", "records/s", rates)
    tables += [_stages(profile)] if profile else []
    question = f"{records:,} records in pages of 1,000, {len(next(iter(results.values())))} rounds by turns."
    return Report(question, about, _goals(results, profile), tables, [chart])


def _figures(phase: str, results: Results) -> Table:
    """What a phase took, for everybody; Tieline beside them in the same round."""
    head = ("", "records/s", "Tieline is", "its CPU is", "CPU µs: client", "PostgreSQL", "peak MB", "log bytes")
    rows = []
    for (who, of), taken in results.items():
        if of != phase:
            continue
        own = results.get((TIELINE.name, phase))
        beside = [
            ratio(own, taken, one).told(".2f", "×") if own and who != TIELINE.name else "" for one in (_rate, _cpu)
        ]
        each = [spread([figure(one) for one in taken]).middle for figure in (_rate, _client, _server, _megabytes, _wal)]
        rows.append(
            (who, f"{each[0]:,.0f}", *beside, f"{each[1]:.0f}", f"{each[2]:.0f}", f"{each[3]:.0f}", f"{each[4]:,.0f}")
        )
    return Table(f"Sync, {phase}", head, rows)


def _stages(profile: Results) -> Table:
    """Microseconds a record of each stage: how long it took, waiting for PostgreSQL included, and how long it worked."""
    phases = [taken[0] for taken in profile.values()]
    rows = [
        (name, *(f"{1e6 * part / one.records:.1f}" for one in phases for part in one.stages[name]))
        for name in phases[0].stages
    ]
    rows.append(("all", *(f"{1e6 * part / one.records:.1f}" for one in phases for part in (one.seconds, one.client))))
    head = ("", *(f"{name}{part}" for name in (FIRST, UNCHANGED, CHANGED) for part in ("", ", at work")))
    return Table("Where Tieline's time goes, µs a record, the clocks that tell it included", head, rows)


def _goals(results: Results, profile: Results) -> list[Goal]:
    """The goals that these contestants allow to measure."""
    if (TIELINE.name, FIRST) not in results:
        return []
    first, unchanged, changed = (results[TIELINE.name, phase] for phase in (FIRST, UNCHANGED, CHANGED))
    bounds = ((DLT_MERGE, 4.0), (DLT_ARROW, 1.3), (CORE, 1.5), (CORE_MANY, 1.5), (LIMIT, 0.5))
    goals = [
        at_least(f"first sync: rate against {rival.name}", ratio(first, theirs, _rate), bound, f"at least {bound:g}×")
        for rival, bound in bounds
        if (theirs := results.get((rival.name, FIRST)))
    ]
    if theirs := results.get((DLT_MERGE.name, FIRST)):
        half = ratio(first, theirs, _megabytes)
        goals.append(at_most(f"first sync: memory against {DLT_MERGE.name}", half, 0.5, "at most half"))
    goals += [
        at_least("1 % changed: rate against the first sync", ratio(changed, first, _rate), 2.5, "at least 2.5×"),
        at_most("1 % changed: CPU against the first sync", ratio(changed, first, _cpu), 1 / 3, "at most a third"),
        at_most(
            "1 % changed: log against the first sync", ratio(changed, first, _wal), 0.1, "at most a tenth", form=".3f"
        ),
        at_most(
            "unchanged: log",
            spread([_wal(one) for one in unchanged]),
            10,
            "at most 10 bytes a record",
            unit="",
            form=".1f",
        ),
    ]
    if theirs := results.get((LIMIT.name, UNCHANGED)):
        goals.append(
            at_least("unchanged: rate against the limit", ratio(unchanged, theirs, _rate), 0.5, "at least 0.5×")
        )
    goals.append(
        at_most(
            "memory of a worker",
            spread([_megabytes(one) for one in changed]),
            150,
            "under 150 MB",
            unit=" MB",
            form=".0f",
        )
    )
    return [*goals, _mapping(profile)] if profile else goals


def _mapping(profile: Results) -> Goal:
    """How much of a first sync's CPU goes into mapping."""
    first = profile[TIELINE.name, FIRST][0]
    share = first.stages["mapping"][1] / (first.client + first.server)
    return at_most(
        "mapping: share of a first sync's CPU", spread([100 * share]), 15, "under 15 %", unit=" %", form=".1f"
    )


def _slow(about: str, results: Results, served: Served) -> Report:
    """How near everybody comes to the time that a slow provider takes by itself."""
    floor = -(-served.records // served.page) * served.delay / 1000
    shares = {who: spread([100 * floor / one.seconds for one in taken]) for (who, _), taken in results.items()}
    name = f"slow provider ({served.delay} ms a page): share of the latency floor"
    goals = [
        at_least(name, share, 85, "at least 85 %", unit=" %", form=".0f")
        for who, share in shares.items()
        if who == TIELINE.name
    ]
    rows = [(who, share.told(".0f", " %")) for who, share in shares.items()]
    table = Table(
        f"First sync of {served.records:,} records, {served.delay} ms a page", ("", "of the floor reached"), rows
    )
    return Report(f"A provider that takes {served.delay} ms to answer.", about, goals, [table])


def _short_pages(about: str, long: Sequence[Results], short: Sequence[Results], page: int) -> Report:
    """What short pages cost."""
    names = [who for who, _ in long[0]]
    found = {
        who: ratio([one[who, FIRST][0] for one in short], [one[who, FIRST][0] for one in long], _rate) for who in names
    }
    name = f"pages of {page}: rate against pages of 1,000"
    goals = [at_least(name, one, 0.85, "at least 0.85×") for who, one in found.items() if who == TIELINE.name]
    table = Table(
        f"First sync, pages of {page} against 1,000",
        ("", "ratio"),
        [(who, one.told(".2f", "×")) for who, one in found.items()],
    )
    return Report(f"Pages of {page} records.", about, goals, [table])


def _memory(about: str, sizes: Sequence[int], taken: Sequence[Taken]) -> Report:
    """What ten times as many records cost in memory."""
    few, many = (spread([_megabytes(one)]) for one in taken)
    growth = spread([many.middle / few.middle])
    goals = [
        at_most(f"memory: {sizes[1]:,} records against {sizes[0]:,}", growth, 1.1, "at most 1.1×"),
        at_most(f"memory of a worker, {sizes[1]:,} records", many, 150, "under 150 MB", unit=" MB", form=".0f"),
    ]
    rows = [
        (f"{one.records:,}", f"{_megabytes(one):.0f}", f"{one.rate:,.0f}", f"{_client(one):.0f}", f"{_server(one):.0f}")
        for one in taken
    ]
    head = ("records", "peak MB", "records/s", "CPU µs: client", "PostgreSQL")
    return Report("Memory by the size of a list.", about, goals, [Table("First sync by size", head, rows)])


def _rate(one: Taken) -> float:
    return one.rate


def _client(one: Taken) -> float:
    return 1e6 * one.client / one.records


def _server(one: Taken) -> float:
    return 1e6 * one.server / one.records


def _cpu(one: Taken) -> float:
    return one.client + one.server


def _wal(one: Taken) -> float:
    return one.wal / one.records


def _megabytes(one: Taken) -> float:
    return one.memory / 2**20


if __name__ == "__main__":
    main()
