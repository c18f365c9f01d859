"""The declaration of a provider: data first, code only where an API needs it.

A `Provider` is written at module level of `providers/<slug>/provider.py`, its operations and checks hang from it by method or decorator.
Ids of operations and checks are persisted, so they are public: renaming one is a breaking change.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from tieline.errors import DeclarationError, Invalid, Unexpected
from tieline.sdk.auth import Auth
from tieline.sdk.checks import Check, Predicate, check
from tieline.sdk.context import Context
from tieline.sdk.entities import MAX_KEY, Entity, Severity
from tieline.sdk.limits import RateHeaders
from tieline.sdk.mapping import Mapping
from tieline.sdk.paginators import Paginator

O = TypeVar("O", bound="Options")  # noqa: E741  O for options, as in Context[O]
Reader = Callable[[Context[Any]], AsyncIterator[Any]]
Into = Mapping[Any] | Sequence[Mapping[Any]]

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Options(BaseModel):
    """The non-secret choices of a connection; a provider with choices subclasses it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


@dataclass(frozen=True)
class Identified:
    """The account at the provider that a credential opens: the outcome of the test call.

    `scopes` are the permissions that the credential is known to have, or `None` when the provider does not tell. `expires_at`
    is when the credential ends, if the provider tells. `remarks` say what the credential cannot do, in words for the person.
    """

    id: str
    name: str
    scopes: frozenset[str] | None = None
    expires_at: datetime | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises `ValueError` for an id by which no account can be told from another."""
        if not 0 < len(self.id) <= MAX_KEY:
            raise ValueError(f"an account's id has 1 to {MAX_KEY} characters")


@dataclass(frozen=True)
class Identity:
    """Where the test call finds the account: a path, and dotted names in its answer."""

    path: str
    id: str
    name: str
    scopes: str | None = None

    async def __call__(self, ctx: Context[Any]) -> Identified:
        """Make the test call; raises `Unexpected` if its answer does not name the account."""
        answer = await ctx.request("GET", self.path)
        try:
            return self._read(answer.json)
        except (KeyError, TypeError, IndexError):
            wanted = f"{self.id!r} and {self.name!r}"
            raise answer.fail(Unexpected, f"does not say whose account this is by {wanted} ({answer.asked})") from None

    def _read(self, told: Any) -> Identified:
        number, name = _dig(told, self.id), _dig(told, self.name)
        if not isinstance(number, str | int) or not isinstance(name, str | int):
            raise TypeError("an account is told by text or numbers")
        scopes = _dig(told, self.scopes) if self.scopes else None
        if isinstance(scopes, str):  # separated by spaces, as in OAuth (RFC 6749, section 3.3)
            scopes = scopes.split()
        return Identified(id=str(number), name=str(name), scopes=None if scopes is None else frozenset(scopes))


@dataclass(frozen=True)
class Operation:
    """Something that a provider can do; a sync, for now: it reads records and says what each becomes."""

    id: str
    title: str
    into: tuple[Mapping[Any], ...]
    every: timedelta
    needs: frozenset[str]
    read: Reader = field(repr=False)
    kind: str = "sync"

    @property
    def kinds(self) -> frozenset[str]:
        """The entity kinds that it produces."""
        return frozenset(mapping.entity.kind for mapping in self.into)

    def mapping_for(self, variant: str | None) -> Mapping[Any] | None:
        """The mapping of a record's variant."""
        return next((mapping for mapping in self.into if mapping.variant == variant), None)


