"""Showing: tables, single rows and problems, for people on a terminal, in a pipe, or as JSON for programs.

What a provider sent may hold anything, so all of it is made plain first: no control character reaches the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Cell = str | Callable[[Mapping[str, Any]], Any]
Columns = Sequence[tuple[str, Cell]]
"""Headings, each with the dotted name of its value or a function of the row."""

_STYLES = {
    "active": "green", "succeeded": "green", "supported": "green", "supports": "green", "pass": "green", "ok": "green",
    "open": "red", "failed": "red", "contradicted": "red", "contradicts": "red", "fail": "red", "error": "red",
    "needs_reconnect": "red", "critical": "bold red", "high": "red", "medium": "yellow", "held": "yellow",
    "degraded": "yellow", "partial": "yellow", "waiting": "yellow", "stopped": "yellow", "running": "cyan",
}  # fmt: skip


def console(*, err: bool = False, width: int | None = None) -> Console:
    """Where to print: a terminal as wide as it is, anything else as wide as it takes and without control characters."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    chosen = width or (None if stream.isatty() else 400)
    return Console(file=stream, width=chosen, highlight=False, markup=False, emoji=False, soft_wrap=False)


def plain(value: Any) -> str:
    """Text on one line without control characters."""
    text = "yes" if value is True else "no" if value is False else "" if value is None else str(value)
    return "".join(one if one.isprintable() else " " if one in "\n\t" else "\ufffd" for one in text)


def styled(value: Any) -> Text:
    """A value in the colour of what it means, if it means something."""
    from rich.text import Text

    text = plain(value)
    return Text(text, style=_STYLES.get(text, ""))


def show_json(document: Any) -> None:
    """Write JSON: indented for a person, on one line of UTF-8 for a program."""
    import orjson

    if sys.stdout.isatty():
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
        sys.stdout.write("".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text) + "\n")
    else:
        sys.stdout.buffer.write(orjson.dumps(document) + b"\n")


def show_line(row: Mapping[str, Any]) -> None:
    """Write a row as JSON on a line of its own."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(row) + b"\n")


def show_listing(document: Mapping[str, Any], columns: Columns, *, json: bool, none: str = "There are none.") -> None:
    """Show a page of rows, and how to see the next one."""
    if json:
        show_json(document)
        return
    if not document["items"]:
        say(none)
        return
    console().print(table_of(document["items"], columns))
    if document["next"]:
        warn(f"There are more: add --cursor {document['next']}, or raise --limit (at most 5000).")


def table_of(rows: Sequence[Mapping[str, Any]], columns: Columns) -> Table:
    """Rows as a table; an id is never cut."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading, _ in columns:
        is_id = heading in {"id", "connection", "run"}
        table.add_column(heading, no_wrap=is_id, overflow="fold", min_width=32 if is_id else None)
    for row in rows:
        table.add_row(*(styled(value_of(row, cell)) for _, cell in columns))
    return table


def value_of(row: Mapping[str, Any], cell: Cell) -> Any:
    """The value for a cell: what the function says, or what lies under the dotted name."""
    if callable(cell):
        return cell(row)
    value: Any = row
    for name in cell.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def show_row(row: Mapping[str, Any], *, json: bool) -> None:
    """Show one row with all its fields, nested ones below their name."""
    if json:
        show_json(row)
        return
    for line in lines_of(row):
        say(line)


def lines_of(row: Mapping[str, Any], indent: str = "") -> list[str]:
    """A row as lines of `name  value`."""
    width = max((len(name) for name in row), default=0)
    lines = []
    for name, value in row.items():
        head = f"{indent}{plain(name).ljust(width)}"
        if isinstance(value, Mapping) and value:
            lines += [head.rstrip(), *lines_of(value, indent + "  ")]
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            lines.append(head.rstrip())
            for one in value:
                lines += [f"{indent}  -", *lines_of(one, indent + "    ")] if isinstance(one, Mapping) else [plain(one)]
        elif value not in (None, [], {}):
            shown = ", ".join(map(plain, value)) if isinstance(value, list) else plain(value)
            lines.append(f"{head}  {shown}")
    return lines


def say(text: str = "") -> None:
    """Tell a person something, on standard output, at once: whoever starts a server in the background reads it too."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Tell a person something on the side, on standard error, at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show_problem(slug: str, message: str, advice: str, fields: Any = None, *, json: bool) -> None:
    """Say on standard error what went wrong and what to do."""
    if json:
        import json as encoder

        problem = {"slug": slug, "message": message, "advice": advice, "fields": fields or []}
        warn(encoder.dumps({"error": problem}))
        return
    warn(f"error: {plain(message)}")
    if advice:
        warn(f"→ {plain(advice)}")


def day_and_time(moment: str | None) -> str:
    """A time of a row, to the second."""
    return f"{moment[:10]} {moment[11:19]}" if moment else ""


def at(name: str) -> Callable[[Mapping[str, Any]], str]:
    """A cell that shows the time under this name."""
    return lambda row: day_and_time(row.get(name))
