"""A session: one use of the command, from the options that all commands share to an open Tieline."""

from __future__ import annotations

import functools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import click

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.applications import Starlette

    from tieline.engine import Engine
    from tieline.flows.parts import Parts
    from tieline.store.db import Work
    from tieline.store.organizations import Organization
    from tieline.vault import ComposedKeys, LocalKeyRing

P = ParamSpec("P")
T = TypeVar("T")

LEVELS = ("debug", "info", "warning", "error")


class Running(Protocol):
    """A running Tieline, as the composition root hands it over."""

    @property
    def settings(self) -> Any: ...
    @property
    def parts(self) -> Parts: ...
    @property
    def ring(self) -> LocalKeyRing: ...
    @property
    def organization(self) -> Organization: ...
    def engine(self, role: str = ...) -> Engine: ...
    def api(self) -> FastAPI: ...
    def metrics(self) -> Starlette: ...


class Reached(Protocol):
    """A database and keys in which nothing was made or migrated, as the composition root hands them over."""

    @property
    def url(self) -> str: ...
    @property
    def parts(self) -> Parts: ...
    @property
    def keys(self) -> ComposedKeys: ...


@dataclass
class Session:
    """What the command line says for all commands, and how to open Tieline."""

    read_settings: Callable[..., Any]
    describe_settings: Callable[[Any], list[dict[str, Any]]]
    running: Callable[..., AbstractAsyncContextManager[Running]]
    reaching: Callable[..., AbstractAsyncContextManager[Reached]]
    org: str = "default"
    json: bool = False
    log_level: str | None = None

    @property
    def debugging(self) -> bool:
        """Whether a traceback is wanted."""
        return self.log_level == "debug"

    def start_log(self, level: str = "warning") -> None:
        """Log to standard error, at this level unless the command line names another."""
        from tieline import log

        log.set_up(self.log_level or level)

    @asynccontextmanager
    async def open(self, settings: Any = None, *, role: str = "command") -> AsyncIterator[Running]:
        """Tieline as the environment sets it up, or as `settings` say; `role` says what the process is for."""
        async with self.running(settings or self.read_settings(), role=role) as tieline:
            yield tieline


@dataclass(frozen=True)
class Opened:
    """An open Tieline and the organization that the command is about."""

    session: Session
    tieline: Running
    org: Organization

    @property
    def parts(self) -> Parts:
        """The parts of the running Tieline."""
        return self.tieline.parts

    def work(self) -> AbstractAsyncContextManager[Work]:
        """A transaction in the organization's rows."""
        return self.parts.db.work(self.org.id)


def run_async(body: Awaitable[T]) -> T:
    """Run to the end; SIGTERM unwinds it as Ctrl-C does, so that an embedded database is not left running."""
    import asyncio

    async def unwinding() -> T:
        task = asyncio.current_task()
        if task:
            with suppress(NotImplementedError):  # Windows has no such handlers
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await body

    try:
        return asyncio.run(unwinding())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def opened(body: Callable[Concatenate[Opened, P], Awaitable[int | None]]) -> Callable[P, None]:
    """Make a command of a coroutine that needs an open Tieline; what it returns is the exit code."""

    @functools.wraps(body)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        session = current()
        session.start_log()
        if code := run_async(_within(session, lambda here: body(here, *args, **kwargs))):
            click.get_current_context().exit(code)

    return command


async def _within(session: Session, body: Callable[[Opened], Awaitable[T]]) -> T:
    async with open_organization(session) as here:
        return await body(here)


@asynccontextmanager
async def open_organization(session: Session) -> AsyncIterator[Opened]:
    """Tieline and the organization that the command line names."""
    from tieline.store.organizations import find_organization

    async with session.open() as tieline:
        async with tieline.parts.db.system() as work:
            org = await find_organization(work, session.org)
        yield Opened(session, tieline, org)


def current() -> Session:
    """The session of the command that is being carried out."""
    session = click.get_current_context().find_object(Session)
    if session is None:
        raise RuntimeError("the command runs outside of `tieline.cli.run`")
    return session


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a shared option wherever on the command line it was given."""
    session = context.find_object(Session)
    if session and value is not None:
        setattr(session, parameter.name or "", value)


def shared_options() -> list[click.Parameter]:
    """`--org`, `--json` and `--log-level`, which every command takes before and after its name."""
    kept: dict[str, Any] = {"expose_value": False, "callback": _remember, "is_eager": True, "default": None}
    return [
        click.Option(["--org"], metavar="SLUG", help="The organization to work in [default: default].", **kept),
        click.Option(["--json"], is_flag=True, help="Write JSON for programs, errors too.", **kept),
        click.Option(["--log-level"], type=click.Choice(LEVELS), help="What to log on standard error.", **kept),
    ]


class Command(click.Command):
    """A command that takes the shared options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += shared_options()


class NounGroup(click.Group):
    """The commands about one noun; without a command's name it lists: `tieline runs --json` is `tieline runs list --json`."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += shared_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in `list` where no command is named."""
        rest = list(args)
        while rest and rest[0].split("=")[0] in {"--org", "--json", "--log-level"}:
            rest = rest[1:] if rest[0] == "--json" or "=" in rest[0] else rest[2:]
        if "list" in self.commands and (not rest or (rest[0].startswith("-") and rest[0] != "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)
