"""Reading what a person gives to connect: options as `name=value`, secrets from standard input, a file or a prompt.

A secret on the command line would stand in the shell's history and in the list of processes, so it is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tieline.errors import Invalid, TooLarge

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from tieline.sdk.auth import Auth
    from tieline.sdk.provider import Provider

_NAME = re.compile(r"[a-z][a-z_]{0,40}")
_MOST_BYTES = 1 << 20  # far above what any credential may have; the exact limit is told by the connect flow


class LiteralSecret(click.UsageError):
    """A secret was written on the command line."""

    advice = "Give `NAME=-` to read standard input, `NAME=@FILE` to read a file, or leave it out to be asked."


def split_pairs(what: str, pairs: Sequence[str]) -> dict[str, str]:
    """`name=value` pairs as a dictionary; the value is never quoted, for it may be a secret in the wrong place."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"{what} must be given as NAME=VALUE")
        if name in found:
            raise click.UsageError(f"{what} {_told(name)} is given twice")
        found[name] = value
    return found


def read_options(
    provider: Provider[Any], pairs: Sequence[str], standing: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The options of a connection, above those that stand; on a terminal, those that are missing are asked for."""
    fields = provider.options.model_fields
    given = dict(standing or {}) | {
        name: _typed(fields.get(name), value) for name, value in split_pairs("--option", pairs).items()
    }
    for name, field in fields.items():
        if name not in given and field.is_required() and _can_ask():
            given[name] = _typed(field, _ask(name, field, secret=False))
    return given


def read_credential(auth: Auth, pairs: Sequence[str]) -> dict[str, Any]:
    """The fields of a credential; secret ones from `-`, from `@FILE` or from a prompt only."""
    model = auth.credential
    given = split_pairs("--credential", pairs)
    piped = [name for name, value in given.items() if value == "-"]
    found: dict[str, Any] = dict(_read_input(piped)) if piped else {}
    for name, value in given.items():
        if value.startswith("@"):
            found[name] = _read_file(name, value[1:])
        elif value != "-":
            if is_secret(model, name):
                raise LiteralSecret(f"--credential {_told(name)}: a secret must not be written on the command line")
            found[name] = value
    if _can_ask() and not piped:
        if auth.help:
            click.echo(auth.help, err=True)
        for name, field in model.model_fields.items():
            if name not in found and field.is_required():
                found[name] = _ask(name, field, secret=is_secret(model, name))
    return found


def is_secret(model: type[BaseModel], name: str) -> bool:
    """Whether a field holds a secret; an unknown field might, for somebody may have mistyped its name."""
    field = model.model_fields.get(name)
    return field is None or "SecretStr" in str(field.annotation)


def _typed(field: FieldInfo | None, value: str) -> Any:
    """A value as the option's type asks: text as it stands, anything else as JSON where it is JSON."""
    if field is None or field.annotation is str:
        return value
    import json

    try:
        return json.loads(value)
    except ValueError:
        return value


def _read_input(names: Sequence[str]) -> Mapping[str, str]:
    """Standard input: all of it for one field, a line each for several."""
    text = _decode("standard input", sys.stdin.buffer.read(_MOST_BYTES + 1))
    if len(names) == 1:
        return {names[0]: text.removesuffix("\n").removesuffix("\r")}
    lines = text.splitlines()
    if len(lines) != len(names):
        raise Invalid(f"Standard input has {len(lines)} lines for {len(names)} fields: {', '.join(map(_told, names))}")
    return dict(zip(names, lines, strict=True))


def _read_file(name: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Invalid(f"The file for {_told(name)} cannot be read: {error.strerror}") from None
    return _decode(f"the file for {_told(name)}", content).removesuffix("\n").removesuffix("\r")


def _decode(where: str, content: bytes) -> str:
    if len(content) > _MOST_BYTES:
        raise TooLarge(f"There is more in {where} than a credential can be")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Invalid(f"What is in {where} is not UTF-8 text") from None


def _told(name: str) -> str:
    """A field's name; what does not look like one may be a secret in the wrong place (`dG9rZW4=`), and is not told."""
    return name if _NAME.fullmatch(name) else "(name not shown)"


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(name: str, field: FieldInfo, *, secret: bool) -> str:
    title = field.title or name.replace("_", " ").capitalize()
    answer: str = click.prompt(title, hide_input=secret, err=True)
    return answer
