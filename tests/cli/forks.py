"""A process that has imported Tieline once and forks itself for each command, since importing takes longer than most tests.

It reads one request a line: `{"folder", "arguments", "environment"}`. In the folder it finds `stdin` and leaves `stdout`, `stderr`,
`pid`, and at the end `code`: what the shell would see of `python -m tieline ARGUMENTS`.
"""

import gc
import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

import fastapi  # noqa: F401
import orjson  # noqa: F401
import rich.live
import rich.table  # noqa: F401
import uvicorn  # noqa: F401

import tieline.cli
import tieline.engine
import tieline.flows.materialize
import tieline.flows.runs
import tieline.flows.views
import tieline.settings
import tieline.store.embedded
import tieline.store.migrate
from tieline.app import main
from tieline.catalog import load_catalog


def carry_out(folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
    """Be the command, and never return."""
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name, mode in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_WRONLY), (2, "stderr", os.O_WRONLY)):
        os.dup2(os.open(folder / name, mode | os.O_CREAT, 0o600), descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  for as long as the process lives
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.argv = ["tieline", *arguments]
    code = 70
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 71
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def supervise(folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
    """Fork the command, and write down how it ended."""
    child = os.fork()
    if child == 0:
        carry_out(folder, arguments, environment)
    write(folder / "pid", child)
    _, status = os.waitpid(child, 0)
    write(folder / "code", os.waitstatus_to_exitcode(status))
    os._exit(0)


def write(path: Path, number: int) -> None:
    """Write a file that is whole as soon as it is seen."""
    draft = path.with_suffix(".new")
    draft.write_text(str(number))
    draft.rename(path)


def serve() -> None:
    """Answer requests until standard input ends."""
    load_catalog()
    for module in pkgutil.iter_modules(tieline.cli.__path__):
        importlib.import_module(f"tieline.cli.{module.name}")
    gc.freeze()  # else the first collection in each child would copy every page
    supervisors = []
    while line := sys.stdin.readline():
        request = json.loads(line)
        supervisor = os.fork()
        if supervisor == 0:
            supervise(Path(request["folder"]), request["arguments"], request["environment"])
        supervisors.append(supervisor)
    for one in supervisors:
        os.waitpid(one, 0)


if __name__ == "__main__":
    serve()
