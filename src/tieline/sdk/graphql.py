"""Lists that are asked for by a GraphQL query, and what goes wrong with an answer that says 200 all the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tieline.errors import Forbidden, ProviderError, RateLimited, Unauthorised, Unexpected
from tieline.sdk.answers import dig
from tieline.sdk.http import JSON, Answer
from tieline.sdk.paginators import Listed, PageRequest, required


@dataclass(frozen=True)
class GraphQL:
    """A connection of a GraphQL query (the Relay specification): `nodes` and `pageInfo { hasNextPage endCursor }`.

    `connection` is its dotted name below `data`. The query must take `$after`, and `$size` if `size_variable` is given.
    Any error that the answer lists is raised, for data that came beside it is not complete.
    """

    query: str
    connection: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    size_variable: str | None = None
    size: int = 100

    def request(self, cursor: JSON) -> PageRequest:
        """Post the query with the cursor as `after`."""
        sized = {self.size_variable: self.size} if self.size_variable else {}
        return PageRequest(json={"query": self.query, "variables": {**self.variables, **sized, "after": cursor}})

    def read(self, answer: Answer, items: str | None) -> list[JSON]:
        """The nodes, or what `items` names within the connection; raises what the answer's errors mean."""
        raise_graphql_errors(answer)
        return Listed().read(answer, f"data.{self.connection}.{items or 'nodes'}")

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:  # noqa: ARG002
        """The end cursor, if there is a next page."""
        info = dig(answer.json, f"data.{self.connection}.pageInfo")
        if not isinstance(info, dict) or not isinstance(info.get("hasNextPage"), bool):
            raise answer.fail(Unexpected, f"answered no pageInfo for {self.connection!r}")
        return required(answer, info.get("endCursor")) if info["hasNextPage"] else None


def raise_graphql_errors(answer: Answer) -> None:
    """Raise the error that a GraphQL answer lists (it comes with status 200), if it lists any."""
    errors = dig(answer.json, "errors")
    if not errors:
        return
    told = " ".join(_error_code(error) for error in errors) if isinstance(errors, list) else ""
    raise _graphql_error(answer, told.upper())


def _graphql_error(answer: Answer, codes: str) -> ProviderError:
    if re.search(r"RATE_?LIMIT|THROTTLED|TOO_MANY", codes):
        return answer.fail(RateLimited, f"asks to wait until {answer.until:%H:%M:%S} UTC", until=answer.until)
    if re.search(r"UNAUTHENTICATED|UNAUTHORI[SZ]ED|AUTHENTICATION", codes):
        return answer.fail(Unauthorised, f"refused the credential ({answer.asked})")
    if re.search(r"FORBIDDEN|SCOPE|PERMISSION|ACCESS_DENIED", codes):
        return answer.fail(Forbidden, f"does not allow this query to this credential or plan ({answer.asked})")
    return answer.fail(Unexpected, f"answered a GraphQL error to {answer.asked}")


def _error_code(error: JSON) -> str:
    """GitHub writes the code as `type`, most others as `extensions.code`, Linear as `extensions.type` too."""
    return " ".join(str(dig(error, at) or "") for at in ("type", "extensions.code", "extensions.type")).replace(
        " ", "_"
    )
