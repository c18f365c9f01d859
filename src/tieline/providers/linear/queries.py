"""What Linear is asked, in GraphQL, and the test call."""

from __future__ import annotations

from typing import Any

from tieline.sdk import Context, Identified
from tieline.sdk.answers import judge
from tieline.sdk.graphql import raise_graphql_errors

PATH = "/graphql"

WORKSPACE = "query { organization { id name urlKey createdAt samlEnabled scimEnabled } }"
_IDENTITY = "query { viewer { id } organization { id name } }"
USERS = """query ($after: String, $size: Int) {
  users(first: $size, after: $after, includeDisabled: true) {
    nodes { id name displayName email active admin owner guest app disableReason lastSeen createdAt url }
    pageInfo { hasNextPage endCursor }
  }
}"""
TEAMS = """query ($after: String, $size: Int) {
  teams(first: $size, after: $after) {
    nodes { id key name description visibility scimManaged createdAt }
    pageInfo { hasNextPage endCursor }
  }
}"""
MEMBERSHIPS = """query ($after: String, $size: Int) {
  teamMemberships(first: $size, after: $after) {
    nodes { id owner createdAt team { id } user { id } }
    pageInfo { hasNextPage endCursor }
  }
}"""


async def ask(ctx: Context[Any], query: str) -> dict[str, Any]:
    """The data of a query that has no pages; raises what the answer's errors mean, whatever its status."""
    answer = await ctx.request("POST", PATH, json={"query": query}, accept=(400,), idempotent=True)
    raise_graphql_errors(answer)  # with 400 too: the body tells a dead key from a limit and from a bad query
    if failed := judge(answer):
        raise failed
    data: dict[str, Any] = answer.json["data"]
    return data


async def identify(ctx: Context[Any]) -> Identified:
    """The workspace that the key or the grant is for."""
    organization = (await ask(ctx, _IDENTITY))["organization"]
    return Identified(id=organization["id"], name=organization["name"])
