"""Ids: prefixed, sortable by creation, read back exactly or not at all; an entity's id follows from what it is."""

from __future__ import annotations

import copy
import pickle
import re
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.ids import entity_uuid, from_uuid, new_id, to_uuid, uuid7

PREFIXES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
UUIDS = st.uuids() | st.builds(lambda number: UUID(int=number), st.integers(0, 2**128 - 1))


@given(PREFIXES, UUIDS)
def test_an_id_is_read_back_as_it_was_written(prefix: str, number: UUID) -> None:
    written = from_uuid(prefix, number)
    assert re.fullmatch(rf"{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}", written)
    assert to_uuid(written, prefix) == number


@given(UUIDS)
def test_a_uuid_that_was_read_is_one_in_every_respect(number: UUID) -> None:
    read = to_uuid(from_uuid("run", number), "run")
    assert (read.bytes, str(read), repr(read), hash(read)) == (number.bytes, str(number), repr(number), hash(number))
    assert (read.version, read.variant, read.is_safe) == (number.version, number.variant, number.is_safe)
    assert pickle.loads(pickle.dumps(read)) == copy.copy(read) == number
    assert type(read) is UUID


@given(PREFIXES, UUIDS, UUIDS)
def test_ids_sort_as_their_numbers_do(prefix: str, one: UUID, other: UUID) -> None:
    assert (from_uuid(prefix, one) < from_uuid(prefix, other)) == (one < other)


@given(PREFIXES, st.text(max_size=40) | st.from_regex(r"[a-z]{1,4}_[0-9a-z]{25,27}", fullmatch=True))
def test_what_is_no_id_is_refused_and_what_is_one_has_one_spelling(prefix: str, text: str) -> None:
    try:
        number = to_uuid(text, prefix)
    except ValueError:
        return
    assert from_uuid(prefix, number) == text


GOOD = from_uuid("run", UUID(int=2**128 - 1))


@pytest.mark.parametrize(
    "wrong",
    [
        "", "run", "run_", GOOD[4:], GOOD[:-1], GOOD + "0", GOOD.upper(), "conn" + GOOD[3:], " " + GOOD, GOOD + "\n",
        GOOD.replace("_", "-"), "run__" + GOOD[4:], "run_8" + GOOD[5:], GOOD[:-1] + "u", GOOD[:-1] + "i", GOOD[:-1] + "l",
        GOOD[:-1] + "o", GOOD[:-1] + "ü", GOOD[:-1] + "٣", GOOD[:-1] + "_", GOOD[:-1] + "\ud800",
        GOOD[:5] + "_" + GOOD[6:], "run_-" + GOOD[5:], "run_+" + GOOD[5:],
        "run_ " + GOOD[5:], "run_?" + GOOD[5:],
    ],
)  # fmt: skip
def test_other_forms_are_refused(wrong: str) -> None:
    assert to_uuid(GOOD, "run") == UUID(int=2**128 - 1)
    with pytest.raises(ValueError, match="not an id of the form run_"):
        to_uuid(wrong, "run")


def test_new_ids_are_uuids_of_version_7_with_the_present_time() -> None:
    before = time.time_ns() // 1_000_000
    made = [uuid7() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert all((one.version, one.variant) == (7, "specified in RFC 4122") for one in made)
    assert all(before <= one.int >> 80 <= after for one in made)
    assert len({one.int & (1 << 62) - 1 for one in made}) == 1_000


def test_an_id_made_later_sorts_later() -> None:
    made = []
    for _ in range(5):
        made.append(new_id("run"))
        moment = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == moment:
            pass
    assert made == sorted(made)


# Entities

CONNECTION = UUID("018f3a2b-0000-7000-8000-000000000001")


def test_an_entitys_id_is_the_same_for_ever() -> None:
    """Stored rows are found by these, so the derivation can never change."""
    assert from_uuid("ent", entity_uuid(CONNECTION, "account", "00u1")) == "ent_50v32wc81tg8k9j8p6d43ztqvx"
    assert from_uuid("ent", entity_uuid(CONNECTION, "account", "ünï:\ud800")) == "ent_50v32wdm4pgmmb1wjn0b1x7s55"


@given(st.text(max_size=30), st.sampled_from(["account", "group"]))
def test_an_entitys_id_is_a_uuid_of_version_8(external_id: str, kind: str) -> None:
    made = entity_uuid(CONNECTION, kind, external_id)
    assert (made.version, made.variant) == (8, "specified in RFC 4122")
    assert made == entity_uuid(CONNECTION, kind, external_id)


@pytest.mark.parametrize(
    "other",
    [
        lambda: entity_uuid(uuid4(), "account", "1"),
        lambda: entity_uuid(CONNECTION, "group", "1"),
        lambda: entity_uuid(CONNECTION, "account", "2"),
        lambda: entity_uuid(CONNECTION, "account1", ""),
        lambda: entity_uuid(CONNECTION, "accoun", "t1"),
    ],
)
def test_another_connection_kind_or_external_id_is_another_entity(other: Callable[[], UUID]) -> None:
    assert entity_uuid(CONNECTION, "account", "1") != other()


def test_entities_of_one_kind_lie_together() -> None:
    made = {entity_uuid(CONNECTION, "account", str(number)) for number in range(2_000)}
    assert len(made) == 2_000
    assert len({one.int >> 96 for one in made}) == 1
