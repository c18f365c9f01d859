"""Replay: a transport that answers from recorded answers, and from nothing else.

A request is matched by method, path and the whole query, whatever the order; of several answers to the same ask the one whose
`send` says most about the body is given, and those that say the same are given in turn. A request that was not foreseen fails
at once, and is remembered, so that a provider that swallows the failure is found out all the same.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import httpx2

from tieline.sdk.testing.fixtures import Failure, NotConforming, Recorded

Reply = Recorded | Failure
Key = tuple[str, str, tuple[tuple[str, str], ...]]


class UnforeseenError(Exception):
    """Something was asked that no recorded answer is for."""


@dataclass(frozen=True)
class Answerable:
    """A recorded answer with what it answers, taken apart."""

    key: Key
    recorded: Recorded
    number: int

    def fits(self, sent: Any) -> bool:
        """Whether the body that was sent has all that is asked of it."""
        return self.recorded.send is None or _holds(sent, self.recorded.send)

    @property
    def label(self) -> str:
        """The ask, with what had to be sent."""
        sent = self.recorded.send
        return self.recorded.ask if sent is None else f"{self.recorded.ask} {json.dumps(sent, sort_keys=True)}"

    @property
    def weight(self) -> int:
        """How much it says about the body."""
        return _leaves(self.recorded.send)


@dataclass
class Replay(httpx2.AsyncBaseTransport):
    """The recorded answers of one reading.

    `spoil(label, request)` may put another answer in the place of the recorded one; a label is the ask with what had to be sent. `secrets` are left out of queries. After use,
    `used` holds the numbers of the answers that were given, `asked` the labels in order, `unforeseen` what could not be answered.
    """

    answers: Sequence[Recorded]
    base_url: str = ""
    secrets: frozenset[str] = frozenset()
    spoil: Callable[[str, httpx2.Request], Reply | None] = lambda _ask, _request: None
    used: set[int] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    unforeseen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._given: Counter[int] = Counter()
        self._spoiling = True
        self.begin(self.base_url, self.secrets)

    def begin(self, base_url: str, secrets: frozenset[str] = frozenset()) -> None:
        """Say what asks without a host are relative to, and which values are secret."""
        self.base_url, self.secrets = base_url, secrets
        self._known = [
            Answerable(key_of(*one.ask.partition(" ")[::2], self.base_url, self.secrets), one, number)
            for number, one in enumerate(self.answers)
        ]

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Spoil nothing, and note nothing as asked, for as long as it lasts."""
        self._spoiling = False
        try:
            yield
        finally:
            self._spoiling = True

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request."""
        reply = self.answer(request, await request.aread())
        content = content_of(reply)
        kind = {} if "content-type" in map(str.lower, reply.headers) else {"content-type": "application/json"}
        return httpx2.Response(reply.status, headers=kind | reply.headers, stream=httpx2.ByteStream(content))

    def answer(self, request: httpx2.Request, body: bytes) -> Reply:
        """The answer to a request; raises `UnforeseenError` if there is none."""
        key = key_of(request.method, str(request.url), self.base_url, self.secrets)
        sent = _sent(body)
        found = [one for one in self._known if one.key == key and one.fits(sent)]
        if not found:
            told = self._unforeseen(key, sent)
            self.unforeseen.append(told)
            raise UnforeseenError(told)
        best = max(one.weight for one in found)
        alike = [one for one in found if one.weight == best]
        turn = self._given[alike[0].number]
        chosen = alike[min(turn, len(alike) - 1)]
        if self._spoiling and (spoilt := self.spoil(chosen.label, request)):
            self.asked.append(chosen.label)
            return spoilt
        self._given[alike[0].number] += 1
        self.used.add(chosen.number)
        if self._spoiling:
            self.asked.append(chosen.label)
        return chosen.recorded

    def _unforeseen(self, key: Key, sent: Any) -> str:
        asked = _show(key, self.base_url)
        if same := [one for one in self._known if one.key == key]:
            parts = "; ".join(json.dumps(one.recorded.send, sort_keys=True) for one in same)
            return f"{asked} was asked with {json.dumps(sent, sort_keys=True)[:400]}, recorded is: {parts}"
        known = [_show(one.key, self.base_url) for one in self._known]
        nearest = difflib.get_close_matches(asked, known, n=1, cutoff=0)
        return f"{asked} was asked, and is not recorded; nearest: {nearest[0] if nearest else 'nothing is'}"


@lru_cache(maxsize=10_000)
def key_of(method: str, url: str, base_url: str, secrets: frozenset[str] = frozenset()) -> Key:
    """What a request is matched by: method, URL without query, and the query's pairs in order of name.

    A URL that begins with a slash goes behind the base URL, as in a provider's code.
    """
    try:
        parsed = httpx2.URL(url if "://" in url else base_url.rstrip("/") + url)
    except httpx2.InvalidURL:
        raise NotConforming(f"answers.json: {method} {url!r} is not such as GET /users?limit=200") from None
    pairs = parse_qsl(parsed.query.decode(), keep_blank_values=True)
    query = tuple(sorted((name, value) for name, value in pairs if value not in secrets))
    path = parsed.raw_path.decode().partition("?")[0]
    return method.upper(), f"{parsed.scheme}://{parsed.netloc.decode()}{path}", query


def content_of(reply: Reply) -> bytes:
    """The bytes of an answer's body."""
    if reply.text is not None:
        return reply.text.encode()
    return b"" if reply.body is None and reply.status in (204, 304) else json.dumps(reply.body).encode()


def _show(key: Key, base_url: str) -> str:
    method, url, query = key
    shown = "&".join(f"{name}={value}" for name, value in query)
    base = base_url.rstrip("/")
    where = url.removeprefix(base) if url.startswith(base + "/") else url
    return f"{method} {where}" + (f"?{shown}" if shown else "")


def _sent(body: bytes) -> Any:
    """The body of a request: JSON, or a form as a mapping."""
    if not body:
        return {}
    try:
        return json.loads(body)
    except ValueError:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _holds(whole: Any, part: Any) -> bool:
    """Whether everything in `part` is in `whole`: `null` also means absent, a text in asterisks a part of a text."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(_holds(whole.get(name), value) for name, value in part.items())
    if isinstance(part, str) and len(part) > 1 and part.startswith("*") and part.endswith("*"):
        return isinstance(whole, str) and part[1:-1] in whole
    return bool(whole == part)


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_leaves, value.values()))
    return 0 if value is None else 1
