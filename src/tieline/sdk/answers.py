"""What a provider answered: its JSON made safe to store, its status turned into the right error, and a record for people.

Nothing of an answer is in an error's message; the operator finds it in `details["exchange"]`, with every known secret
replaced and without query values.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from html import escape
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, quote_plus

import httpx2
import orjson

from tieline.errors import Forbidden, ProviderError, RateLimited, Unauthorised, Unavailable, Unexpected
from tieline.sdk.limits import UNSTATED, Signal, retry_after

JSON: TypeAlias = Any
"""What JSON holds: dict, list, str, int, float, bool or None. Not spelt out, as its readers index into it."""

E = TypeVar("E", bound=ProviderError)

_DEEPEST = 100
_NESTED = frozenset({dict, list})
_NEITHER_BRACKET_NOR_QUOTE = bytes(set(range(256)) - set(b'[]{}"'))
_ROUNDS = 10  # of taking away pairs of brackets: one or two levels each, so far fewer than are allowed
_SHOWN = 2_000  # bytes of a body in an exchange
_MIB = 1024 * 1024
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL's text and jsonb hold neither
_TOO_MANY = re.compile(
    rb"rate.?limit(?:ed|_?exceeded| exceeded)|exceeded a secondary rate limit|quota.?exceeded|too many requests",
    re.IGNORECASE,
)
_SCOPE = re.compile(r'\bscope="([^"]{1,200})"')
_HIDDEN_HEADER = re.compile(
    r"(?:set-)?cookie2?|(?:proxy-)?authorization|.*(?:token|secret|api-?key|signature|session|password).*",
    re.IGNORECASE,
)
_SECRET_FIELD = re.compile(
    r'("[^"]{0,40}(?:token|secret|password|api_?key|private_?key|assertion)[^"]{0,20}"\s*:\s*")[^"]+', re.IGNORECASE
)
_SCHEME = re.compile(r"\b(Bearer|Basic|SSWS|token) [A-Za-z0-9+/=._~-]{8,}")
_QUERY = re.compile(r"[?#][^\s<>\"]*")


class Redactor:
    """Replaces secret values in text by `***`, also where they are quoted, in base64 or escaped."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets: frozenset[str] = frozenset()
        self.longest = 0
        self._pattern: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Replace these from now on, too."""
        fresh = frozenset(secret for secret in secrets if secret) - self.secrets
        if not fresh:
            return
        self.secrets |= fresh
        forms = {form for secret in self.secrets for form in _forms(secret)}
        self.longest = max((len(form.encode()) for form in forms), default=0)
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered)))

    def __call__(self, text: str) -> str:
        """The text without secrets, known ones and what looks like one."""
        if self._pattern:
            text = self._pattern.sub("***", text)
        return _SCHEME.sub(r"\1 ***", _SECRET_FIELD.sub(r"\1***", text))


@dataclass(frozen=True)
class Asked:
    """What was asked, as far as it may be told: no query values."""

    provider: str
    method: str
    path: str
    params: tuple[str, ...] = ()
    redact: Redactor = field(default_factory=lambda: Redactor(()), repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def fail(self, kind: type[E], message: str, answer: Answer | None = None, **details: Any) -> E:
        """An error of this kind that carries the exchange."""
        return kind(f"{self.provider} {message}", exchange=self.exchange(answer), **details)

    def exchange(self, answer: Answer | None) -> dict[str, Any]:
        """The record for the operator: what was asked and the beginning of what was answered."""
        told: dict[str, Any] = {"method": self.method, "path": self.path, "params": list(self.params), "status": None}
        if answer is not None:
            beginning = answer.body[: _SHOWN + self.redact.longest].decode("utf-8", "replace")
            told["status"] = answer.status
            told["headers"] = {
                name: _QUERY.sub("?…", self.redact(value))
                for name, value in answer.headers.items()
                if not _HIDDEN_HEADER.fullmatch(name)
            }
            told["body"] = _clean(self.redact(beginning)[:_SHOWN])
        return told


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end.

    `signal` is what its headers tell of the rate limit, `wait` how long they ask to wait, `received` our time of it.
    """

    asked: Asked
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    received: datetime
    signal: Signal = field(default_factory=Signal)
    wait: timedelta | None = None

    @cached_property
    def json(self) -> JSON:
        """The body as JSON, `None` for a 204; raises `Unexpected` if it is something else."""
        if self.status == 204:
            return None
        try:
            return read_json(self.body)
        except ValueError as error:
            raise self.fail(Unexpected, f"answered {_what_instead(self, str(error))} ({self.asked})") from None

    @property
    def until(self) -> datetime:
        """When it makes sense to ask again, for an answer that says "too many"."""
        return self.received + (UNSTATED if self.wait is None else self.wait)

    def fail(self, kind: type[E], message: str, **details: Any) -> E:
        """An error about this answer, which carries the exchange; the message goes on after the provider's name."""
        return self.asked.fail(kind, message, self, **details)


