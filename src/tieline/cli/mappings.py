"""`tieline connections try` and `rejected`: what newest runs could not map, and what another filter or field would make of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from tieline.cli.given import split_pairs
from tieline.cli.session import Command, Opened, opened
from tieline.cli.show import Columns, at, console, plain, say, show_json, show_listing, styled, table_of
from tieline.errors import Invalid, TooLarge

if TYPE_CHECKING:
    from rich.table import Table

    from tieline.flows.lab import Chosen, Place

MOST_BYTES = 2 << 20
_ALIKE: Columns = [
    ("operation", "operation"),
    ("kind", "kind"),
    ("field", "field"),
    ("why", "reason"),
    ("samples", "sampled"),
    ("newest sample", lambda row: row["record_ids"][0]),
    ("when", at("at")),
]
_CHECKS: Columns = [
    ("check", "title"),
    ("severity", "severity"),
    ("would say", "outcome"),
    ("says now", "before"),
]
_WHOSE = {"provider": "the provider's", "organization": "yours", None: ""}
_WORDS = {"kept": "kept", "left_out": "left out by the filter", "rejected": "rejected"}


@click.command("rejected", cls=Command)
@click.argument("connection")
@opened
async def rejected(here: Opened, connection: str) -> None:
    """List what the newest run of each operation could not map, by field and reason; each sample can be tried."""
    from tieline.flows.tried import alike_row
    from tieline.store.connections import get_connection
    from tieline.store.records import group_samples

    async with here.work() as work:
        found = await group_samples(work, (await get_connection(work, connection)).id)
    document = {"items": [alike_row(one) for one in found], "next": None}
    show_listing(document, _ALIKE, json=here.session.json, none="The newest runs rejected no record.")


@click.command("try", cls=Command)
@click.argument("connection")
@click.argument("operation")
@click.option(
    "--entity", "--rejection", "record_id", metavar="ID", help="The stored record of an entity, or a rejected one."
)
@click.option("--record", type=click.File("rb"), help="A JSON file with a record (`-` is standard input).")
@click.option("--variant", help="For an operation with several mappings, which one.")
@click.option(
    "--filter", "own_filter", metavar="CEL", help="Your own filter; an empty one is none. [default: the one in force]"
)
@click.option(
    "--field", "fields", multiple=True, metavar="NAME=CEL", help="Your own field; an empty one is the provider's."
)
@click.option("--compare", type=click.IntRange(0, 200), default=0, help="Compare over so many stored records.")
@opened
async def try_(
    here: Opened,
    connection: str,
    operation: str,
    record_id: str | None,
    record: BinaryIO | None,
    variant: str | None,
    own_filter: str | None,
    fields: Sequence[str],
    compare: int,
) -> None:
    """Try a mapping on a real record, and see what a run would make of it. Nothing is written.

    Without --entity, --rejection or --record it takes the newest rejected record, or else the entity that changed last.
    """
    from tieline.flows import lab as flow
    from tieline.flows.overrides import Own, read_own
    from tieline.flows.tried import trial_row

    given = split_pairs("--field", fields)
    place = await flow.open_place(here.parts, here.org.id, connection, operation)
    chosen = await _choose(here, place, record_id, record, variant)
    standing = read_own(place.overrides, chosen.variant)
    wanted = {name: one for name, one in ({**standing.fields} | given).items() if one}
    own = Own(standing.filter if own_filter is None else own_filter or None, wanted)
    row = trial_row(await flow.try_mapping(here.parts, place, chosen, own, others=compare))
    if here.session.json:
        show_json(row)
    else:
        _show(row)


async def _choose(
    here: Opened, place: Place, record_id: str | None, file: BinaryIO | None, variant: str | None
) -> Chosen:
    from tieline.flows import lab as flow

    if record_id and file:
        raise click.UsageError("Give --record or an id, not both")
    if file:
        return flow.give_record(place, _read(file), variant)
    if record_id is None:
        record_id = (await flow.list_choices(here.parts, place)).first
    if record_id is None:
        raise Invalid("Nothing was read yet by this operation", advice="Give a record: --record FILE.")
    return await flow.choose_record(here.parts, place, record_id, variant)


def _read(file: BinaryIO) -> Any:
    import orjson

    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise TooLarge(f"The record is over {MOST_BYTES // 1024} KiB")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raise Invalid("The record is not JSON", fields=[{"field": "record", "problem": "is not JSON"}]) from None


def _show(row: Mapping[str, Any]) -> None:
    from rich.text import Text

    from tieline.flows.tried import refusal_in_words

    out = console()
    told = _WORDS[row["outcome"]]
    if row["rejection"]:
        told += f": {refusal_in_words(row['rejection']['field'], row['rejection']['reason'])}"
    out.print(Text(plain(f"{row['kind']} {told}"), style="bold red" if row["rejection"] else "bold"))
    out.print(_fields_table(row))
    if row["checks"]:
        out.print(table_of(row["checks"], _CHECKS))
    if row["in_force"]["outcome"] != row["outcome"]:
        say(f"By the mapping in force it is {_WORDS[row['in_force']['outcome']]}.")
    if compared := row["compared"]:
        _show_compared(compared)


def _fields_table(row: Mapping[str, Any]) -> Table:
    """Each expression with whose it is and what it gives; wide on a terminal as on paper, folded rather than cut."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("field", "expression", "whose", "gives", "in force"):
        table.add_column(heading, overflow="fold")
    changes = row["in_force"]["changes"]
    mapped = [one for one in row["fields"] if one["expression"] or one["field"] in (row["entity"] or {})]
    for one in [*({"field": "filter", **each} for each in row["filters"]), *mapped]:
        was = plain_value(changes[one["field"]]["in_force"]) if one["field"] in changes else ""
        cells = (one["field"], one["expression"], _WHOSE[one["whose"]], _gives(one, row), was)
        table.add_row(*(styled(cell) for cell in cells))
    return table


def _gives(one: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What an expression gave: its value in the entity where there is one, or why there is none."""
    if one["state"] == "error":
        return f"error: {one['error']}"
    if one["state"] == "long":
        return "a value too long to be shown"
    entity = row["entity"] or {}
    value = entity.get(one["field"], one["value"]) if one["field"] != "filter" else one["value"]
    return plain_value(value) if value is not None else "no value" if one["expression"] else ""


def plain_value(value: Any) -> str:
    """A JSON value in a cell: text as it is, all else as JSON."""
    import orjson

    return plain(value) if isinstance(value, str | bool) or value is None else orjson.dumps(value).decode()


def _show_compared(compared: Mapping[str, Any]) -> None:
    from tieline.flows.tried import refusal_in_words

    before, after = compared["in_force"], compared["tried"]
    told = ", ".join(f"{after[state]:,} {_WORDS[state]} ({before[state]:,} now)" for state in _WORDS)
    say(f"Of {compared['records']:,} stored records: {told}; {compared['changed']:,} would change.")
    if compared["samples"]:
        say(f"Of {compared['samples']:,} rejected samples, {compared['mended']:,} would fit.")
    for one in compared["examples"]:
        changes = ", ".join(
            f"{name} {plain_value(pair['in_force'])} → {plain_value(pair['tried'])}"
            for name, pair in one["changes"].items()
        )
        why = refusal_in_words(one["rejection"]["field"], one["rejection"]["reason"]) if one["rejection"] else ""
        say(f"  {plain(one['external_id'])}: {changes or _WORDS[one['tried']]}{plain(f': {why}') if why else ''}")