@dataclass
class Provider(Generic[O]):
    """An outside service.

    `auth` is one way to authenticate or several, the recommended one first. `hosts` names the vendor's addresses, each of which
    an operator may replace (`TIELINE_HOST_<PROVIDER>_<NAME>`). `base_url`, like every URL of `auth`, may hold names of hosts and
    options in braces (`{org_url}/api/v1`); `origins` are further addresses of the same API. An option that is given wins over a host of the same name. `identity` is the test call
    that every credential must pass before it is saved. `rate` names the vendor's rate headers. `app_url` is the page where an
    OAuth app is made, `app_help` how; `remains` says what a person must still do at the provider after disconnecting.
    """

    slug: str
    name: str
    category: str
    base_url: str
    auth: Auth | Sequence[Auth]
    identity: Callable[[Context[Any]], Awaitable[Identified]]
    options: type[Options] = Options
    docs_url: str | None = None
    description: str = ""
    hosts: Map[str, str] = field(default_factory=dict)
    origins: Sequence[str] = ()
    headers: Map[str, str] = field(default_factory=dict)
    app_url: str | None = None
    app_help: str = ""
    remains: str = ""
    rate: RateHeaders = field(default_factory=RateHeaders)
    operations: list[Operation] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def modes(self) -> tuple[Auth, ...]:
        """The ways to authenticate, the recommended one first."""
        return tuple(self.auth) if isinstance(self.auth, Sequence) else (self.auth,)

    def mode(self, slot: str | None = None) -> Auth:
        """The way that fills a slot, by default the recommended one; raises `Invalid` naming those there are."""
        if slot is None:
            return self.modes[0]
        for auth in self.modes:
            if auth.slot == slot:
                return auth
        known = ", ".join(auth.slot for auth in self.modes)
        raise Invalid(f"{self.name} cannot be connected by {slot[:60]!r}", advice=f"Its ways are: {known}.")

    def listing(
        self,
        id: str,
        path: str,
        *,
        into: Mapping[Any],
        every: str,
        items: str | None = None,
        pages: Paginator | None = None,
        needs: Sequence[str] = (),
        params: Map[str, Any] | None = None,
    ) -> Operation:
        """An operation that reads one paged list, declared without code; `items` is the dotted name of the list."""
        if pages is not None and (isinstance(pages, type) or not hasattr(pages, "request")):
            raise DeclarationError("bad-pages", f"{id}: pages must be a value such as Cursor('after'), not {pages!r}")

        async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
            async for record in ctx.listed(path, pages=pages, items=items, params=params):
                yield record

        return self._add(Operation(id, _title(id), (into,), _period(every), _needs(needs), read))

    def sync(self, into: Into, *, every: str, needs: Sequence[str] = ()) -> Callable[[Reader], Operation]:
        """An operation written as an async generator of records; its name is the id, its docstring's first line the title."""

        def declare(read: Reader) -> Operation:
            title = inspect.cleandoc(read.__doc__ or "").partition("\n")[0].rstrip(".")
            name = getattr(read, "__name__", "")
            mappings = tuple(into) if isinstance(into, Sequence) else (into,)
            return self._add(Operation(name, title or _title(name), mappings, _period(every), _needs(needs), read))

        return declare

    def check(
        self,
        kind: type[Entity],
        *,
        severity: Severity,
        controls: Sequence[str],
        when: Callable[[Any], Any] = lambda _: True,
    ) -> Callable[[Predicate], Check]:
        """A check that holds for this provider alone; its id begins with the provider's slug."""

        def declare(predicate: Predicate) -> Check:
            made = check(kind, severity=severity, controls=controls, when=when, provider=self.slug)(predicate)
            self.checks.append(made)
            return made

        return declare

    def _add(self, operation: Operation) -> Operation:
        self.operations.append(operation)
        return operation


def _title(id: str) -> str:
    return id.replace("_", " ").capitalize()


def _needs(given: Sequence[str]) -> frozenset[str]:
    if isinstance(given, str):  # or each letter would be a permission
        raise DeclarationError("bad-needs", f"needs must be a list such as [{given!r}], not one text")
    return frozenset(given)


def _period(text: str) -> timedelta:
    """`15m`, `6h` or `1d` as a length of time."""
    matched = re.fullmatch(r"([1-9]\d{0,3})([mhd])", str(text))
    if not matched:
        raise DeclarationError("bad-period", f"{text!r} is not a period such as 15m, 6h or 1d")
    return timedelta(**{_UNITS[matched[2]]: int(matched[1])})


def _dig(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[name]
    return value
