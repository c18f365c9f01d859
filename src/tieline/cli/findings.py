"""`tieline findings`: what is wrong, whose it is, and who has silenced it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tieline.cli.listing import none_of, page, paged
from tieline.cli.moment import EARLIER, LATER
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, show_row

if TYPE_CHECKING:
    from tieline.flows.findings import Chosen, Done

F = TypeVar("F", bound=Callable[..., Any])

ACTOR = "cli"
"""Who the history says has muted a finding from here: whoever may open the data directory."""

_COLUMNS: Columns = [
    ("id", "id"),
    ("severity", "severity"),
    ("status", "status"),
    ("title", "title"),
    ("subject", "subject"),
    ("provider", "provider"),
    ("opened", at("opened_at")),
]
_GROUPS: Columns = [
    ("severity", "severity"),
    ("group", lambda row: " ".join(str(one) for one in row["key"].values())),
    ("should hold", lambda row: row["title"] or "several things"),
    ("open", "open"),
    ("muted", "muted"),
    ("resolved", "resolved"),
    ("open since", at("oldest")),
]


def filtered(command: F) -> F:
    """Add the options that say which findings are meant; the command gets them as `given`."""
    options = [
        click.option("--status", type=click.Choice(["open", "muted", "resolved"]), help="Only with this status."),
        click.option(
            "--severity", type=click.Choice(["critical", "high", "medium", "low", "info"]), help="Only as severe."
        ),
        click.option("--check", help="Only of this check."),
        click.option("--connection", help="Only of this connection."),
        click.option("--provider", help="Only of this provider."),
        click.option("--entity", help="Only about this entity."),
        click.option("--subject", help="Only about what people know by this name, at whatever provider."),
        click.option("--owner", metavar="EMAIL|nobody", help="Only those that this member looks after, or that nobody does."),
        click.option("--opened-before", type=EARLIER, help="Only those opened before: a date, a time, or 30d for so long ago."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group("findings", cls=NounGroup)
def command() -> None:
    """What is wrong."""


@command.command("list")
@filtered
@paged
@opened
async def list_(here: Opened, /, limit: int, cursor: str | None, **given: Any) -> None:
    """List the findings, newest first."""
    from tieline.flows.views import finding_row, listing
    from tieline.store.findings import list_findings

    wanted = await _wanted(here, given)
    async with here.work() as work:
        found = await list_findings(work, page(limit, cursor), **wanted)
    show_listing(
        listing(found, finding_row),
        _COLUMNS,
        json=here.session.json,
        none=none_of("There are no findings.", *wanted.values()),
    )


@command.command("groups")
@click.option(
    "--by", type=click.Choice(["check", "subject", "connection", "owner"]), default="check", show_default=True,
    help="What those of a group have in common; a subject is whom or what they are about.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="How many groups at most.")
@filtered
@opened
async def groups(here: Opened, /, by: Any, limit: int, **given: Any) -> None:
    """Count the findings in groups, the worst first."""
    from tieline.flows.views import group_row
    from tieline.store.finding_groups import group_findings

    wanted = await _wanted(here, given)
    async with here.work() as work:
        found, _ = await group_findings(work, by, most=limit, **wanted)
    rows = {"items": [group_row(one) for one in found], "next": None}
    show_listing(rows, _GROUPS, json=here.session.json, none=none_of("There are no findings.", *wanted.values()))


@command.command("show")
@click.argument("finding")
@opened
async def show(here: Opened, finding: str) -> None:
    """Show a finding, how to put it right, and its history."""
    from tieline.errors import NotFound
    from tieline.flows.views import finding_event_row, finding_row
    from tieline.store.findings import get_finding, list_events

    async with here.work() as work:
        found = await get_finding(work, finding)
        history = [finding_event_row(one) for one in await list_events(work, finding)]
    try:
        fix = here.parts.catalog.check(found.check_id).fix
    except NotFound:  # a check of an earlier release
        fix = None
    show_row(finding_row(found) | {"fix": fix, "history": history}, json=here.session.json)


_matching = click.option("--all-matching", is_flag=True, help="All that the filters name, instead of some by id.")


@command.command("mute")
@click.argument("findings", nargs=-1)
@click.option("--reason", required=True, help="Why; it is kept in the history.")
@click.option("--until", type=LATER, help="When it speaks again: a date, a time, or 30d. Without it, never.")
@_matching
@filtered
@opened
async def mute(
    here: Opened, /, findings: tuple[str, ...], reason: str, until: datetime | None, all_matching: bool, **given: Any
) -> None:
    """Silence findings that are not resolved: some by id, or all that the filters name."""
    from tieline.flows import findings as flow

    about: dict[str, Any] = {"reason": reason, "until": until, "actor": ACTOR}
    told = f"Muted {f'until {until:%Y-%m-%d %H:%M} UTC' if until else 'for good'}"
    if _is_one(findings, all_matching, given):
        _told(here, await flow.mute(here.parts, here.org.id, findings[0], **about), told)
    else:
        chosen = await _chosen(here, findings, all_matching, given)
        _told_many(here, await flow.mute_many(here.parts, here.org.id, chosen, **about), told)


@command.command("unmute")
@click.argument("findings", nargs=-1)
@_matching
@filtered
@opened
async def unmute(here: Opened, /, findings: tuple[str, ...], all_matching: bool, **given: Any) -> None:
    """Let muted findings speak again: some by id, or all that the filters name."""
    from tieline.flows import findings as flow

    if _is_one(findings, all_matching, given):
        _told(here, await flow.unmute(here.parts, here.org.id, findings[0], actor=ACTOR), "Open again")
    else:
        chosen = await _chosen(here, findings, all_matching, given)
        _told_many(here, await flow.unmute_many(here.parts, here.org.id, chosen, actor=ACTOR), "Open again")


@command.command("assign")
@click.argument("findings", nargs=-1)
@click.option("--to", required=True, metavar="EMAIL|nobody", help="The member who is to look after them.")
@_matching
@filtered
@opened
async def assign(here: Opened, /, findings: tuple[str, ...], to: str, all_matching: bool, **given: Any) -> None:
    """Give findings to a member, or to nobody: some by id, or all that the filters name."""
    from tieline.flows import findings as flow

    owner, told = await _owner(here, to), f"Given to {to}"
    if _is_one(findings, all_matching, given):
        _told(here, await flow.assign(here.parts, here.org.id, findings[0], owner=owner, actor=ACTOR), told)
    else:
        chosen = await _chosen(here, findings, all_matching, given)
        _told_many(here, await flow.assign_many(here.parts, here.org.id, chosen, owner=owner, actor=ACTOR), told)


async def _wanted(here: Opened, given: dict[str, Any]) -> dict[str, Any]:
    """The filters under the names of the columns."""
    names = {"check": "check_id", "connection": "connection_id", "entity": "entity_id"}
    wanted = {names.get(name, name): value for name, value in given.items() if value is not None}
    if owner := wanted.get("owner"):
        wanted["owner"] = await _owner(here, owner)
    return wanted


async def _owner(here: Opened, email_or_id: str) -> str:
    from tieline.flows.members import find_present
    from tieline.store.connections import NOBODY

    return NOBODY if email_or_id == NOBODY else (await find_present(here.parts, here.org.id, email_or_id)).id


def _is_one(findings: tuple[str, ...], all_matching: bool, given: dict[str, Any]) -> bool:
    """Whether a single finding is meant; raises `UsageError` unless it is said in one way which ones are."""
    if bool(findings) == all_matching:
        raise click.UsageError("Name findings by id, or say --all-matching with filters.")
    if findings and any(value is not None for value in given.values()):
        raise click.UsageError("Filters go with --all-matching, not with ids.")
    return len(findings) == 1


async def _chosen(here: Opened, findings: tuple[str, ...], all_matching: bool, given: dict[str, Any]) -> Chosen:
    from tieline.flows.findings import Chosen

    return Chosen(findings, await _wanted(here, given) if all_matching else None)


def _told(here: Opened, finding: Any, done: str) -> None:
    from tieline.flows.views import finding_row

    if here.session.json:
        show_json(finding_row(finding))
    else:
        say(f"{done}: {finding.title} ({finding.subject})")


def _told_many(here: Opened, done: Done, told: str) -> None:
    if here.session.json:
        show_json({"changed": len(done.changed), "left": done.left})
    else:
        left = f"; {done.left:,} left as they are" if done.left else ""
        say(f"{told}: {len(done.changed):,} findings{left}.")
