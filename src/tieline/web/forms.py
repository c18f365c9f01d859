"""Forms made from JSON Schemas: what a Pydantic model of options or of a credential asks for, as fields, and back again as values.

`fields_of(schema)` gives the fields to render with the macro `parts/form.html`; `read_values(schema, form)` the values that were
sent, for the model to judge; `errors_of(error)` what it said, by field. A secret is never rendered again: who makes a mistake
elsewhere in the form enters it anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tieline.errors import Invalid
from tieline.web.form import Form
from tieline.web.words import word

Kind = Literal[
    "text", "secret", "lines", "secret-lines", "number", "boolean", "choice", "choices", "list", "url", "email"
]

_SECRET = {"text": "secret", "lines": "secret-lines"}
_FORMATS = {"uri": "url", "email": "email"}
_CLASS = re.compile(r"(?<!\\)\[(\^?)((?:\\.|[^\]\\])+)\]", re.DOTALL)
_CLASSES = frozenset({"\\w", "\\d", "\\s", "\\W", "\\D", "\\S"})
_SYNTAX = frozenset("()[{}/|")


@dataclass(frozen=True)
class Field:
    """One field of a form. `id` is unique on the page; `value` is never that of a secret."""

    name: str
    id: str
    label: str
    kind: str
    help: str = ""
    example: str = ""
    pattern: str | None = None
    required: bool = False
    value: str = ""
    values: Sequence[str] = ()
    checked: bool = False
    choices: Sequence[tuple[str, str]] = ()
    low: float | None = None
    high: float | None = None
    longest: int | None = None
    problem: str = ""

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return self.kind in {"secret", "secret-lines"}

    @property
    def described_by(self) -> str:
        """The ids of the elements that say more about it."""
        told = (f"{self.id}-help" if self.help or self.example else "", f"{self.id}-problem" if self.problem else "")
        return " ".join(filter(None, told))


def fields_of(
    schema: Mapping[str, Any],
    *,
    values: Mapping[str, Any] | None = None,
    problems: Mapping[str, str] | None = None,
    prefix: str = "",
) -> list[Field]:
    """The fields of an object's schema, in its order; `prefix` keeps two forms on one page apart."""
    given, wrong, required = values or {}, problems or {}, set(schema.get("required", ()))
    return [
        _field(name, _plain(one, schema), prefix, required=name in required, given=given, problem=wrong.get(name, ""))
        for name, one in schema.get("properties", {}).items()
    ]


def read_values(schema: Mapping[str, Any], form: Form, *, prefix: str = "") -> dict[str, Any]:
    """What was sent for a schema: typed where it can be, as text for the model to refuse where not; unset fields left out."""
    found: dict[str, Any] = {}
    for name, one in schema.get("properties", {}).items():
        plain, sent = _plain(one, schema), f"{prefix}{name}"
        kind = _kind(plain)
        if kind == "boolean":
            found[name] = sent in form
        elif kind == "choices":
            found[name] = form.all(sent)
        elif kind == "list":
            found[name] = [line.strip() for line in form.get(sent).splitlines() if line.strip()]
        elif (value := _entered(kind, form.get(sent))) != "":
            found[name] = _number(value) if kind == "number" else value
    return found


def errors_of(error: Invalid) -> dict[str, str]:
    """What is wrong by field, of `Invalid` as flows raise it: `options.region` and `body.region` are `region`."""
    return {
        str(one["field"]).partition(".")[2] or str(one["field"]): _say(one["problem"])
        for one in error.details.get("fields", ())
    }


def _field(
    name: str, plain: Mapping[str, Any], prefix: str, *, required: bool, given: Mapping[str, Any], problem: str
) -> Field:
    kind, value = _kind(plain), given.get(name, plain.get("default"))
    shown = kind not in {"secret", "secret-lines"}
    examples = plain.get("examples") or [plain.get("example", "")]
    several = [str(one) for one in value] if isinstance(value, list | tuple) and shown else []
    choices = plain.get("enum") or plain.get("items", {}).get("enum") or ()
    return Field(
        name=f"{prefix}{name}",
        id=f"field-{prefix}{name}",
        label=str(plain.get("title") or word(name)),
        kind=kind,
        help=str(plain.get("description", "")),
        example=str(examples[0] or ""),
        pattern=_html_pattern(plain.get("pattern")),
        required=required and kind not in {"boolean", "choices"},
        value="\n".join(several) if several else _text(value) if shown else "",
        values=several,
        checked=value is True,
        choices=[(str(one), word(str(one))) for one in choices],
        low=plain.get("minimum"),
        high=plain.get("maximum"),
        longest=plain.get("maxLength"),
        problem=problem,
    )


def _plain(one: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A property with its references followed and `| null` taken away."""
    merged = dict(one)
    for alternative in merged.pop("anyOf", ()):
        if alternative.get("type") != "null":
            merged = {**alternative, **merged}
    for part in merged.pop("allOf", ()):
        merged = {**part, **merged}
    if reference := merged.pop("$ref", None):
        merged = {**schema.get("$defs", {}).get(reference.rpartition("/")[2], {}), **merged}
    return merged


def _kind(plain: Mapping[str, Any]) -> str:
    match plain.get("type"):
        case "boolean":
            return "boolean"
        case "integer" | "number":
            return "number"
        case "array":
            return "choices" if plain.get("items", {}).get("enum") else "list"
    if plain.get("enum"):
        return "choice"
    kind = "lines" if plain.get("multiline") else "text"
    if plain.get("writeOnly") or plain.get("format") == "password":
        return _SECRET[kind]
    return _FORMATS.get(str(plain.get("format")), kind)


def _entered(kind: str, value: str) -> str:
    """What a person meant: pasted texts have white space around them, keys of several lines keep their last line end."""
    return value if kind == "secret-lines" and value.strip() else value.strip()


def _number(value: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value


def _html_pattern(pattern: Any) -> str | None:
    """A pattern as HTML has it: anchored by itself, and compiled with JavaScript's `v` flag; what it may not take is left out."""
    if not isinstance(pattern, str) or "(?" in pattern or "\\Z" in pattern:
        return None
    return _CLASS.sub(_escape_class, pattern.removeprefix("^").removesuffix("$"))


def _escape_class(found: re.Match[str]) -> str:
    r"""A class of characters with `\` before what the `v` flag takes for syntax: `[^/\s-]` is `[^\/\s\-]`.

    Source: ECMAScript, ClassSetSyntaxCharacter.
    """
    parts = re.findall(r"\\.|.", found[2], re.DOTALL)
    escaped = []
    for at, one in enumerate(parts):
        outer = at == 0 or at == len(parts) - 1 or parts[at - 1] in _CLASSES
        escaped.append(f"\\{one}" if one in _SYNTAX or (one == "-" and outer) else one)
    return f"[{found[1]}{''.join(escaped)}]"


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, dict) else str(value)


def _say(problem: Any) -> str:
    told = str(problem)
    return told[:1].upper() + told[1:]
