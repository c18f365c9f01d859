"""`tieline backup`: all that is stored in one file, the key ring in another, and an empty instance filled with them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tieline.cli.session import NounGroup, Opened, Session, current, opened, run_async
from tieline.cli.show import say, show_json, warn

if TYPE_CHECKING:
    from tieline.flows.backup import Backup, Restored

_FILE = click.Path(path_type=Path)
_THERE = click.Path(path_type=Path, exists=True, dir_okay=False)
_PATTERN = "tieline-" + "[0-9]" * 8 + "T" + "[0-9]" * 6 + "Z.zip"


@click.group("backup", cls=NounGroup, invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """All that is stored, in one file, to restore into an empty instance.

    A backup never holds the key ring, without which nothing secret in it can be read and it is not restored: keep a copy
    of that in another place, by `tieline backup key-ring`.
    """
    if context.invoked_subcommand is None:
        say(context.get_help())


@command.command("create")
@click.argument("path", metavar="FILE|DIRECTORY", type=_FILE)
@click.option("--keep", type=click.IntRange(1), help="Of the backups in the DIRECTORY keep the newest so many.")
@opened
async def create(here: Opened, path: Path, keep: int | None) -> None:
    """Write a backup to a new file, or to a DIRECTORY under a name that says when. Nothing need be stopped for it."""
    from tieline.flows.backup import create_backup, name_backup

    into = _is_directory(path)
    if keep and not into:
        raise click.UsageError("--keep needs a DIRECTORY, whose backups it counts.")
    file = path / name_backup(here.parts.clock.now()) if into else path
    with _counted() as told:
        made = await create_backup(here.parts, here.tieline.organization.id, file, told=told)
    gone = _prune(path, keep) if keep else []
    if here.session.json:
        show_json(
            {"file": str(file), **_row(made), "bytes": file.stat().st_size, "removed": [str(one) for one in gone]}
        )
        return
    say(f"{file} holds {_told(made)}, in {file.stat().st_size:,} bytes.")
    if gone:
        say(f"{len(gone)} older backup(s) were removed.")
    ring = here.tieline.settings.key_ring_path
    say(f"It can be restored with the key ring only, which is not in it: keep a copy of {ring} in another place.")
    if others := [one for one in made.manifest.keys if one not in here.parts.vault.local_keys]:
        say(f"Keep these keys where they are: {', '.join(others)}.")


@command.command("verify")
@click.argument("file", type=_THERE)
@click.option(
    "--key-ring", type=_THERE, help="Also whether this key ring's owner wrote it [default: the one in place]."
)
def verify(file: Path, key_ring: Path | None) -> None:
    """Read every byte of a backup and tell what it holds; the database is not touched."""
    session = current()
    session.start_log()
    run_async(_verify(session, file, key_ring))


@command.command("restore")
@click.argument("file", type=_THERE)
@click.option("--key-ring", type=_THERE, help="The key ring's copy, to be put in place [default: it is there already].")
@click.option("--paused", is_flag=True, help="Pause every connection: for a copy beside an original that goes on.")
def restore(file: Path, key_ring: Path | None, paused: bool) -> None:
    """Fill an empty instance with a backup, wholly or not at all. What was due goes on when workers are started.

    The instance is that of TIELINE_DATA_DIR or TIELINE_DATABASE_URL; it may be one that was never started. Sessions and links
    are not in a backup: everybody signs in again. Never run the original beside it: of two that use the same refresh tokens,
    providers lock one or both out. To try a restore while the original goes on, say --paused.
    """
    session = current()
    session.start_log()
    run_async(_restore(session, file, key_ring, paused=paused))


@command.command("key-ring")
@click.argument("file", type=_FILE)
@click.option("--beside-backups", is_flag=True, help="Even into a directory that holds backups.")
@opened
async def key_ring(here: Opened, file: Path, beside_backups: bool) -> None:
    """Copy the key ring to a new file. Who has it and a backup can read every credential: keep the two apart."""
    from tieline.flows.audit import record
    from tieline.vault import copy

    ring = here.tieline.settings.key_ring_path
    _check_place(file, beside_backups=beside_backups)
    async with here.parts.db.work(here.tieline.organization.id) as work:
        await record(work, here.parts, "key_ring.copied", here.tieline.organization.id)
    copy(ring, file)
    if here.session.json:
        show_json({"file": str(file), "keys": here.tieline.ring.ids})
    else:
        say(f"{file} is a copy of {ring}. Copy it again after each `tieline keys rotate`.")


async def _verify(session: Session, file: Path, key_ring: Path | None) -> None:
    from tieline.flows.backup import verify_backup
    from tieline.vault import load_or_create

    ring = key_ring or session.read_settings().key_ring_path
    known = load_or_create(ring, may_create=False) if ring.exists() else None
    with _counted() as told:
        found = await verify_backup(file, known.audit_key if known else None, told=told)
    lacking = [one for one in found.manifest.keys if known and one not in known.ids]
    if session.json:
        show_json(
            {"file": str(file), **_row(found), "key_ring": str(ring) if known else None, "not_in_key_ring": lacking}
        )
        return
    say(f"{file} is whole. It holds {_told(found)}.")
    if known is None:
        warn(f"There is no key ring at {ring}, so nothing can be said of who wrote it, nor whether its keys are there.")
    elif lacking:
        warn(f"{ring} made it, but these keys are not in it: {', '.join(lacking)}")
    else:
        say(f"It was made under {ring}, which has every key that it needs.")


async def _restore(session: Session, file: Path, key_ring: Path | None, *, paused: bool) -> None:
    from tieline.flows.backup import restore_backup
    from tieline.vault import copy

    settings = session.read_settings()
    async with session.reaching(settings, key_ring) as here:

        def ready() -> None:
            if key_ring:
                copy(key_ring, settings.key_ring_path)

        with _counted() as told:
            how: dict[str, Any] = {"knows": here.keys.knows, "ready": ready, "paused": paused, "told": told}
            done = await restore_backup(here.parts, here.url, file, **how)
    if session.json:
        counts = {"rows": done.manifest.rows, "runs": done.runs, "paused": done.paused}
        show_json({"made_at": done.manifest.made_at, **counts, "unrecorded": done.unrecorded})
    else:
        _tell_restored(done, paused=paused)


def _tell_restored(done: Restored, *, paused: bool) -> None:
    made = done.manifest
    say(
        f"{made.rows:,} rows of {made.organizations:,} organization(s) are restored, as they were on {made.made_at[:19]} UTC."
    )
    say(
        "Sessions, links and sign-ins under way are not, since they work once: everybody signs in again, by whichever way"
    )
    say("they have, or by a link that `tieline members link EMAIL` makes.")
    for slug in done.unrecorded:
        warn(f"The audit log of {slug} was altered before the backup: tieline --org {slug} audit verify")
    if paused:
        say(f"{done.paused:,} connection(s) are paused; nothing is read until somebody resumes them.")
        return
    if done.runs:
        say(f"{done.runs:,} run(s) were under way: they go on where they were.")
    say("What is due is carried out as soon as `tieline serve` or `tieline worker` runs.")
    warn("The original must not run any more: of two that use the same refresh tokens, providers lock one or both out.")


@contextmanager
def _counted() -> Iterator[Callable[[str, int], None]]:
    """Show on a terminal how many rows there were; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _table, _rows: None
        return
    total = 0

    def told(table: str, rows: int) -> None:
        nonlocal total
        total += rows
        sys.stderr.write(f"\r{total:,} rows, {table:<30}")
        sys.stderr.flush()

    yield told
    warn("")


