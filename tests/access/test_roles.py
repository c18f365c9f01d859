"""Roles: each reaches as far as those before it, and no further."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tieline.access.roles import ROLES, Caller
from tieline.errors import NotAllowed


@pytest.mark.parametrize(("has", "needs"), list(itertools.product(ROLES, ROLES)))
def test_a_role_does_all_that_the_lesser_ones_do(has: Any, needs: Any) -> None:
    caller = Caller("org_1", "key_1", has)
    if ROLES.index(has) >= ROLES.index(needs):
        caller.must_be(needs)
        return
    with pytest.raises(NotAllowed, match=f"needs the role {needs}; yours is {has}"):
        caller.must_be(needs)


def test_the_roles_from_the_least_to_the_most() -> None:
    assert ROLES == ("auditor", "member", "admin", "owner", "operator")
