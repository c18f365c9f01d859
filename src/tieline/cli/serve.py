"""`tieline serve`: the console with the API, and the workers, in one process or one of the two."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from tieline.cli.progress import working
from tieline.cli.session import Command, Session, current
from tieline.cli.show import say
from tieline.errors import SetupError

if TYPE_CHECKING:
    from tieline.cli.session import Running

_log = logging.getLogger(__name__)

_FIRST_HANDED_OVER = 3
"""The descriptor of the first socket that is handed over."""


metrics_port = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Also show /metrics on a port of its own; 0 takes any free port.",
)


@click.command("serve", cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 is all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes any free port.")
@click.option(
    "--drain",
    type=click.FloatRange(0, 60),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="At SIGTERM: how long /readyz says 503 before the last connections are closed.",
)
@click.option(
    "--role",
    type=click.Choice(["all", "api", "worker"]),
    default="all",
    show_default=True,
    help="What to run here; any number of processes share one database.",
)
@metrics_port
def command(host: str, port: int, drain: float, role: str, metrics_port: int | None) -> None:
    """Run the console, the REST API on /v1 (its documentation on /docs) and the workers, until SIGTERM or Ctrl-C.

    Started with a socket that is open already (systemd's LISTEN_FDS), it listens on that one, and --host and --port count for nothing.
    """
    settings = read(current(), metrics_port)
    if role == "worker":
        asyncio.run(work(current(), settings))
        return
    given = handed_over(os.environ)
    with given or listening(host, port) as listener:
        asyncio.run(serve(current(), settings, listener, workers=role == "all", drain=drain, shared=given is not None))


async def serve(
    session: Session, settings: Any, listener: socket.socket, *, workers: bool, drain: float = 0, shared: bool = False
) -> None:
    """Answer requests, and carry out what is due if `workers`, until a signal says to stop.

    SIGTERM loses no request: the process says that it is not ready, takes no more connections if others share its socket, closes
    each connection with its next answer, and after `drain` seconds those that have nothing to say. Meanwhile the workers end.
    """
    from tieline.cli.server import quiet_server

    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        tieline = await stack.enter_async_context(session.open(settings, role="server"))
        await stack.enter_async_context(_metrics_served(tieline))
        api = tieline.api()
        server = quiet_server(api)

        def stop(number: int) -> None:
            server.force_exit = api.state.stopping  # the second time it does not wait for requests any more
            server.should_exit = server.force_exit or number == signal.SIGINT  # a person at the keyboard waits
            api.state.stopping = True
            stopping.set()

        async def wind_down() -> None:
            await stopping.wait()
            await server.drain(drain, shared=shared)

        with on_signal(stop):
            await _greet(tieline, listener)
            winding = asyncio.create_task(wind_down())
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            if workers:
                await stack.enter_async_context(working(tieline, role="server", until=stopping, tell=_log.info))
            await serving
            winding.cancel()


async def work(session: Session, settings: Any, stop: asyncio.Event | None = None) -> None:
    """Carry out what is due until a signal, or whoever sets `stop`, says to stop."""
    stop = stop or asyncio.Event()
    async with session.open(settings, role="worker") as tieline:
        with on_signal(lambda _: stop.set()):
            async with _metrics_served(tieline) as shown, working(tieline, role="worker", until=stop, tell=_log.info):
                say(f"Working; {shown or 'nothing is listened on'}. Ctrl-C ends it.")
                await stop.wait()


def read(session: Session, port: int | None) -> Any:
    """The settings, from which the log is started; the command line's port wins."""
    given = {} if port is None else {"metrics_port": port}
    settings = session.read_settings(**given)
    session.start_log(settings.log_level)
    return settings


@asynccontextmanager
async def _metrics_served(tieline: Running) -> AsyncIterator[str]:
    """`/metrics` on a port of its own, if the settings name one, while the block runs; where that is."""
    settings = tieline.settings
    if settings.metrics_port is None:
        yield ""
        return
    from tieline.cli.server import quiet_server

    with listening(settings.metrics_host, settings.metrics_port, option="--metrics-port") as listener:
        server = quiet_server(tieline.metrics())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"metrics are on {_address(listener)}/metrics"
        finally:
            server.should_exit = True
            await serving


async def _greet(tieline: Running, listener: socket.socket) -> None:
    """Say where it is, and on a first start how to get in."""
    from tieline.store.api_keys import list_api_keys
    from tieline.store.listing import Paging

    port, here = listener.getsockname()[1], _address(listener)
    say(f"Tieline answers on {here}; the API is documented on {here}/docs. Ctrl-C ends it.")
    public = urlsplit(tieline.parts.public_url)
    elsewhere = public.scheme == "http" and (public.port or 80) != port
    # Passkeys and cookies belong to the public address: whoever begins at another name would have to begin again.
    await _let_in(tieline, here if elsewhere else tieline.parts.public_url)
    if elsewhere:
        say(
            f"Who signs in at a provider is sent back to {tieline.parts.public_url}: set TIELINE_PUBLIC_URL to use that."
        )
    async with tieline.parts.db.work(tieline.organization.id) as work:
        some = (await list_api_keys(work, Paging(limit=1))).items
    if not some:
        say(
            "There is no API key yet: `tieline api-keys create`, in another terminal with the same settings, makes one."
        )


async def _let_in(tieline: Running, base: str) -> None:
    """While nobody has signed in, show the link that makes the first member."""
    from tieline.flows.sign_in import make_first_link

    link = await make_first_link(tieline.parts, tieline.organization.id)
    if link:
        say(
            f"Nobody has signed in yet. Open this link within 15 minutes to be the first; it works once:\n{link.url(base)}"
        )


def handed_over(environment: Mapping[str, str]) -> socket.socket | None:
    """The open socket that whoever started this process hands over (https://www.freedesktop.org/software/systemd/man/sd_listen_fds.html).

    Several processes may listen on it, one after the other or side by side: nobody who connects while one ends is refused.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()) or not environment.get("LISTEN_FDS", "").isdecimal():
        return None
    if environment["LISTEN_FDS"] != "1":
        raise SetupError(f"{environment['LISTEN_FDS']} sockets were handed over", advice="Hand over exactly one.")
    listener = socket.socket(fileno=_FIRST_HANDED_OVER)
    if listener.family not in (socket.AF_INET, socket.AF_INET6) or listener.type != socket.SOCK_STREAM:
        raise SetupError(
            "The socket that was handed over is not one of TCP", advice="Hand over a stream of IPv4 or IPv6."
        )
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for the reason told in `listening`
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def listening(host: str, port: int, *, option: str = "--port") -> Iterator[socket.socket]:
    """The socket to serve on, taken first of all: a port that is taken must not cost a start. Raises `SetupError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
        # Inherited by each connection. asyncio sets it only on sockets that name their protocol, which this one does not; without it
        # an answer's body waits 40 ms for the other side to acknowledge its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = f"Another program listens there; end it, or choose another port: {option} {port + 1}."
            raise SetupError(f"Port {port} on {host} is taken", advice=advice) from None
        reason = error.strerror or type(error).__name__
        raise SetupError(
            f"Cannot listen on {host} port {port}: {reason}", advice=f"Choose another {option}, or another address."
        ) from None
    with listener:
        yield listener


@contextmanager
def on_signal(stop: Callable[[int], None]) -> Iterator[None]:
    """Call `stop` with the signal at SIGTERM and Ctrl-C instead of ending at once."""
    loop = asyncio.get_running_loop()
    former = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    for one in former:
        signal.signal(one, lambda number, _: loop.call_soon_threadsafe(stop, number))
    try:
        yield
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)
