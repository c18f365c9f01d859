"""The replay as a server on loopback, for providers whose vendor's SDK brings an HTTP client of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch

import httpx2

from tieline.sdk.testing.replay import Replay, UnforeseenError, content_of


@asynccontextmanager
async def serving(replay: Replay) -> AsyncIterator[str]:
    """Serve a replay; gives its address. Sleeping, by which such an SDK waits between tries, takes no time meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = httpx2.Request(self.command, address + self.path, headers=dict(self.headers.items()))
            try:
                reply = replay.answer(request, body)
            except UnforeseenError:
                self.send_error(599)
                return
            content = content_of(reply)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  named by http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        with patch.object(time, "sleep", lambda _seconds: None):
            yield address
    finally:
        server.shutdown()
        server.server_close()
