"""What the command tells of entities as they were."""

from __future__ import annotations

from typing import Any


def test_an_entity_is_shown_as_of_a_time_and_its_history_told(synced: Any) -> None:
    one = synced("entities", "--kind", "account", "--limit", "1", "--json").json["items"][0]
    told = synced("entities", "history", one["id"], "--json").json
    assert [(row["what"], row["run_id"], row["until"]) for row in told["items"]] == [("created", one["run_id"], None)]
    assert "created" in synced("entities", "history", one["id"]).out
    then = synced("entities", "show", one["id"], "--as-of", one["first_seen_at"], "--json").json
    assert (then["data"], then["answers"]) == (one["data"], None)
    listed = synced("entities", "--kind", "account", "--as-of", one["first_seen_at"], "--json").json["items"]
    assert one["id"] in [row["id"] for row in listed]
    early = synced("entities", "show", one["id"], "--as-of", "30d")
    assert early.code != 0
    assert "first seen" in early.err


def test_two_times_of_an_entity_are_compared(synced: Any) -> None:
    one = synced("entities", "--kind", "account", "--limit", "1", "--json").json["items"][0]
    came = synced("entities", "diff", one["id"], "--since", "30d", "--json").json
    assert (came["before"], came["after"]["data"]) == (None, one["data"])
    assert {row["field"] for row in came["changes"]} == one["data"].keys()
    shown = synced("entities", "diff", one["id"], "--since", "30d").out
    assert "not read yet then, there later" in shown
    assert "not told" in shown
    assert one["data"]["email"] in shown
    stayed = synced("entities", "diff", one["id"])
    assert stayed.out == "No field differs.\n"
