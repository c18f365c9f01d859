"""Labels: the few words by which a metric is divided. Whatever is not one of them counts as `other`.

Each different value is a time series for ever, at Prometheus and at whoever else keeps them, and whoever reads a metric reads its
labels: so no organization, URL, account or text of a provider's is ever one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

OTHER = "other"
NONE = "none"
MOST_VALUES = 400
"""Values that one open label may take in a process: more than there are routes, and many more than there are providers."""


@dataclass(frozen=True)
class Label:
    """A label: the closed set of its values, or the form that its values have, of which it takes the first `MOST_VALUES`."""

    words: str
    values: frozenset[str] = frozenset()
    form: re.Pattern[str] | None = None
    _seen: set[str] = field(default_factory=set, compare=False, repr=False)

    def bound(self, value: str) -> str:
        """The value, or `other`."""
        if value in self.values or value in self._seen or value == NONE:
            return value
        if self.form and len(self._seen) < MOST_VALUES and self.form.fullmatch(value):
            self._seen.add(value)
            return value
        return OTHER


def _of(words: str, values: str) -> Label:
    return Label(words, frozenset(values.split()))


_WORD = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_TEMPLATE = re.compile(r"/[A-Za-z0-9_./{}:-]{0,119}")

PROVIDER = Label("the provider's slug", form=_WORD)
ROUTE = Label("the template of the path, never the path itself; `none` where no route took the request", form=_TEMPLATE)
METHOD = _of("the HTTP method", "GET HEAD POST PUT PATCH DELETE OPTIONS")
STATUS_CLASS = _of("the class of the status", "1xx 2xx 3xx 4xx 5xx")
PROVIDER_STATUS = _of(
    "the status, those told apart that mean something of their own; `none` where no answer came",
    "2xx 3xx 401 403 404 429 4xx 5xx none",
)
OUTCOME = Label("`ok`, or the slug or type of what went wrong", form=re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}"))
CAUSE = _of("`limit`: the provider's rate limit; `retry`: before another try", "limit retry")
PART = _of("`read` from the provider, or `load` into the database", "read load")
OPERATION = _of("what was done", "seal open rewrap current")
CHORE = Label("the chore's name", form=_WORD)
RUN_OUTCOME = _of("how the run ended", "succeeded partial failed cancelled held")
VERDICT = _of("what became of the records", "created changed unchanged removed skipped rejected unidentified")
CONNECTION_STATUS = _of(
    "how the connection stands",
    "active degraded error expired needs_reconnect paused suspended disconnected",
)
SEVERITY = _of("the check's severity", "critical high medium low info")
ROLE = _of("how the process was started", "server worker mounted command")
VERSION = Label("the release", form=re.compile(r"[0-9][A-Za-z0-9.+-]{0,39}"))
STATE = _of("`running`, or `waiting` for its turn", "running waiting")


def bound_all(labels: Mapping[str, Label], given: Mapping[str, str]) -> dict[str, str]:
    """The values of all labels, in their order; raises `KeyError` for one that was not given, or that there is not."""
    if unknown := given.keys() - labels.keys():
        raise KeyError(f"no such label: {', '.join(sorted(unknown))}")
    return {name: label.bound(given[name]) for name, label in labels.items()}