def judge(answer: Answer, *, limited: Collection[int] = (403,)) -> ProviderError | None:
    """The error that this answer's status means, or `None`.

    `limited` are the statuses besides 429 that mean "too many" if the headers or the body agree.
    """
    status, asked = answer.status, answer.asked
    if 200 <= status < 300 or status == 304:
        return None
    if status == 429 or (status in limited and _says_too_many(answer)):
        return answer.fail(RateLimited, f"asks to wait until {answer.until:%H:%M:%S} UTC", until=answer.until)
    if status == 401:
        return answer.fail(Unauthorised, f"refused the credential (401 for {asked})")
    if status in (402, 403):
        scope = _SCOPE.search(answer.headers.get("www-authenticate", ""))
        message = f"does not allow {asked} to this credential or plan ({status})"
        return answer.fail(Forbidden, message, scope=scope and asked.redact(scope[1]))
    if status in (404, 410):
        return answer.fail(Unexpected, f"has nothing at {asked} ({status})")
    if status == 408 or status >= 500:
        wait = retry_after(answer.headers, answer.received)
        return answer.fail(Unavailable, f"answered {status} to {asked}", retry_at=wait and answer.received + wait)
    return answer.fail(Unexpected, f"answered {status} to {asked}")


def read_json(body: bytes) -> JSON:
    """Parse JSON; raises `ValueError` if it is not JSON or nested deeper than 100.

    NUL and lone surrogates inside strings, which are valid JSON but cannot be stored, become U+FFFD.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\ud" not in body.lower():
            raise
        value = _read_leniently(body)  # orjson refuses a whole page for one lone surrogate
        _check_depth(value)
        return _clean(value)
    if not _is_plainly_shallow(body):
        _check_depth(value)
    return _clean(value) if b"\\" in body and b"\\u0000" in body else value  # one byte is found much faster than six


def dig(value: JSON, path: str) -> JSON:
    """What is at a dotted name, or `None`; a key that itself holds dots is found too."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    head, dot, tail = path.partition(".")
    return dig(value.get(head), tail) if dot else None


async def read_body(response: httpx2.Response, *, most: int) -> bytes:
    """Read a body of at most `most` bytes, packed and unpacked.

    Raises `httpx2.DecodingError` if it is larger or packed in a way that was not asked for, and
    `httpx2.RemoteProtocolError` if it ends too early.
    """
    packed = response.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity", "gzip", "x-gzip"):
        raise httpx2.DecodingError("answered in a content encoding that was not asked for")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed.endswith("gzip") else None
    parts, received, size = [], 0, 0
    async for part in response.aiter_raw():
        received += len(part)
        try:
            # One byte more than may be kept is enough to know; a bomb is never blown up.
            unpacked = part if unpack is None else b"" if unpack.eof else unpack.decompress(part, most - size + 1)
        except zlib.error:
            raise httpx2.DecodingError("answered with broken gzip") from None
        size += len(unpacked)
        if max(size, received) > most or (unpack and unpack.unconsumed_tail):
            raise httpx2.DecodingError(f"answered more than {most / _MIB:g} MiB")
        parts.append(unpacked)
    if unpack and received and not unpack.eof:
        raise httpx2.RemoteProtocolError("the gzip body ends too early")
    return b"".join(parts)


def _read_leniently(body: bytes) -> JSON:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _is_plainly_shallow(body: bytes) -> bool:
    """Whether the brackets by themselves show that the JSON is not nested too deeply: that saves a walk through all values.

    It is not shown of deep JSON, nor where a text holds a bracket or an escaped quote. A text without leaves `""`; with
    one it leaves a quote, as the first such text has nothing but whole texts between a bracket, or the start, and itself.
    """
    if body.count(b"{") + body.count(b"[") < _DEEPEST:  # as in most records
        return True
    if b"\\" in body and b'\\"' in body:
        return False
    left = body.translate(None, _NEITHER_BRACKET_NOR_QUOTE).replace(b'""', b"")
    for _ in range(_ROUNDS):
        left = left.replace(b"{}", b"").replace(b"[]", b"")
        if not left:
            return True
    return False


def _check_depth(value: JSON) -> None:
    level = [value] if type(value) in _NESTED else []
    for _ in range(_DEEPEST):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) in _NESTED
        ]
        if not level:
            return
    raise ValueError("nested too deeply")


def _clean(value: JSON) -> JSON:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(child) for child in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(child) for key, child in value.items()}
    return value


def _what_instead(answer: Answer, why: str) -> str:
    if not answer.body.strip():
        return "nothing where JSON was expected"
    if "html" in answer.headers.get("content-type", "") or answer.body.lstrip()[:1] == b"<":
        return "HTML where JSON was expected"
    return "JSON that is nested too deeply" if "deep" in why or "depth" in why else "something that is not JSON"


def _says_too_many(answer: Answer) -> bool:
    asked_to_wait = "retry-after" in answer.headers or answer.signal.remaining == 0
    return asked_to_wait or _TOO_MANY.search(answer.body[:_SHOWN]) is not None


def _forms(secret: str) -> set[str]:
    packed = base64.b64encode(secret.encode()).decode()
    quoted = {quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    return {secret, *quoted, escape(secret), escape(secret, quote=False), packed, packed.rstrip("=")}
