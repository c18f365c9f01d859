"""Live parts of a page: rendered again whenever what they show has changed, sent as server-sent events, until it is over.

In a template: `<div data-live="{{ page.at('/runs/' ~ run.id ~ '/live') }}">…</div>` around the part. Without script the page shows
how things stood and can be reloaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import Response, StreamingResponse

from tieline.access.sessions import check_session
from tieline.errors import TielineError
from tieline.web.page import Page, session_cookie

LOOK_EVERY = 1.0
"""Seconds between two looks at the store."""

Look = Callable[[], Awaitable[tuple[str, bool]]]
"""Gives the part as HTML, and whether it is over: nothing of it will change any more."""


def stream(page: Page, look: Look) -> Response:
    """The part whenever it changes. It breaks off when the session ends, what it shows is gone, or this process ends."""
    return StreamingResponse(_events(page, look), headers={"X-Accel-Buffering": "no"}, media_type="text/event-stream")


async def _events(page: Page, look: Look) -> AsyncIterator[bytes]:
    shown, over = "", False
    try:
        while not over:
            if page.request.app.state.stopping:
                return  # the browser asks again, and finds another process
            await check_session(page.parts.db, page.parts.keys.session_key, session_cookie(page), now=page.now)
            part, over = await look()
            yield b": still here\n\n" if part == shown else _event("part", part)
            shown = part
            if not over:
                await asyncio.sleep(LOOK_EVERY)
    except TielineError:
        pass  # the answer has begun, so there is no other way to say it than to end
    yield _event("over", "")


def _event(name: str, data: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()
