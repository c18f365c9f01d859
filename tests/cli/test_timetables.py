"""How often a connection is read, and who looks after it, by the command."""

from __future__ import annotations

from typing import Any


def test_an_operation_is_given_a_period_and_switched_off_and_on(tieline: Any, company: Any) -> None:
    connection = company.connect(tieline, "--json").json["id"]
    about = "connections", "schedule", connection, "people"
    changed = tieline(*about, "--every", "7h", "--off", "--json").json
    assert (changed["every_seconds"], changed["own_every_seconds"], changed["enabled"]) == (25_200, 25_200, False)
    refused = tieline("sync", connection, "--operation", "people", "--json")
    assert (refused.code, refused.error["slug"]) == (1, "conflict")
    assert "--on" in refused.error["advice"]
    back = tieline(*about, "--every", "default", "--on")
    assert back.code == 0
    assert "own_every_seconds" not in back.out
    wrong = tieline(*about, "--every", "1m", "--json")
    assert (wrong.code, wrong.error["slug"]) == (1, "invalid")
    days = tieline("connections", "days", connection, "--json").json["items"]
    assert {(one["status"]) for one in days} == {"queued", "cancelled"}


def test_a_connection_has_an_owner_who_passes_it_on_when_they_leave(tieline: Any, company: Any) -> None:
    connection = company.connect(tieline, "--json").json["id"]
    for name in ("anna", "bela"):
        assert tieline("members", "invite", f"{name}@example.com").code == 0
    assert tieline("connections", "configure", connection, "--owner", "anna@example.com").code == 0

    def owned_by(owner: str) -> list[str]:
        return [
            one["id"] for one in tieline("connections", "--owner", owner, "--health", "works", "--json").json["items"]
        ]

    assert owned_by("anna@example.com") == [connection]
    removed = tieline("members", "remove", "anna@example.com", "--heir", "bela@example.com")
    assert "Connections that went to bela@example.com: 1." in removed.out
    assert owned_by("bela@example.com") == [connection]
    assert "have no owner now: 1." in tieline("members", "remove", "bela@example.com").out
    assert owned_by("nobody") == [connection]
