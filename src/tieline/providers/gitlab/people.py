"""What GitLab tells of its users beyond a name: to a group's Owner of enterprise users, to an administrator of everybody."""

from __future__ import annotations

import asyncio
from typing import Any

from tieline.providers.gitlab.group import GitlabOptions, path_of
from tieline.sdk import Context, Forbidden, LinkHeader

Person = dict[str, Any]

_PUBLIC = ("id", "username", "name", "state", "locked", "public_email", "web_url")
_PRIVATE = ("email", "bot", "two_factor_enabled", "created_at", "last_sign_in_at", "current_sign_in_at", "job_title")


class People:
    """Describes members: by an administrator's view, by the group's enterprise users, or by name alone.

    What it needs for that it reads when it is first asked, which must be while a list is open: a list opened before that one
    would be the one that is resumed.
    """

    def __init__(self, ctx: Context[GitlabOptions]) -> None:
        self._ctx = ctx
        self._reading = asyncio.Lock()
        self._is_administrator: bool | None = None
        self._known: dict[int, Person] = {}

    async def describe(self, member: Person) -> Person:
        """The same whichever membership somebody was found by, so that nobody changes by being found twice."""
        async with self._reading:
            if self._is_administrator is None:
                await self._look_around()
        more = self._known.get(member["id"], {})
        if self._is_administrator:
            more = await self._ctx.get(f"/users/{member['id']}", missing={})
        told = {name: member[name] for name in _PUBLIC if name in member}
        return told | {name: more[name] for name in _PRIVATE if name in more}

    async def _look_around(self) -> None:
        user = await self._ctx.get("/user")
        if not user.get("is_admin"):
            self._known = await self._enterprise_users()
        self._is_administrator = bool(user.get("is_admin"))

    async def _enterprise_users(self) -> dict[int, Person]:
        """The accounts that the group's company owns; none where there are no such accounts or they are not told."""
        listed = self._ctx.pages(f"{path_of(self._ctx)}/enterprise_users", pages=LinkHeader(), missing=())
        try:
            return {user["id"]: user async for user in listed}
        except Forbidden:
            return {}


async def read_members(ctx: Context[GitlabOptions]) -> set[int]:
    """The ids of all who are in the group itself."""
    return {member["id"] async for member in ctx.pages(f"{path_of(ctx)}/members/all", pages=LinkHeader())}
