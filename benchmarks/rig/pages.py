"""The page server: a provider's API on loopback, in a process of its own, that costs next to nothing beside what reads it.

    python benchmarks/rig/pages.py

It prints its address. `/me` names the account, after the key that was sent, `/findings?cursor=` lists findings by cursor, `/set` says how from now on:
`records`, `page` (records in a page), `delay` (milliseconds before each answer) and `version` (of the list).
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from rig import findings

_MOST_READY = 100_000


@dataclass(frozen=True)
class Served:
    """What is listed, and how."""

    records: int = 50_000
    page: int = 1_000
    delay: int = 0
    version: int = 0


@dataclass(frozen=True)
class Pages:
    """A page server that runs."""

    url: str

    def set(self, served: Served) -> None:
        """Say what is listed from now on, and have it ready, so that nobody waits for its making."""
        with urllib.request.urlopen(f"{self.url}/set?{urlencode(vars(served))}") as answer:
            answer.read()


@contextlib.contextmanager
def serving() -> Iterator[Pages]:
    """A page server for as long as the block lasts."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Pages(process.stdout.readline().strip())
        finally:
            process.terminate()


class Server:
    """Answers requests over kept connections."""

    def __init__(self) -> None:
        self.served = Served()
        self.ready: dict[int, bytes] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes over one connection until its other end closes it."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                body = await self._respond(asked.split(b" ", 2)[1].decode(), _key(asked))
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                writer.writelines((head, body))
                await writer.drain()
        writer.close()

    async def _respond(self, target: str, key: str) -> bytes:
        path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query))
        if path == "/set":
            self.served = Served(**{name: int(value) for name, value in query.items()})
            self._prepare()
            return b"{}"
        await asyncio.sleep(self.served.delay / 1000)
        if path == "/me":
            return b'{"id": "%s", "name": "Benchmark"}' % key.encode()
        first = int(query.get("cursor", 0))
        return self.ready.get(first) or _page(self.served, first)

    def _prepare(self) -> None:
        """Have all pages ready, if they fit into memory."""
        count = self.served.records if self.served.records <= _MOST_READY else 0
        self.ready = {first: _page(self.served, first) for first in range(0, count, self.served.page)}


def _key(asked: bytes) -> str:
    """The key that was sent, by which accounts are told apart."""
    return asked.lower().partition(b"x-api-key: ")[2].partition(b"\r")[0].decode()


def _page(served: Served, first: int) -> bytes:
    """A page of findings, with the cursor of the next."""
    last = min(first + served.page, served.records)
    listed = b",".join(findings.encoded(one, findings.revision(one, served.version)) for one in range(first, last))
    return b'{"items":[%s],"next":%s}' % (listed, b'"%d"' % last if last < served.records else b"null")


async def main() -> None:
    """Serve until terminated."""
    server = await asyncio.start_server(Server().answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
