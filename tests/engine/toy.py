"""A toy flow for the tests of the engine: a run is a number of pages, each committed with its place.

As a script (`toy.py URL PAGES PAUSE HEARTBEAT`) it is a worker process that runs until it is ended.
"""

import asyncio
import sys
from collections import Counter
from datetime import timedelta

from sqlalchemy import text

from tieline.clock import SystemClock
from tieline.engine import Engine, EngineLimits, Hold, HoldLost
from tieline.faults import passing
from tieline.ids import new_id, to_uuid
from tieline.store.db import Db, Work
from tieline.store.schedules import begin, keep, release, set_run

TABLES = """
    CREATE TABLE toy_runs (id uuid PRIMARY KEY, schedule_id uuid, pages int DEFAULT 0, ended text,
                           begun_at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE toy_pages (run_id uuid, page int, fence int, at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE toy_refused (run_id uuid, fence int);
    GRANT ALL ON toy_runs, toy_pages, toy_refused TO tieline_app;
"""


def quick_limits(heartbeat: float = 1.0, **values: object) -> EngineLimits:
    given = {"heartbeat": timedelta(seconds=heartbeat), "tick": timedelta(milliseconds=100)}
    given |= {"reconcile": timedelta(seconds=0.5), "stale_after": timedelta(seconds=4 * heartbeat)}
    return EngineLimits(**(given | values))


class Toy:
    """The flow; `most` is how many ran at once of any one schedule in this process."""

    def __init__(self, db: Db, *, pages: int = 3, pause: float = 0.01) -> None:
        self.db = db
        self.pages = pages
        self.pause = pause
        self.calls = 0
        self.most = 0
        self._active: Counter[str] = Counter()

    async def __call__(self, hold: Hold) -> None:
        self.calls += 1
        self._active[hold.schedule_id] += 1
        self.most = max(self.most, self._active[hold.schedule_id])
        try:
            await self._run(hold)
        finally:
            self._active[hold.schedule_id] -= 1

    def running(self) -> int:
        """How many schedules run now."""
        return sum(count > 0 for count in self._active.values())

    async def _run(self, hold: Hold) -> None:
        async with self.db.work(hold.org_id) as work:
            schedule = await begin(work, hold)
            if schedule is None:
                return
            hold, run = schedule.hold, schedule.run_id or new_id("run")
            if schedule.run_id is None:
                values = {"id": to_uuid(run, "run"), "schedule": to_uuid(hold.schedule_id, "sched")}
                await work.connection.execute(
                    text("INSERT INTO toy_runs (id, schedule_id) VALUES (:id, :schedule)"), values
                )
                await set_run(work, hold.schedule_id, run)
            if schedule.cancel_requested:
                await self._end(work, hold, run, "cancelled")
                return
        try:
            while await self._page(hold, run):
                pass
        except HoldLost:
            async with self.db.work(hold.org_id) as work:
                values = {"run": to_uuid(run, "run"), "fence": hold.fence}
                await work.connection.execute(text("INSERT INTO toy_refused VALUES (:run, :fence)"), values)
            raise

    async def _page(self, hold: Hold, run: str) -> bool:
        await asyncio.sleep(self.pause)
        async with self.db.work(hold.org_id) as work:
            values = {"run": to_uuid(run, "run"), "fence": hold.fence}
            place = text("UPDATE toy_runs SET pages = pages + 1 WHERE id = :run RETURNING pages")
            page = (await work.connection.execute(place, values)).scalar_one()
            values["page"] = page
            await work.connection.execute(text("INSERT INTO toy_pages VALUES (:run, :page, :fence)"), values)
            passing("toy.page")
            if page >= self.pages:
                await self._end(work, hold, run, "done")
            elif await keep(work, hold, now=SystemClock().now()):
                await self._end(work, hold, run, "cancelled")
            else:
                return True
        return False

    async def _end(self, work: Work, hold: Hold, run: str, how: str) -> None:
        ended = text("UPDATE toy_runs SET ended = :how WHERE id = :run")
        await work.connection.execute(ended, {"how": how, "run": to_uuid(run, "run")})
        now = SystemClock().now()
        await release(work, hold, now=now, next_run_at=None, run_id=None, attempt=0, error=None, done=True)


async def main(url: str, pages: str, pause: str, heartbeat: str) -> None:
    db = Db(url)
    toy = Toy(db, pages=int(pages), pause=float(pause))
    await Engine(db, {"sync": toy}, clock=SystemClock(), limits=quick_limits(float(heartbeat))).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
