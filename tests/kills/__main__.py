"""The whole campaign: kill -9 at every named point, again and again, and write down what stood in the end.

`python -m tests.kills` prints a table and puts it into docs/faults.md; names of points kill at those alone and write nothing.
It ends with 1 if a life ended otherwise than an undisturbed one, or if a point was hit less than five times.
"""

from __future__ import annotations

import asyncio
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import named
from tests.kills.campaign import ACCOUNTS, LEAST, OUTSIDE, POINTS, again_and_again, freezing, story_of
from tests.kills.standing import differences
from tests.kills.story import SYNCS, Plan, Stage, Step, Workshop, comings_and_goings, execute, live, workshop
from tests.kills.world import served

from tieline import faults
from tieline.store.embedded import running
from tieline.store.migrate import migrate

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- kills: written by python -m tests.kills -->", "<!-- kills end -->"
SIDE_BY_SIDE = 2


@dataclass(frozen=True)
class Found:
    """What a life with faults at one point came to."""

    point: str
    freezes: bool
    hits: Counter[str] = field(repr=False)
    otherwise: list[str] = field(repr=False)

    @property
    def times(self) -> int:
        """How often it was hit."""
        return self.hits.total()

    @property
    def is_good(self) -> bool:
        """Whether it was hit often enough, and nothing was lost."""
        return not self.otherwise and self.times >= LEAST


async def campaign(points: Sequence[str]) -> list[Found]:
    """Kill at each of these points in a life of its own, and freeze where nothing is locked, two lives at a time."""
    async with _stage() as stage, AsyncExitStack() as stack:
        free: asyncio.Queue[Workshop] = asyncio.Queue()
        for _ in range(SIDE_BY_SIDE):
            free.put_nowait(await stack.enter_async_context(workshop()))

        async def lived(story: Sequence[Step], *plan: Plan) -> tuple[dict[str, Any], list[str]]:
            shop = await free.get()
            try:
                return await live(stage, shop, story, *plan)
            finally:
                free.put_nowait(shop)

        undisturbed = {
            len(story): (await lived(story))[0]  # the two differ in length
            for story in (SYNCS, comings_and_goings(ACCOUNTS))
        }

        async def tried(point: str, *, freezes: bool) -> Found:
            story = story_of(point)
            stands, hits = await lived(story, freezing(point) if freezes else again_and_again(point))
            found = Found(point, freezes, Counter(hits), differences(stands, undisturbed[len(story)]))
            _tell(found)
            return found

        wanted = [(point, False) for point in points] + [(point, True) for point in points if point in OUTSIDE]
        found = await asyncio.gather(*(tried(point, freezes=freezes) for point, freezes in wanted))
        noted = Counter(stage.log.read_text().split())
        assert noted == sum((Counter({one.point: one.times}) for one in found), Counter())
        return found


@asynccontextmanager
async def _stage() -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="tieline-kills-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # noqa: ASYNC240  run as root, PostgreSQL works as an account of its own
        with running(folder / "data", state_dir=folder / "state") as server, served() as world:
            # What a crash of the machine would lose is another matter; those of processes lose nothing by it.
            await execute(server.url, "ALTER ROLE ALL SET synchronous_commit = off")
            await execute(server.url, "CREATE DATABASE lives")
            await migrate(named(server.url, "lives"))
            yield Stage(server.url, "lives", world, folder)


def _tell(found: Found) -> None:
    how, end = "frozen" if found.freezes else "killed", "OTHERWISE" if found.otherwise else "as undisturbed"
    say(f"{found.point:24} {how} {found.times:2} times, ends {end}")
    for line in found.otherwise:
        say(f"    {line[:600]}")
    if found.times < LEAST:
        say(f"    not {LEAST} times: {dict(found.hits)}")


def say(line: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def table(found: Sequence[Found]) -> str:
    """What was found, in Markdown."""
    killed = {one.point: one for one in found if not one.freezes}
    frozen = {one.point: one for one in found if one.freezes}
    lines = [
        "| point | what stands there; what does not | killed | frozen, woken late | end state |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for point, one in killed.items():
        woken = frozen.get(point)
        same = not one.otherwise and not (woken and woken.otherwise)
        times = f"{one.times} | {woken.times if woken else '–'}"
        lines.append(
            f"| `{point}` | {faults.POINTS[point]} | {times} | {'as undisturbed' if same else '**otherwise**'} |"
        )
    kills, freezes = (sum(one.times for one in some.values()) for some in (killed, frozen))
    lines.append(f"| {len(killed)} points | | {kills} | {freezes} | |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Put the table into its document."""
    document = DOCUMENT.read_text(encoding="utf-8")
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    assert between.search(document), "the document has no place for the table"
    DOCUMENT.write_text(between.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", document), encoding="utf-8")


def main(points: Sequence[str]) -> int:
    """Run the campaign; 0 if nothing was lost."""
    if unknown := set(points) - set(POINTS):
        say(f"There is no point {', '.join(sorted(unknown))}; there are {', '.join(POINTS)}")
        return 2
    begun = time.monotonic()
    found = asyncio.run(campaign(points or POINTS))
    if not points:
        write(table(found))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    took = (
        f"{time.monotonic() - begun:.0f} s, {sum(one.ru_utime + one.ru_stime for one in used):.0f} s of processor time"
    )
    say(f"{len(found)} lives, {sum(one.times for one in found)} faults, {took}")
    bad = [one.point for one in found if not one.is_good]
    say(f"not as it should be: {', '.join(bad)}" if bad else "nothing was lost")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
