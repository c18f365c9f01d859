"""Persisted ids never change unseen: the catalog equals the snapshot that is kept beside this test.

`TIELINE_UPDATE_SNAPSHOT=1` writes the snapshot anew, so that a new id is a conscious act; an id that would be lost is refused
even then.
"""

from __future__ import annotations

import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tieline.catalog import load_catalog
from tieline.catalog.snapshot import lost, take_snapshot

KEPT = Path(__file__).with_name("snapshot.json")


@pytest.fixture
def kept() -> dict[str, Any]:
    """The snapshot of the last release."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def test_no_id_that_rows_are_stored_under_is_lost(kept: dict[str, Any]) -> None:
    assert lost(kept, take_snapshot(load_catalog())) == []


def test_the_catalog_is_the_one_in_the_snapshot(kept: dict[str, Any]) -> None:
    now = take_snapshot(load_catalog())
    if os.environ.get("TIELINE_UPDATE_SNAPSHOT") == "1" and not lost(kept, now):
        KEPT.write_text(json.dumps(now, indent=2) + "\n")
        return
    assert now == kept, "run this test with TIELINE_UPDATE_SNAPSHOT=1 if the change is meant"


@pytest.mark.parametrize(
    "path",
    [
        ("providers", "sandbox"),
        ("providers", "sandbox", "operations", "people"),
        ("providers", "github", "ways", "token"),
        ("checks", "people-use-mfa"),
    ],
)
def test_whatever_goes_is_named(kept: dict[str, Any], path: tuple[str, ...]) -> None:
    after = deepcopy(kept)
    inner = after
    for name in path[:-1]:
        inner = inner[name]
    gone = path[-1] if path[-1] in inner else min(inner)
    del inner[gone]
    assert lost(kept, after) == ["/" + "/".join([*path[:-1], gone])]


def test_a_lost_item_of_a_list_is_named(kept: dict[str, Any]) -> None:
    after = deepcopy(kept)
    after["providers"]["sandbox"]["ways"]["token"].remove("token")
    after["providers"]["sandbox"]["options"].append("another")
    assert lost(kept, after) == ["/providers/sandbox/ways/token/token"]
