"""Transform: a record becomes an entity or a refusal that names the field; what cannot be stored does not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.steps import compiled

from tieline.ids import entity_uuid
from tieline.sdk import Account, Device, Record
from tieline.stages.transform import (
    MAX_RECORD_BYTES,
    Candidate,
    Draft,
    Refusal,
    Transformed,
    draft,
    finish,
    hashes_of,
    transform,
    without_nul,
)
from tieline.store.entities import SAID_BYTES, Known

CONNECTION = uuid4()
PERSON = Account.map(external_id="string(payload.id)", email="payload.email", admin="payload.admin")
ROBOT = Device.map(external_id="payload.serial", name="payload.name", variant="robot")


def made(*records: Any, mapping: Any = PERSON) -> Transformed:
    return transform(records, compiled(mapping), connection=CONNECTION, options={})


def one(record: Any, mapping: Any = PERSON) -> Candidate:
    (candidate,) = made(record, mapping=mapping).candidates.values()
    return candidate


def refused(record: Any, mapping: Any = PERSON) -> Refusal:
    result = made(record, mapping=mapping)
    assert not result.candidates
    (refusal,) = result.refusals
    return refusal


def test_a_record_that_fits_becomes_an_entity() -> None:
    found = one({"id": 7, "email": "Ann@Example.com", "admin": None})
    assert (found.entity.kind, found.entity.external_id) == ("account", "7")
    assert isinstance(found.entity, Account)
    assert (found.entity.email, found.entity.admin) == ("ann@example.com", None)
    assert orjson.loads(found.raw) == {"id": 7, "email": "Ann@Example.com", "admin": None}


def test_an_unread_record_becomes_what_it_becomes_parsed() -> None:
    records = [{"id": 7, "email": "Ann@Example.com", "admin": None}, {"id": {}}, ["no object"]]
    unread = made(*map(orjson.dumps, records))
    (there,), (here,) = unread.candidates.values(), made(*records).candidates.values()
    assert replace(there, hash=here.hash) == here
    assert there.hash[:SAID_BYTES] == here.hash[:SAID_BYTES]
    assert [(one.field, one.reason) for one in unread.refusals] == [
        (one.field, one.reason) for one in made(*records).refusals
    ]


@pytest.mark.parametrize("text", [b'{"id": 1e999}', b'{"id": 1, "deep": ' + b"[" * 120 + b"]" * 120 + b"}"])
def test_an_unread_record_that_cannot_be_parsed_is_refused_alone(text: bytes) -> None:
    result = made(b'{"id": 1}', text)
    assert [one.entity.external_id for one in result.candidates.values()] == ["1"]
    assert [(one.field, one.reason) for one in result.refusals] == [("record", "is not JSON, or nested too deeply")]


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ("text", "record"),
        (None, "record"),
        ([], "record"),
        ({"id": {}}, "external_id"),
        ({"email": "a@b.c"}, "external_id"),
        ({"id": 1, "admin": "yes"}, "admin"),
        ({"id": 1, "email": 3}, "email"),
        ({"id": "x" * 601}, "external_id"),
        ({"id": "x", "email": "a" * 400}, "email"),
        ({"id": 1, "more": float, "email": "a@b.c"}, "record"),
        ({"id": "a lone \ud800 surrogate"}, "record"),
        ({"id": 2**70}, "record"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_by_field(record: Any, field: str) -> None:
    refusal = refused(record)
    assert (refusal.kind, refusal.field) == ("account", field)
    assert refusal.reason


def test_a_reason_never_quotes_the_value() -> None:
    assert "hunter2" not in refused({"id": "1", "admin": "hunter2"}).reason


def test_one_bad_record_does_not_spoil_the_others() -> None:
    result = made({"id": 1}, {"id": {}}, {"id": 2})
    assert {found.entity.external_id for found in result.candidates.values()} == {"1", "2"}
    assert len(result.refusals) == 1


def test_what_the_filter_leaves_out_is_skipped_and_not_refused() -> None:
    mapping = PERSON.adjusted(filter="payload.kind != 'bot'")
    result = made({"id": 1, "kind": "bot"}, {"id": 2, "kind": "human"}, mapping=mapping)
    assert (result.skipped, len(result.refusals)) == (1, 0)
    assert [found.entity.external_id for found in result.candidates.values()] == ["2"]


def test_a_variant_takes_its_own_mapping_and_an_unknown_one_is_refused() -> None:
    records = [Record({"serial": "r2", "name": "R2"}, "robot"), {"id": 1}, Record({"id": 2}, "alien")]
    result = transform(records, compiled(PERSON, ROBOT), connection=CONNECTION, options={})
    assert sorted(found.entity.kind for found in result.candidates.values()) == ["account", "device"]
    assert [(refusal.field, "alien" in refusal.reason) for refusal in result.refusals] == [("variant", True)]


def test_of_a_record_that_comes_twice_the_later_one_counts() -> None:
    result = made({"id": 1, "email": "old@example.com"}, {"id": 1, "email": "new@example.com"})
    (found,) = result.candidates.values()
    assert isinstance(found.entity, Account)
    assert found.entity.email == "new@example.com"


def test_a_record_that_is_too_large_is_refused_without_being_kept() -> None:
    refusal = refused({"id": 1, "blob": "x" * MAX_RECORD_BYTES})
    assert refusal.record is None
    assert "larger" in refusal.reason


def test_large_whole_numbers_stay_whole_and_numbers_as_text_stay_text() -> None:
    assert one({"id": 2**53 + 1}).entity.external_id == "9007199254740993"
    assert one({"id": "007"}).entity.external_id == "007"
    assert one({"id": 7}).id != one({"id": "07"}).id


def test_a_number_where_an_id_must_be_text_is_refused() -> None:
    assert refused({"serial": 5, "name": "n"}, Device.map(external_id="payload.serial", name="payload.name")).field == (
        "external_id"
    )


def test_a_nul_is_replaced_everywhere_before_anything_sees_it() -> None:
    found = one({"id": "a\0b", "email": "x\0@y.z", "\0key": "\\u0000"})
    assert found.entity.external_id == "a\ufffdb"
    assert isinstance(found.entity, Account)
    assert found.entity.email == "x\ufffd@y.z"
    assert orjson.loads(found.raw) == {"id": "a\ufffdb", "email": "x\ufffd@y.z", "\ufffdkey": "\\u0000"}


@given(st.text(alphabet="\0\\u0f", max_size=30))
def test_only_a_nul_is_replaced(text: str) -> None:
    assert orjson.loads(without_nul(orjson.dumps(text))) == text.replace("\0", "\ufffd")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=6))
def test_the_order_of_keys_changes_nothing(record: dict[str, Any]) -> None:
    named = {**record, "id": "one"}
    turned = dict(reversed(named.items()))
    first, second = made(named), made(turned)
    assert first.candidates == second.candidates
    assert len(first.refusals) == len(second.refusals)


def test_any_change_of_a_record_changes_its_hash_and_a_dropped_field_does_not() -> None:
    mapping = Account.map(external_id="payload.id", drop=("seen_at", "secret.value"))
    plain = one({"id": "1", "seen_at": 1, "secret": {"value": "x", "name": "n"}}, mapping)
    assert plain.hash == one({"id": "1", "seen_at": 2, "secret": {"value": "y", "name": "n"}}, mapping).hash
    assert plain.hash != one({"id": "1", "seen_at": 1, "secret": {"value": "x", "name": "m"}}, mapping).hash
    assert "value" not in plain.raw


def test_another_mapping_changes_the_hash_of_the_same_record() -> None:
    assert one({"id": 1}).hash != one({"id": 1}, PERSON.adjusted(fields={"admin": "true"})).hash


def test_a_refused_record_still_shows_that_its_entity_is_there() -> None:
    batch = made({"id": 7, "email": 5}, {"id": 8}, {"email": "ann@example.com"})

    assert [refusal.id for refusal in batch.refusals] == [entity_uuid(CONNECTION, "account", "7"), None]
    assert batch.seen == [entity_uuid(CONNECTION, "account", "8"), entity_uuid(CONNECTION, "account", "7")]
    assert batch.unidentified == 1


def test_other_options_make_a_record_count_as_changed() -> None:
    record = {"id": 7}
    first, other = (
        next(iter(transform([record], compiled(PERSON), connection=CONNECTION, options=options).candidates.values()))
        for options in ({"region": "eu"}, {"region": "us"})
    )

    assert first.hash != other.hash


def test_neither_hash_of_a_record_is_so_short_that_two_records_could_be_made_to_share_it() -> None:
    found = one(b'{"id": 7}')
    (text,) = hashes_of(draft([b'{"id": 7}'], compiled(PERSON), connection=CONNECTION, options={})).values()
    assert text == found.hash[SAID_BYTES:]
    assert min(len(text), len(found.hash[:SAID_BYTES])) >= 16


def test_a_record_that_says_the_same_in_another_order_has_the_same_hash_but_for_its_text() -> None:
    first, other = one(b'{"id": 7, "email": "a@b.c"}'), one(b'{"email":"a@b.c","id":7}')
    assert first.hash[:SAID_BYTES] == other.hash[:SAID_BYTES]
    assert first.hash[SAID_BYTES:] != other.hash[SAID_BYTES:]
    assert first.raw == other.raw


def test_what_is_dropped_leaves_no_trace_in_the_hash_of_the_text_either() -> None:
    mapping = Account.map(external_id="payload.id", drop=("pin",))
    assert one(b'{"id": "7", "pin": 1234}', mapping).hash == one(b'{"id": "7", "pin": 4321}', mapping).hash


def test_a_record_is_recognised_by_its_text_without_being_read() -> None:
    texts = [
        b'{"id": 7, "email": "a@b.c"}',
        b'{"id": 8, "broken": nothing}',
        b'{"id": 9, "deep": ' + b"[" * 120 + b"]" * 120 + b"}",
    ]
    about: dict[str, Any] = {"connection": CONNECTION, "options": {}}
    found = draft(texts, compiled(PERSON), **about)
    assert [one.id for one in found] == [
        entity_uuid(CONNECTION, "account", "7"),
        None,
        entity_uuid(CONNECTION, "account", "9"),
    ]
    known = {one.id: Known(None, {}, None) for one in found if one.id}
    result = finish(draft(texts, compiled(PERSON), **about), known)
    assert [one.entity.external_id for one in result.candidates.values()] == ["7"]
    assert [(one.field, one.id) for one in result.refusals] == [("record", None)] * 2  # as of one that was read at once


def test_what_says_the_same_as_is_stored_is_not_mapped_and_still_seen() -> None:
    drafts = draft([{"id": 1}, {"id": 2}, {"id": {}}], compiled(PERSON), connection=CONNECTION, options={})
    first, second = (one.id for one in drafts if isinstance(one, Draft) and one.id)
    result = finish(drafts, {second: Known(None, {}, None)})
    assert (list(result.candidates), result.same, len(result.refusals)) == ([second], {first}, 1)
    assert set(result.seen) == {first, second}


@pytest.mark.parametrize(
    ("records", "stored", "written", "same", "refused"),
    [
        ([{"id": 1, "email": "a@b.c"}, {"id": 1}], {"id": 1}, None, True, 0),
        ([{"id": 1}, {"id": 1, "email": "a@b.c"}], {"id": 1}, "a@b.c", False, 0),
        ([{"id": 1}, {"id": 1, "admin": "yes"}], {"id": 1}, None, False, 1),
        ([{"id": 1, "admin": "yes"}, {"id": 1}], {"id": 1}, None, True, 1),
    ],
)
def test_of_a_record_that_comes_twice_the_later_one_that_fits_counts(
    records: list[Any], stored: Any, written: str | None, same: bool, refused: int
) -> None:
    """`known` is as the look-up tells it: whoever is named last with another hash than the stored one."""
    drafts = draft(records, compiled(PERSON), connection=CONNECTION, options={})
    at_rest = hashes_of(draft([stored], compiled(PERSON), connection=CONNECTION, options={}))
    known = {id: Known(at_rest[id], {}, None) for id, hash in hashes_of(drafts).items() if hash != at_rest[id]}
    result = finish(drafts, known)
    assert (bool(result.same), len(result.refusals)) == (same, refused)
    found = [one.entity.email for one in result.candidates.values() if isinstance(one.entity, Account)]
    assert found == ([] if same else [written])
