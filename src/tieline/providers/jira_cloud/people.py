"""The pages of Jira Cloud's list of people, which say neither how many there are nor which page is the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tieline.sdk import JSON, Answer, Offset, PageRequest, Unexpected


@dataclass(frozen=True)
class PeoplePages(Offset):
    """A list without a total whose pages may be short before its end, as people whom the caller may not see are left out.

    The cursor holds the first person of the page too, so that a server that ignores the offset is noticed.
    """

    param: str = "startAt"
    limit_param: str | None = "maxResults"
    limit: int = 1_000

    def request(self, cursor: JSON) -> PageRequest:
        """Ask for the people behind the offset."""
        return super().request(cursor and cursor["at"])

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:
        """The offset behind what came, until nothing comes."""
        if not items:
            return None
        first = items[0]["accountId"]
        if cursor and cursor["first"] == first:
            raise answer.fail(Unexpected, f"gives the same page again for {answer.asked}")
        return {"at": (cursor["at"] if cursor else 0) + len(items), "first": first}
