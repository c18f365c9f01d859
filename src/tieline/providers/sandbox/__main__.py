"""`python -m tieline.providers.sandbox`: serve the sandbox on 127.0.0.1 and say where in one line of JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from datetime import UTC, datetime

import uvicorn

from tieline.providers.sandbox.founding import MINIMUM_PEOPLE
from tieline.providers.sandbox.server import SCOPES, Setup, create_app


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM, SIGINT or, if asked, the end of standard input."""
    options = _read_options(arguments)
    given = {name: value for name, value in vars(options).items() if value is not None}
    port, until_stdin_closes = given.pop("port"), given.pop("until_stdin_closes")
    setup = Setup(**given)
    app = create_app(setup)
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
        config.timeout_graceful_shutdown = 2  # a scripted delay must not hold up the end
        server = uvicorn.Server(config)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again once it has closed
        if until_stdin_closes:
            threading.Thread(target=_stop_at_end_of_input, args=(server,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        sys.stdout.write(json.dumps({"url": url, "token": setup.token}) + "\n")
        sys.stdout.flush()
        server.run(sockets=[listener])


def _stop_at_end_of_input(server: uvicorn.Server) -> None:
    # os.read takes no lock of the interpreter's, so a thread still waiting here does not disturb its end.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.should_exit = True


def _read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tieline.providers.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--people", type=int, help="accounts in the company (2400)")
    parser.add_argument("--seed", type=int, help="the same seed and date give the same company (7)")
    parser.add_argument("--as-of", type=_read_date, metavar="DATE", help="the company's date (today, UTC)")
    parser.add_argument("--token", help="the API token (random)")
    parser.add_argument("--scopes", type=_read_scopes, metavar="A,B", help=f"the token's scopes ({','.join(SCOPES)})")
    parser.add_argument("--rate-limit", type=int, help="requests per window (600)")
    parser.add_argument("--rate-window", type=float, metavar="SECONDS", help="length of the window (10)")
    parser.add_argument("--until-stdin-closes", action="store_true", help="also end with the process that started it")
    options = parser.parse_args(arguments)
    if options.people is not None and options.people < MINIMUM_PEOPLE:
        parser.error(f"--people must be at least {MINIMUM_PEOPLE}")
    return options


def _read_date(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _read_scopes(text: str) -> tuple[str, ...]:
    unknown = set(scopes := tuple(filter(None, text.split(",")))) - set(SCOPES)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown scopes: {', '.join(sorted(unknown))}")
    return scopes


if __name__ == "__main__":
    main()
