"""The `tieline` command: it opens Tieline in its own process, so it works with no server running and beside one.

`run` is all that the composition root calls. Modules here import little at their top, so that `tieline --help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import click

from tieline.access.actor import acting_as
from tieline.cli import exits
from tieline.cli.session import Reached, Running, Session
from tieline.errors import SetupError, TielineError


def run(
    *,
    read_settings: Callable[..., Any],
    describe_settings: Callable[[Any], list[dict[str, Any]]],
    running: Callable[..., AbstractAsyncContextManager[Running]],
    reaching: Callable[..., AbstractAsyncContextManager[Reached]],
) -> None:
    """Carry out the command line and exit with one of the codes of `exits`; no traceback reaches the user."""
    from tieline.cli.group import root

    session, stdout = Session(read_settings, describe_settings, running, reaching), sys.stdout
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a name may not fit the terminal's encoding
    try:
        _refuse_undecodable(sys.argv[1:])
        with acting_as(f"cli:{_account()}"):
            code = root.main(prog_name="tieline", obj=session, standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        if not _has_reader_left(error, stdout):
            raise
        sys.stderr.close()  # the interpreter must not complain at the end
        code = exits.FINE
    except Exception as error:
        if session.debugging:
            raise
        code = _tell(session, error)
    except KeyboardInterrupt:
        code = exits.INTERRUPTED
    sys.exit(code or exits.FINE)


def _has_reader_left(error: BaseException, stdout: Any) -> bool:
    """Whether whoever read our output has left; of that rich makes an end of the process, and click another with a stdout of its own."""
    return sys.stdout is not stdout or any(isinstance(one, BrokenPipeError) for one in (error, error.__context__))


def _account() -> str:
    """The name of the account that runs this, or its number where it has none."""
    try:
        import pwd
    except ImportError:  # Windows
        import getpass

        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _refuse_undecodable(arguments: list[str]) -> None:
    """Bytes that are no UTF-8 reach us as lone surrogates, which no text in the database can hold."""
    for one in arguments:
        try:
            one.encode()
        except UnicodeEncodeError:
            raise click.UsageError("The command line is not valid UTF-8") from None


def _tell(session: Session, error: Exception) -> int:
    """Say on standard error what went wrong and what to do; the exit code that goes with it."""
    from tieline.cli.show import show_problem

    json = session.json or "--json" in sys.argv[1:]  # a command line that is wrong was not read to its end
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, TielineError | click.ClickException | click.Abort):
        from tieline.store.db import explain

        error = explain(error) or error
    match error:
        case click.UsageError():
            where = f"`{error.ctx.command_path} --help` shows what there is." if error.ctx else ""
            show_problem("usage", error.format_message(), getattr(error, "advice", where), json=json)
            return exits.USAGE
        case click.Abort():
            return exits.INTERRUPTED
        case click.ClickException():
            show_problem("usage", error.format_message(), "", json=json)
            return exits.USAGE
        case TielineError():
            show_problem(error.slug, error.message, error.what_to_do, error.details.get("fields"), json=json)
            return exits.SETUP if isinstance(error, SetupError) else exits.FAILED
        case OSError() if error.filename:
            advice = "Make it usable for the account that runs Tieline, or name another."
            show_problem("setup", f"{error.filename} cannot be used: {error.strerror}", advice, json=json)
            return exits.SETUP
        case _:
            told = f"Something unexpected went wrong ({type(error).__name__})"
            show_problem("internal", told, "Run it again with --log-level debug and report what it says.", json=json)
            return exits.FAILED
