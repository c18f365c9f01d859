"""Reading: what a provider will be read for, permission by permission, so that a person can say yes to it knowingly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tieline.catalog import Catalog
from tieline.sdk.auth import Auth
from tieline.sdk.entities import KINDS
from tieline.sdk.provider import Provider
from tieline.web.pages.catalogue import checks_of


@dataclass(frozen=True)
class Permission:
    """A permission with what is read by it, and the kinds of what that becomes; `scopes` has alternatives, or nothing for what needs none."""

    scopes: tuple[str, ...]
    titles: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """All that a provider will be read for.

    `beside` are permissions that are asked for and read nothing: to know the account by, and to stay signed in. `unread` are the kinds
    that Tieline knows and does not read here. `checks` are the titles of what is checked.
    """

    permissions: tuple[Permission, ...]
    beside: tuple[str, ...]
    unread: tuple[str, ...]
    checks: tuple[str, ...]


def reading_of(catalog: Catalog, provider: Provider[Any], auth: Auth) -> Reading:
    """What a provider will be read for, if it is connected by this way."""
    by_need: dict[str, list[Any]] = {}
    for operation in provider.operations:
        for need in sorted(operation.needs) or [""]:
            by_need.setdefault(need, []).append(operation)
    permissions = tuple(
        Permission(
            tuple(filter(None, need.split("|"))),
            tuple(one.title for one in operations),
            tuple(sorted({kind for one in operations for kind in one.kinds})),
        )
        for need, operations in sorted(by_need.items())
    )
    served = {scope for one in permissions for scope in one.scopes}
    kinds = {kind for one in permissions for kind in one.kinds}
    return Reading(
        permissions,
        tuple(scope for scope in getattr(auth, "scopes", ()) if scope not in served),
        tuple(kind for kind in KINDS if kind not in kinds),
        tuple(one.title for one in checks_of(catalog, provider)),
    )
