"""Credentials by the command: rotating, going back, switching, and what disconnecting says."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def connection(tieline: Any, company: Any) -> str:
    ended = company.connect(tieline, "--by", "token", "--expires", "2199-01-31", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["expires_at"] == "2199-01-31T00:00:00.000000Z"
    identifier: str = ended.json["id"]
    return identifier


def held(tieline: Any, connection: str) -> list[tuple[int, bool]]:
    """Number of each version, and whether it is in force."""
    items = tieline("connections", "credentials", connection, "--json").json["items"]
    return [(one["version"], one["in_force"]) for one in items]


def test_a_credential_is_rotated_and_gone_back_to(tieline: Any, company: Any, connection: str) -> None:
    nothing = tieline("connections", "roll-back", connection, "--json")
    assert (nothing.code, nothing.error["slug"]) == (1, "conflict")
    given = ("--credential", "token=-", "--expires", "2199-12-31")
    rotated = tieline("connections", "rotate", connection, *given, stdin=company.token)
    assert (rotated.code, rotated.out) == (
        0,
        "Its new credential is in force: Sandbox: Larkfield Instruments is active.\n",
    )
    assert held(tieline, connection) == [(2, True), (1, False)]
    back = tieline("connections", "roll-back", connection)
    assert back.out.startswith("Its former credential is in force again: Sandbox: Larkfield Instruments is active.")
    assert held(tieline, connection) == [(2, False), (1, True)]
    shown = tieline("connections", "show", connection, "--json").json
    assert shown["expires_at"] == "2199-01-31T00:00:00.000000Z"


def test_the_credentials_are_listed_and_never_what_is_in_them(tieline: Any, company: Any, connection: str) -> None:
    listed = tieline("connections", "credentials", connection)
    assert listed.code == 0
    assert "fingerprint" in listed.out.lower()
    (row,) = tieline("connections", "credentials", connection, "--json").json["items"]
    assert row["fingerprint"] in listed.out
    assert row["created_by"].startswith("cli:")
    assert company.token not in listed.out + str(row)
    assert tieline("connections", "credentials", "conn_nonsense", "--json").error["slug"] == "not-found"


def test_a_credential_that_fails_its_test_is_not_put_in_force(tieline: Any, company: Any, connection: str) -> None:
    for given, slug in (("lks_wrong", "credential-rejected"), ("nonsense", "invalid")):
        ended = tieline("connections", "rotate", connection, "--credential", "token=-", "--json", stdin=given)
        assert (ended.code, ended.error["slug"]) == (1, slug)
        assert given not in ended.out + ended.err
    past = ("--credential", "token=-", "--expires", "2001-01-01", "--json")
    assert tieline("connections", "rotate", connection, *past, stdin=company.token).error["slug"] == "invalid"
    assert held(tieline, connection) == [(1, True)]


def test_a_way_is_switched_to_only_if_its_credential_is_held(tieline: Any, company: Any, connection: str) -> None:
    switched = tieline("connections", "switch", connection, "--by", "token")
    assert switched.out.startswith("It goes on by token: Sandbox")
    for verb in (["switch"], ["rotate", "--credential", "token=-"]):
        ended = tieline("connections", *verb, connection, "--by", "oauth2", "--json", stdin=company.token)
        assert (ended.code, ended.error["slug"]) == (1, "invalid")
        assert "ways are: token" in ended.error["advice"]
    assert tieline("connections", "switch", connection).code == 2
    unknown = company.connect(tieline, "--by", "oauth2", "--json")
    assert (unknown.code, unknown.error["slug"]) == (1, "invalid")


def test_disconnecting_says_what_became_of_the_credential(tieline: Any, connection: str) -> None:
    gone = tieline("connections", "disconnect", connection, "--yes")
    assert gone.out.startswith("Disconnected: Sandbox: Larkfield Instruments. Its credentials are destroyed;")
    assert "was told" not in gone.out, "there is nothing that the sandbox could be told"
    assert "could not be told" not in gone.out
    assert tieline("connections", "credentials", connection, "--json").json["items"] == []
    again = tieline("connections", "disconnect", connection, "--yes", "--json")
    assert (again.code, again.error["slug"]) == (1, "conflict")


def test_disconnecting_tells_programs_the_same(tieline: Any, connection: str) -> None:
    told = tieline("connections", "disconnect", connection, "--yes", "--json").json
    assert (told["status"], told["revoked"], told["to_revoke"]) == ("disconnected", 0, 0)
    assert isinstance(told["remains"], str)