def _prune(folder: Path, keep: int) -> list[Path]:
    """Remove all but the newest of the backups that have the names that we give."""
    gone = sorted(folder.glob(_PATTERN))[:-keep]
    for one in gone:
        one.unlink()
    return gone


def _is_directory(path: Path) -> bool:
    return path.is_dir()


def _check_place(file: Path, *, beside_backups: bool) -> None:
    """Refuse to put the key ring where it replaces something, or where whoever finds it finds a backup too."""
    from tieline.errors import Conflict

    folder = file.absolute().parent
    if file.exists():
        raise Conflict(f"{file} is there already", advice="Name another file.")
    if not beside_backups and any(_is_backup(one) for one in sorted(folder.glob("*"))):
        raise Conflict(
            f"There are backups in {folder}",
            advice="Keep the key ring in another place, to which not the same people come; or say --beside-backups.",
        )


def _is_backup(path: Path) -> bool:
    from tieline.stages.archive import is_archive

    return path.is_file() and is_archive(path)


def _row(one: Backup) -> dict[str, Any]:
    manifest = one.manifest
    return {
        "made_at": manifest.made_at,
        "release": manifest.tieline,
        "revisions": manifest.revisions,
        "organizations": manifest.organizations,
        "rows": manifest.rows,
        "keys": manifest.keys,
        "manifest_sha256": one.sha256,
        "tables": {part.table: part.rows for part in manifest.parts},
    }


def _told(one: Backup) -> str:
    made = one.manifest
    return f"{made.rows:,} rows of {made.organizations:,} organization(s), as they were on {made.made_at[:19]} UTC"
