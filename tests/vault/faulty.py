"""A server on the loopback that stands before another one and, when told to, answers in its place: or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Said:
    """An answer; `None` for the status cuts the connection."""

    status: int | None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def say(status: int, content: Any) -> Said:
    """An answer in JSON."""
    return Said(status, json.dumps(content).encode())


Answer = Callable[[Asked], Said | None]


@dataclass
class Front:
    """The server. What `instead` answers is said in place of the other's words, which `change` may alter."""

    url: str = ""
    behind: str = ""
    asked: list[Asked] = field(default_factory=list)
    instead: Answer = lambda _: None
    change: Callable[[Said], Said] = lambda said: said
    gone: threading.Event = field(default_factory=threading.Event)

    def hang(self) -> None:
        """Answer nothing from now on."""

        def wait(_: Asked) -> Said:
            self.gone.wait(20)
            return Said(None)

        self.instead = wait

    def times(self, count: int, answer: Answer) -> None:
        """Answer so often in place of the other, and then no more."""
        left = [count]

        def instead(asked: Asked) -> Said | None:
            left[0] -= 1
            return answer(asked) if left[0] >= 0 else None

        self.instead = instead


@contextmanager
def standing_before(behind: str | Answer) -> Iterator[Front]:
    """Stand before a server, or a function that plays one."""
    front = Front(behind=behind if isinstance(behind, str) else "")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers), body)
            front.asked.append(asked)
            said = front.instead(asked)
            if said is None:
                said = front.change(_forward(behind, asked) if isinstance(behind, str) else behind(asked) or Said(404))
            if said.status is None:
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815  as its base class names them

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    front.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield front
    finally:
        front.gone.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _forward(url: str, asked: Asked) -> Said:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        kept = {name: value for name, value in asked.headers.items() if name.lower() not in {"host", "connection"}}
        connection.request(asked.method, asked.path, asked.body, kept)
        answer = connection.getresponse()
        return Said(answer.status, answer.read(), {"Content-Type": answer.headers.get("Content-Type") or ""})
    finally:
        connection.close()
