"""The one HTTP client: every request to a provider goes through an `Http`, one per connection.

It speaks straight to the guarded transport, because httpx2's own client logs whole URLs, keeps cookies and reads proxies
from the environment. A request has one deadline for all its tries and waits; what may be repeated is, with jitter; what a
provider asks for by 429 is obeyed, in place if it is a matter of seconds, else by `RateLimited`. A refused credential may be
renewed, once a request. The credential goes to the connection's own origin and nowhere else.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from urllib.parse import unquote

import httpx2

from tieline.clock import Clock
from tieline.errors import Invalid, ProviderError, RateLimited, Unauthorised, Unavailable, Unexpected
from tieline.sdk.addresses import AddressPolicy, GuardedTransport
from tieline.sdk.answers import JSON, Answer, Asked, Redactor, judge, read_body
from tieline.sdk.encoding import Params, encode, pairs
from tieline.sdk.limits import GENERIC, IN_PLACE, Budget, RateHeaders, Waits
from tieline.sdk.watched import Watched

__all__ = ["JSON", "RAISE", "Answer", "Http", "Params", "Raise", "Sign"]

T = TypeVar("T")
Sign = Callable[[httpx2.Request], Awaitable[None] | None]
Renew = Callable[[], Awaitable[bool]]


class Raise:
    """The type of `RAISE`: a 404 raises."""


RAISE = Raise()

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110, section 9.2.2
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_LONGEST_PAUSE = 5.0
_MOST_BYTES = 32 * 1024 * 1024
_NOT_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\#]")
_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class _Call:
    """One request as the caller meant it, whatever the number of tries and redirects."""

    asked: Asked
    url: httpx2.URL
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    repeatable: bool


class Http:
    """The client of one connection; close it, or use it as an async context manager.

    `sign` puts the credential on a request and is called again for each try; `renew` is called after a 401 and tells whether
    `sign` now has something better. `secrets` are the plain values that must never be shown. `deadline` bounds a request with
    all its tries, `patience` a single try, both in seconds. `origins` are further addresses of the same API, which the
    credential goes to as well. Unless `follow`, a redirect is an answer like any other. `slug` is the provider's in metrics.
    """

    def __init__(
        self,
        *,
        base_url: str,
        provider: str,
        policy: AddressPolicy,
        budget: Budget,
        clock: Clock,
        sign: Sign | None = None,
        renew: Renew | None = None,
        secrets: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        origins: Sequence[str] = (),
        rate: RateHeaders = GENERIC,
        user_agent: str = "Tieline",
        deadline: float = 60.0,
        patience: float = 30.0,
        max_bytes: int = _MOST_BYTES,
        max_tries: int = 4,
        follow: bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        slug: str = "",
    ) -> None:
        policy.check_url(base_url)
        self.provider = provider
        self._base = httpx2.URL(base_url)
        for one in origins:
            policy.check_url(one)
        self._origins = frozenset(_origin(httpx2.URL(one)) for one in (base_url, *origins))
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._sign = sign
        self._renew = renew
        self._redact = Redactor(secrets)
        self._headers = dict(headers or {})
        self._rate = rate
        self._everywhere = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": user_agent}
        self._deadline = deadline
        self._patience = patience
        self._max_bytes = max_bytes
        self._max_tries = max_tries
        self._follows = follow
        self._transport = transport or GuardedTransport(policy)
        self._sleep = sleep
        self._watched = Watched(slug)
        self.waits = Waits(clock, told=self._watched.stood)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._transport.aclose()

    def conceal(self, *secrets: str) -> None:
        """Never show these values, either: for secrets that came into use later."""
        self._redact.learn(secrets)

    @overload
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = ...,
        json: JSON = ...,
        form: Mapping[str, str] | None = ...,
        headers: Mapping[str, str] | None = ...,
        accept: Collection[int] = ...,
        missing: Raise = ...,
        idempotent: bool | None = ...,
    ) -> Answer: ...

    @overload
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = ...,
        json: JSON = ...,
        form: Mapping[str, str] | None = ...,
        headers: Mapping[str, str] | None = ...,
        accept: Collection[int] = ...,
        missing: T,
        idempotent: bool | None = ...,
    ) -> Answer | T: ...

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: JSON = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
        missing: Any = RAISE,
        idempotent: bool | None = None,
    ) -> Any:
        """Ask the provider, and raise the `ProviderError` that its answer means if it is not a good one.

        `path` goes behind the base URL; an absolute URL, such as a next link, must be of the same origin. Statuses in
        `accept` are answers, not errors. On 404 and 410 `missing` is returned, or raised if it is an exception. A
        request is tried again after a failure if its method is idempotent, or as `idempotent` says.
        """
        call = self._call(method.upper(), path, params=params, json=json, form=form, headers=headers, again=idempotent)
        settled = {*accept, *(() if missing is RAISE else (404, 410))}
        answer = await self._in_time(call, settled)
        # The renewal is outside of the deadline: whoever cuts it short may lose the new refresh token.
        if isinstance(answer, Unauthorised) and self._renew and await self._renew():
            answer = await self._in_time(call, settled)
        if isinstance(answer, Unauthorised):
            raise answer
        if missing is RAISE or answer.status in accept or answer.status not in (404, 410):
            return answer
        if isinstance(missing, BaseException):
            raise missing
        return missing

    async def get_json(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        missing: Any = RAISE,
    ) -> Any:
        """The JSON at a path, or `missing` if there is none (404)."""
        answer = await self.request("GET", path, params=params, headers=headers, missing=missing)
        return answer.json if isinstance(answer, Answer) else answer

    async def post_json(
        self,
        path: str,
        json: JSON,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool = False,
    ) -> Any:
        """Post JSON and return the JSON answered; tried again after a failure only if `idempotent`."""
        answer = await self.request("POST", path, params=params, json=json, headers=headers, idempotent=idempotent)
        return answer.json

    def link(self, path: str, reference: str) -> str:
        """A link found in the answer from `path`, as an absolute URL of this origin, without any secret it may echo.

        Raises `Unexpected` if it leads to another host.
        """
        try:
            url = self._locate(path).join(reference)
        except (httpx2.InvalidURL, ValueError):
            raise Unexpected(f"{self.provider}'s next link is not a URL") from None
        url = self._own(url)
        for name, value in url.params.multi_items():
            if value in self._redact.secrets:
                url = url.copy_remove_param(name)
        return str(url)

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Params | None,
        json: JSON,
        form: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        again: bool | None,
    ) -> _Call:
        url = self._locate(path)
        if given := pairs(params):
            url = url.copy_merge_params(httpx2.QueryParams(given))
        asked = Asked(self.provider, method, self._redact(url.path), tuple(dict.fromkeys(url.params)), self._redact)
        kind, content = encode(json, form)
        sent = {**kind, **{name.lower(): value for name, value in (headers or {}).items()}}
        return _Call(asked, url, sent, content, method in _REPEATABLE if again is None else again)

    def _locate(self, path: str) -> httpx2.URL:
        written = (
            path if _ABSOLUTE.match(path) else str(self._base).rstrip("/") + ("/" + path.lstrip("/") if path else "")
        )
        segments = unquote(path.partition("?")[0]).split("/")
        if _NOT_IN_PATH.search(path) or "." in segments or ".." in segments:
            raise Unexpected(f"a path for {self.provider} holds characters or dots that no path may hold")
        try:
            return self._own(httpx2.URL(written))
        except httpx2.InvalidURL:
            raise Unexpected(f"a path for {self.provider} does not make a URL") from None

    def _own(self, url: httpx2.URL) -> httpx2.URL:
        if not self._is_ours(url) or url.userinfo:
            raise Unexpected(f"{self.provider}'s next link leaves its host")
        return url

    def _is_ours(self, url: httpx2.URL) -> bool:
        return _origin(url) in self._origins

    async def _in_time(self, call: _Call, settled: Collection[int]) -> Answer | Unauthorised:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._try(call, settled)
        except TimeoutError:
            message = f"did not answer {call.asked} within {self._deadline:g} s"
            raise call.asked.fail(Unavailable, message) from None

    async def _try(self, call: _Call, settled: Collection[int]) -> Answer | Unauthorised:
        """Try until there is an answer, an error that no repetition cures, or no try left; a refusal is for the caller."""
        for attempt in range(1, self._max_tries + 1):
            with self.waits.during("limit"):
                await self._budget.take()
            answer, error = await self._attempt(call)
            if answer is not None:
                error = None if answer.status in settled else judge(answer, limited=self._rate.limited)
                await self._learn(answer, error)
                if error is None:
                    return answer
            assert error is not None  # noqa: S101  an attempt gives one or the other
            if isinstance(error, Unauthorised):
                return error
            pause = self._pause(call, error, attempt)
            if pause is None or attempt == self._max_tries:
                raise error
            with self.waits.during("limit" if isinstance(error, RateLimited) else "retry"):
                await self._sleep(pause)
        raise AssertionError("max_tries is at least 1")

    async def _attempt(self, call: _Call) -> tuple[Answer, None] | tuple[None, ProviderError]:
        asked = call.asked
        try:
            async with asyncio.timeout(self._patience):
                return await self._follow(call), None
        except (httpx2.LocalProtocolError, UnicodeError):
            raise Invalid(
                f"a header for {self.provider} holds characters that HTTP does not allow",
                advice="Paste the credential again, without line breaks or invisible characters.",
            ) from None
        except (httpx2.TimeoutException, TimeoutError):
            return None, asked.fail(Unavailable, f"did not answer {asked} in time")
        except httpx2.ConnectError as error:
            why = ": its certificate is not trusted" if "CERTIFICATE_VERIFY_FAILED" in str(error) else ""
            return None, asked.fail(Unavailable, f"cannot be reached{why}", unsent=True)
        except httpx2.TransportError:
            return None, asked.fail(Unavailable, f"broke off the connection during {asked}")

    def _pause(self, call: _Call, error: ProviderError, attempt: int) -> float | None:
        """Seconds to wait before the next try; `None` if there should be none."""
        if isinstance(error, RateLimited):  # refused before it was done, so any method may be repeated
            wait = error.until - self._clock.now()
            return max(wait.total_seconds(), random.uniform(0, 0.5)) if wait <= IN_PLACE else None  # noqa: S311
        if not isinstance(error, Unavailable) or not (call.repeatable or error.details.get("unsent")):
            return None
        pause = random.uniform(0, min(_LONGEST_PAUSE, 0.5 * 2**attempt))  # noqa: S311  full jitter, not a secret
        if retry_at := error.details.get("retry_at"):
            pause = max(pause, (retry_at - self._clock.now()).total_seconds())
        return pause if pause <= _LONGEST_PAUSE else None

    async def _learn(self, answer: Answer, error: ProviderError | None) -> None:
        signal = answer.signal
        if isinstance(error, RateLimited):
            signal = replace(signal, blocked_until=error.until)
        if signal.is_notable:
            await self._budget.learn(signal)

    async def _follow(self, call: _Call) -> Answer:
        """One try: the request and the redirects of a read."""
        url = call.url
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._exchange(call, url)
            if answer.status not in _REDIRECTS or not self._follows:
                return answer
            url = self._redirected(call, answer, url)
        raise answer.fail(Unexpected, f"redirected {call.asked} more than {_MOST_REDIRECTS} times")

    def _redirected(self, call: _Call, answer: Answer, url: httpx2.URL) -> httpx2.URL:
        if call.asked.method not in ("GET", "HEAD"):
            raise answer.fail(Unexpected, f"redirected {call.asked}, which only a read may follow")
        try:
            target = url.join(answer.headers["location"]).copy_with(fragment=None)
        except (httpx2.InvalidURL, ValueError, KeyError):
            raise answer.fail(Unexpected, f"redirected {call.asked} to no valid place") from None
        if url.scheme == "https" and target.scheme != "https":
            raise answer.fail(Unexpected, f"redirected {call.asked} to an unencrypted address")
        self._policy.check_url(str(target))
        return target

    async def _exchange(self, call: _Call, url: httpx2.URL) -> Answer:
        headers = dict(self._everywhere)
        if self._is_ours(url):
            headers |= {**{name.lower(): value for name, value in self._headers.items()}, **call.headers}
        request = httpx2.Request(call.asked.method, url, headers=headers, content=call.content)
        if self._sign and self._is_ours(url):
            signing = self._sign(request)
            if inspect.isawaitable(signing):
                await signing
        with self._watched.asking(request) as answered:
            response = await self._transport.handle_async_request(request)
            answered(response.status_code)
        now = self._clock.now()
        answer = Answer(
            asked=call.asked,
            status=response.status_code,
            headers=response.headers,
            body=b"",
            received=now,
            signal=self._rate.read(response.headers, now),
            wait=self._rate.wait(response.headers, now),
        )
        try:
            return replace(answer, body=await read_body(response, most=self._max_bytes))
        except httpx2.DecodingError as error:
            raise answer.fail(Unexpected, f"{error} ({call.asked})") from None
        finally:
            await response.aclose()


def _origin(url: httpx2.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port or {"https": 443, "http": 80}.get(url.scheme)
