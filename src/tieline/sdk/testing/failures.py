"""What goes wrong at a vendor, put in the place of one recorded answer, and the error that it must become."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from tieline.sdk.provider import Operation
from tieline.sdk.testing.fixtures import Case, Failure
from tieline.sdk.testing.reading import Reading

if TYPE_CHECKING:
    from tieline.sdk.testing.subject import Subject

_MOST_ASKS = 25

FAILURES: dict[str, tuple[str, Failure]] = {
    "401": ("Unauthorised", Failure(status=401, body={"message": "The credential is invalid"})),
    "403": ("Forbidden", Failure(status=403, body={"message": "The permission is missing"})),
    "429": ("RateLimited", Failure(status=429, headers={"retry-after": "120"}, body={"message": "Slow down"})),
    "500": ("Unavailable", Failure(status=500, text="Internal Server Error", headers={"content-type": "text/plain"})),
    "503": ("Unavailable", Failure(status=503, text="<h1>Down</h1>", headers={"content-type": "text/html"})),
    "html": ("Unexpected", Failure(text="<html><body>Sign in</body></html>", headers={"content-type": "text/html"})),
    "truncated": ("Unexpected", Failure(text='{"data": [{"id": "1", "na')),
    "empty": ("Unexpected", Failure(text="")),
}
"""By name: the error that it becomes unless a case says otherwise, and the answer."""


def expected_error(case: Case, what: str, name: str) -> str | None:
    """The error that a failure must become in an operation, or in `identity`; `None` for none."""
    for key in (f"{what}.{name}", name):
        if key in case.errors:
            return case.errors[key]
    return FAILURES[name][0]


def midway(whole: Reading, case: Case) -> list[str]:
    """The asks of a reading whose failure must end it, each once."""
    labels = dict.fromkeys(whole.asked)
    return [one for one in labels if not {one, one.partition(" {")[0]} & set(case.optional)][:_MOST_ASKS]


async def disturb(
    subject: Subject, case: str, operation: Operation | None, name: str, *, at: str | None = None
) -> tuple[Reading, bool]:
    """A reading in which one ask, the first or that named, is answered by a failure each time it comes; and whether it came.

    Errors of the vendor's are made to repeat what authorised the request, as careless servers do.
    """
    key = (case, operation.id if operation else None, name, at)
    if key not in subject.disturbed:
        subject.disturbed[key] = await _disturb(subject, case, operation, name, at)
    return subject.disturbed[key]


async def _disturb(
    subject: Subject, case: str, operation: Operation | None, name: str, at: str | None
) -> tuple[Reading, bool]:
    chosen = subject.fixtures.cases[case].failures.get(name, FAILURES[name][1])
    spoiler = _Spoiler(chosen, at, echo=name in ("401", "403", "429", "500", "503"))
    connected = subject.connected[case]
    reading = await (connected.read(operation, spoiler) if operation else connected.identify(spoiler))
    return reading, spoiler.met


class _Spoiler:
    def __init__(self, failure: Failure, at: str | None, *, echo: bool) -> None:
        self._failure, self._at, self._echo = failure, at, echo
        self.met = False

    def __call__(self, ask: str, request: httpx2.Request) -> Failure | None:
        self._at = self._at or ask
        if ask != self._at:
            return None
        self.met = True
        headers = dict(self._failure.headers)
        if self._echo:
            for name in ("authorization", "x-api-key"):
                if value := request.headers.get(name):
                    headers["x-debug-request"] = value.encode("ascii", "replace").decode()
        return self._failure.model_copy(update={"headers": headers})
