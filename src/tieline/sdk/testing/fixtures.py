"""The fixtures of a provider: cases, recorded answers and the entities they must become, read from its folder.

`fixtures/case.json` says how a connection is made, `fixtures/answers.json` what the vendor answers, `fixtures/entities.json` what comes
of it. A further way to authenticate has a `case.<name>.json`, and if need be an `answers.<name>.json` of its own beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAIN = "case"
"""The name of the case that every provider has."""

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
"""The time at which fixtures are read, unless a case says otherwise."""


class NotConforming(AssertionError):
    """A provider does not keep a rule; the message says which, where, and what was expected."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(_Strict):
    """The account that the test call must name; `scopes` only where the provider tells them."""

    id: str
    name: str
    scopes: tuple[str, ...] | None = None


class Failure(_Strict):
    """How a vendor words a failure: a status, headers and a body, as JSON or as text."""

    status: int = 200
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    text: str | None = None


class Case(_Strict):
    """How one connection is made, and what its vendor does in its own way.

    `failures` replaces the answer that stands for 401, 403, 429 or 503; `errors` says which error a status becomes if not the usual
    one: under `"403"`, `"members.403"` or `"identity.403"`, with `null` for none, and under `"members"` how
    that operation ends when this case's account or credential does not have it. `optional` names asks whose failure a reading may
    outlive. `{private_key}` in a credential or an app stands for an RSA key that is made for the run. `unpaged` names operations whose lists the vendor gives in one page. `replay` is `server` for a provider that uses
    its vendor's SDK: `{replay}` in an option then stands for the address of a server on loopback.
    """

    slot: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    credential: dict[str, Any]
    account: Told
    app: dict[str, Any] | None = None
    now: datetime = NOW
    replay: Literal["transport", "server"] = "transport"
    failures: dict[str, Failure] = Field(default_factory=dict)
    errors: dict[str, str | None] = Field(default_factory=dict)
    optional: tuple[str, ...] = ()
    unpaged: tuple[str, ...] = ()


class Recorded(_Strict):
    """One recorded answer and what it answers; `send` is a part of the JSON or form that must have been sent."""

    ask: str
    status: int = 200
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    text: str | None = None
    send: dict[str, Any] | None = None


class Example(_Strict):
    """A small entity on which a check of the provider's own must give `outcome`; `related` is by the parameter's name."""

    check: str
    outcome: Literal["pass", "fail", "unknown"]
    entity: dict[str, Any]
    related: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Fixtures:
    """All fixtures of one provider, as they stand in its folder."""

    folder: Path
    cases: dict[str, Case]
    answers: dict[str, list[Recorded]] = field(repr=False)
    examples: list[Example] = field(repr=False)

    def entities(self, case: str) -> Any:
        """What a case's readings must give, by operation; `None` if that was not written down yet."""
        file = self.entities_file(case)
        return _read(file) if file.exists() else None

    def entities_file(self, case: str) -> Path:
        """Where they are kept: cases share one file unless one has its own."""
        own = _beside(self.folder, "entities", case)
        return own if own.exists() else self.folder / "entities.json"


def read_fixtures(provider_folder: Path) -> Fixtures:
    """Read the fixtures of a provider; raises `NotConforming` naming the file that is missing or wrong."""
    folder = provider_folder / "fixtures"
    if not (folder / "case.json").exists():
        raise NotConforming(f"{folder} has no case.json: `tieline provider record` writes fixtures")
    names = [MAIN, *(_middle(file) for file in sorted(folder.glob("case.*.json")))]
    shared = _list(folder / "answers.json", Recorded)
    return Fixtures(
        folder=folder,
        cases={
            name: _parse(_beside(folder, "case", name), Case, _read(_beside(folder, "case", name))) for name in names
        },
        answers={
            name: _list(_beside(folder, "answers", name), Recorded) + shared if name != MAIN else shared
            for name in names
        },
        examples=_list(folder / "checks.json", Example),
    )


def write_json(file: Path, value: Any) -> None:
    """Write fixtures so that people can read and compare them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _beside(folder: Path, what: str, case: str) -> Path:
    return folder / (f"{what}.json" if case == MAIN else f"{what}.{case}.json")


def _middle(file: Path) -> str:
    return file.name.removeprefix("case.").removesuffix(".json")


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotConforming(f"{file} is not JSON: {error}") from None


def _list(file: Path, model: type[Any]) -> list[Any]:
    if not file.exists():
        return []
    content = _read(file)
    if not isinstance(content, list):
        raise NotConforming(f"{file} is not a list")
    return [_parse(file, model, one) for one in content]


def _parse(file: Path, model: type[Any], value: Any) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise NotConforming(f"{file}: {error}") from None
