"""`tieline demo`: the whole product on an invented company, from connecting to evidence, with no account anywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tieline.cli import demo_report as report
from tieline.cli import exits
from tieline.cli.progress import make_display, watch, working
from tieline.cli.sandbox import Sandbox, sandbox
from tieline.cli.session import Command, Running, Session, current, run_async
from tieline.cli.show import warn
from tieline.errors import Invalid

if TYPE_CHECKING:
    from tieline.store.connections import Connection
    from tieline.store.runs import Run


@click.command("demo", cls=Command)
@click.option("--people", type=click.IntRange(60, 50_000), default=2400, show_default=True, help="Accounts to invent.")
@click.option("--keep", is_flag=True, help="Keep the data, to look around in afterwards.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where to keep the data: a new or empty folder. Implies --keep."
)
def command(people: int, keep: bool, data_dir: Path | None) -> None:
    """See the whole product in half a minute.

    It starts an invented company's identity provider and code host on this machine, connects it, reads it, shows what is wrong and which
    evidence that makes, lets the company have a day, and reads it again. Nothing leaves the machine, and nothing that
    you have is touched.
    """
    session = current()
    with _place(keep, data_dir) as (settings, kept), sandbox(people) as company:
        code = run_async(_show(session, session.read_settings(**settings), company))
    report.say_goodbye(kept)
    if code:
        click.get_current_context().exit(code)


@contextmanager
def _place(keep: bool, data_dir: Path | None) -> Iterator[tuple[dict[str, Any], Path | None]]:
    """Where the demonstration keeps its data: settings for it, and the folder if it stays."""
    settings: dict[str, Any] = {"database_url": None, "key_ring": None, "allow_private_addresses": "127.0.0.1"}
    if keep or data_dir:
        kept = (data_dir or Path(tempfile.mkdtemp(prefix="tieline-demo-"))).resolve()
        if kept.exists() and (not kept.is_dir() or any(kept.iterdir())):
            raise Invalid(
                f"{kept} is not an empty folder", advice="Name a new one: it must hold this demonstration only."
            )
        yield settings | {"data_dir": kept}, kept
        return
    folder = Path(tempfile.mkdtemp(prefix="tieline-demo-"))
    if os.name == "posix" and os.geteuid() == 0:
        folder.chmod(0o711)  # run by root, PostgreSQL works as another account, which must get through
    try:
        yield settings | {"data_dir": folder / "data", "state_dir": folder / "state"}, None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _show(session: Session, settings: Any, company: Sandbox) -> int:
    session.start_log("error")
    began = time.monotonic()
    report.begin(company.url)
    async with session.open(settings) as tieline:
        org = tieline.organization.id
        report.head(1, "Connect")
        connection = await _connect(tieline, company)
        report.connected(connection)
        async with working(tieline):
            report.head(2, "Read everything")
            first, code = await _sync(tieline, connection)
            report.read(first)
            report.head(3, "What is wrong")
            await report.found(tieline.parts, org)
            report.head(4, "What evidence that makes")
            await report.evidence(tieline.parts, org)
            report.head(5, "A day goes by, then read again")
            report.story(company.tell_story())
            second, again = await _sync(tieline, connection)
            report.read_again(second)
            await report.moved(tieline.parts, org, second)
    report.done(time.monotonic() - began)
    return code or again


async def _connect(tieline: Running, company: Sandbox) -> Connection:
    from tieline.flows.connect import Attempt, connect

    attempt = Attempt("sandbox", {"base_url": company.url}, {"token": company.token}, "Larkfield Instruments")
    return await connect(tieline.parts, tieline.organization.id, attempt)


async def _sync(tieline: Running, connection: Connection) -> tuple[list[Run], int]:
    """Read the connection and show the progress; the runs as they ended."""
    from tieline.cli.progress import explain
    from tieline.flows.sync import request_sync

    org, names = tieline.organization.id, {connection.id: connection.name}
    runs: Sequence[Run] = await request_sync(tieline.parts, org, connection.id)
    outcome = await watch(tieline.parts, org, runs, make_display(names), patience=timedelta(seconds=60))
    for one in outcome.runs:
        if one.state != "succeeded" and (told := explain(one, names)):
            warn(told)
    return [one.run for one in outcome.runs], outcome.code or exits.FINE
