"""Scripted faults: rules that stand before the real answers and spoil the ones they match.

A rule lets `skip` matching requests pass, then spoils the next `times`. It either replaces the answer (`status`,
`headers`, `body`, `html`) or alters the real one (`truncate`, `repeat_cursor`); `delay_ms` goes with both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.responses import Response

_SIGN_IN_PAGE = "<!doctype html><title>Sign in</title><h1>Sign in to Larkfield Instruments</h1>"
_LONGEST_DELAY_MS = 120_000
_BODILESS = (204, 304)  # RFC 9110: these end with the header


@dataclass
class Rule:
    """One scripted fault; `times=None` means for ever. Its counters go down as requests pass."""

    match: re.Pattern[str]
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    html: bool = False
    truncate: bool = False
    repeat_cursor: bool = False
    delay_ms: int = 0
    skip: int = 0
    times: int | None = 1

    @property
    def replaces(self) -> bool:
        """Whether the real answer is not wanted at all."""
        return self.status is not None or self.html or self.body is not None

    def replacement(self) -> Response:
        """The answer in place of the real one, without the rule's headers: 200 unless the rule says otherwise."""
        if self.html or isinstance(self.body, str):
            content, media_type = str(self.body or _SIGN_IN_PAGE).encode(), "text/html" if self.html else "text/plain"
        else:
            error = {"error": {"code": "scripted_fault", "message": "The sandbox was told to answer like this."}}
            content, media_type = orjson.dumps(error if self.body is None else self.body), "application/json"
        status = self.status or 200
        return Response(b"" if status in _BODILESS else content, status_code=status, media_type=media_type)

    def spoil(self, response: Response, *, after: str) -> Response:
        """The answer with the rule's headers, cut short, or naming the cursor that the caller has just used."""
        content = bytes(response.body)
        if self.repeat_cursor and response.status_code == 200 and not self.replaces:
            page = orjson.loads(content)
            content = orjson.dumps(page | {"paging": {"next": after}})
        if self.truncate:
            content = content[: len(content) // 2]
        headers = response.headers.mutablecopy()
        del headers["content-length"]
        headers.update(self.headers)
        return Response(content, status_code=response.status_code, headers=headers)


class Script:
    """The rules in force, in their order."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def next_rule(self, line: str, *, after: str) -> Rule | None:
        """The rule that spoils this request, if one does; `line` is the method, a space, the path and query."""
        for rule in self.rules:
            if rule.times == 0 or not rule.match.search(line) or (rule.repeat_cursor and not after):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            if rule.times is not None:
                rule.times -= 1
            return rule
        return None


def parse_rules(document: dict[str, Any]) -> list[Rule]:
    """Read `{"rules": [...]}`; raises `ValueError` saying which rule is wrong and why."""
    rules = document.get("rules")
    if not isinstance(rules, list):
        raise ValueError('the body must be {"rules": [...]}')  # noqa: TRY004  the caller's value is wrong, not its code
    return [_parse_rule(number, rule) for number, rule in enumerate(rules)]


_FIELDS: dict[str, tuple[type, ...]] = {
    "match": (str,),
    "status": (int, type(None)),
    "headers": (dict,),
    "body": (object,),
    "html": (bool,),
    "truncate": (bool,),
    "repeat_cursor": (bool,),
    "delay_ms": (int,),
    "skip": (int,),
    "times": (int, type(None)),
}

_RANGES = {"status": (200, 599), "delay_ms": (0, _LONGEST_DELAY_MS), "skip": (0, 10**6), "times": (0, 10**6)}


def _parse_rule(number: int, rule: Any) -> Rule:
    if not isinstance(rule, dict) or "match" not in rule:
        raise ValueError(f"rule {number} must be an object with a match")
    for name, value in rule.items():
        if name not in _FIELDS or not isinstance(value, _FIELDS[name]):
            raise ValueError(f"rule {number} has a field that is unknown or of the wrong type: {name}")
    for name, (low, high) in _RANGES.items():
        if not low <= (rule.get(name) or low) <= high:
            raise ValueError(f"rule {number} has a {name} outside {low} to {high}")
    try:
        pattern = re.compile(rule["match"])
    except re.error as error:
        raise ValueError(f"rule {number} has a match that is no regular expression: {error}") from None
    headers = {str(name): str(value) for name, value in rule.get("headers", {}).items()}
    if not all(text.isascii() and text.isprintable() for pair in headers.items() for text in pair):
        raise ValueError(f"rule {number} has a header that is not printable ASCII")
    return Rule(**(rule | {"match": pattern, "headers": headers}))
