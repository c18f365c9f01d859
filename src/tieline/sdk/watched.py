"""What is counted and traced of the requests to one provider. Of a request it tells the method and the host, never the path or the query."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import httpx2
from opentelemetry.trace import SpanKind

from tieline.sdk.limits import Wait
from tieline.telemetry import instruments, span

_OF_THEIR_OWN = frozenset({401, 403, 404, 429})


class Watched:
    """The requests to a provider, by its slug."""

    def __init__(self, slug: str) -> None:
        self._slug = slug

    @contextmanager
    def asking(self, request: httpx2.Request) -> Iterator[Callable[[int], None]]:
        """Watch one request, of which the block tells the status."""
        status, begun = "none", perf_counter()
        url = request.url
        about = {"http.request.method": request.method, "server.address": url.host, "tieline.provider": self._slug}

        def answered(code: int) -> None:
            nonlocal status
            status = str(code) if code in _OF_THEIR_OWN else f"{code // 100}xx"
            traced.set_attribute("http.response.status_code", code)

        try:
            with span(f"ask {self._slug or url.host}", about, kind=SpanKind.CLIENT) as traced:
                yield answered
        finally:
            instruments.PROVIDER_REQUESTS.add(provider=self._slug, status=status)
            instruments.PROVIDER_SECONDS.record(perf_counter() - begun, provider=self._slug)

    def stood(self, wait: Wait) -> None:
        """A request stood still."""
        instruments.WAITS.add(provider=self._slug, cause=wait.cause)
        seconds = max((wait.ended - wait.begun).total_seconds(), 0.0)
        instruments.WAIT_SECONDS.add(seconds, provider=self._slug, cause=wait.cause)
