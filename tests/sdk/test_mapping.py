"""Mappings: whatever a provider sends, a record becomes an entity, is left out, or is rejected without being quoted."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.sdk import AccessKey, Account, Device, Entity, Group, Mapping, Policy, Vulnerability
from tieline.sdk.cel import CelError
from tieline.sdk.mapping import Rejected

FIELDS = {
    "id", "email", "name", "kind", "status", "active", "mfa", "last", "meta", "teams", "score", "secret",
}  # fmt: skip

# Between them these use what the shipped providers use: paths, conversions, conditions, loops, text functions.
MAPPINGS: list[Mapping[Any]] = [
    Account.map(
        filter="payload.kind != 'bot'",
        external_id="string(payload.id)",
        email="payload.email",
        display_name="payload.name.first + ' ' + payload.name.last",
        username="payload.email.split('@')[0]",
        active="payload.status == 'active'",
        admin="payload.teams.exists(t, t.name == 'admins')",
        mfa="payload.mfa.size() > 0",
        last_login_at="payload.last",
        created_at="timestamp(payload.meta.created)",
        type="payload.kind",
    ),
    Group.map(external_id="payload.id", name="payload.name", member_count="payload.teams.size()", type="payload.kind"),
    Policy.map(
        external_id="payload.id", name="payload.name", type="payload.kind", priority="payload.score", status="payload.status",
        min_length="int(payload.score)", session_hours="payload.score / 60.0", mfa_required="payload.mfa",
    ),
    Vulnerability.map(
        external_id="payload.id", title="payload.name", score="payload.score", severity="payload.kind.lowerAscii()",
        description="payload.meta", cve="payload.teams.filter(t, t.startsWith('CVE')).join(',')",
    ),
]  # fmt: skip
COMPILED = [one.compile() for one in MAPPINGS]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
USUAL = st.sampled_from(["active", "person", "password", "HIGH", "a@b.example", "2024-02-30", "2024-02-29T23:59:60Z"])
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXT | USUAL
KEYS = st.sampled_from([*FIELDS, "first", "last", "created"]) | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
RECORDS = st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, max_size=len(FIELDS))
NAMED = st.fixed_dictionaries({"id": st.text("abc1", min_size=1) | NUMBERS, "kind": USUAL, "name": TEXT | VALUES})
MAPPED = st.sampled_from(COMPILED)


def apply(mapping: Mapping[Any], record: dict[str, Any]) -> Any:
    return mapping.compile().apply(record)


def account(**fields: str) -> Mapping[Account]:
    return Account.map(**({"external_id": "payload.id"} | fields))


@given(MAPPED, RECORDS | st.builds(lambda named, more: more | named, NAMED, RECORDS))
def test_a_mapping_never_raises(mapping: Any, record: dict[str, Any]) -> None:
    made = mapping.apply(record)
    assert made is None or isinstance(made, Rejected | Entity)


@given(st.integers(1, 20), VALUES, st.sampled_from(["object", "list"]))
def test_depth_is_no_obstacle(depth: int, inner: Any, shape: str) -> None:
    for _ in range(depth):
        inner = {"created": inner} if shape == "object" else [inner]
    for mapping in COMPILED:
        made = mapping.apply({"id": "1", "kind": "person", "name": "n", "meta": inner, "teams": inner})
        assert made is None or isinstance(made, Rejected | Entity)


def test_a_record_that_is_nested_too_deeply_is_rejected_where_that_is_read() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    read, unread = account(display_name="payload.more[0]"), account()
    assert apply(read, {"id": "1", "more": deep}) == Rejected("display_name", "the data is nested deeper than 100")
    assert apply(unread, {"id": "1", "more": deep}) == Account(external_id="1")


@given(MAPPED, RECORDS, st.lists(KEYS, max_size=4))
def test_null_and_missing_are_the_same(mapping: Any, record: dict[str, Any], more: list[str]) -> None:
    padded = with_nulls(record, more)
    assert mapping.apply(padded) == mapping.apply(without_nulls(padded))


def with_nulls(value: Any, names: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: with_nulls(item, names) for key, item in value.items()} | {
            name: None for name in names if name not in value
        }
    return [with_nulls(item, names) for item in value] if isinstance(value, list) else value


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@given(st.integers(-(2**63), 2**64 - 1))
def test_whole_numbers_stay_whole(number: int) -> None:
    record = json.loads(json.dumps({"id": number, "deep": {"ids": [number]}}))
    assert apply(account(external_id="string(payload.id)"), record).external_id == str(number)
    assert apply(account(external_id="string(payload.deep.ids[0])"), record).external_id == str(number)
    made = apply(Policy.map(external_id="'1'", name="'n'", type="'other'", priority="payload.id"), record)
    assert made.priority == number
    assert type(made.priority) is int


@given(st.integers(2**64, 2**80) | st.integers(-(2**80), -(2**63) - 1))
def test_a_number_beyond_64_bits_is_rejected_rather_than_rounded(number: int) -> None:
    made = apply(account(external_id="string(payload.id)"), {"id": number})
    assert isinstance(made, Rejected)
    assert made.field == "external_id"


MARK = "Zq7mark"
MARKED = st.recursive(
    st.just(MARK) | st.text("ab:/@-", max_size=5).map(lambda text: f"{text}{MARK}{text}") | st.just(981273645),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIELDS, MARK]), inner, max_size=4),
    max_leaves=10,
)


@given(MAPPED, st.dictionaries(st.sampled_from(sorted(FIELDS)), MARKED))
def test_a_rejection_never_quotes_the_value(mapping: Any, record: dict[str, Any]) -> None:
    made = mapping.apply(record | {"kind": "person"})
    if isinstance(made, Rejected):
        assert MARK not in made.reason
        assert "981273645" not in made.reason
        assert made.field in mapping.entity.model_fields
        assert made.reason


@pytest.mark.parametrize(
    ("fields", "record", "field", "reason"),
    [
        ({}, {}, "external_id", "has no value in this record"),
        ({}, {"id": 5}, "external_id", "is not text: map a number with string()"),
        ({}, {"id": ""}, "external_id", "String should have at least 1 character"),
        ({"mfa": "payload.mfa"}, {"id": "1", "mfa": "yes"}, "mfa", "Input should be a valid boolean"),
        ({"last_login_at": "payload.at"}, {"id": "1", "at": "soon"}, "last_login_at", "is not a date and time"),
        ({"last_login_at": "payload.at"}, {"id": "1", "at": 1700000000}, "last_login_at", "is not a date and time"),
        ({"type": "payload.type"}, {"id": "1", "type": "robot"}, "type", "Input should be 'person', 'service' or 'guest'"),
        ({"mfa": "payload.n > 1"}, {"id": "1", "n": "x"}, "mfa", "it failed on this data: No matching overloads found : "),
    ],
)  # fmt: skip
def test_a_rejection_names_the_field_and_the_reason(
    fields: dict[str, str], record: dict[str, Any], field: str, reason: str
) -> None:
    made = apply(account(**fields), record)
    assert isinstance(made, Rejected)
    assert made.field == field
    assert made.reason.startswith(reason)


def test_of_several_wrong_times_the_first_declared_is_named_whatever_the_hash_seed() -> None:
    mapping = account(created_at="payload.at", last_login_at="payload.at", password_changed_at="payload.at")
    made = apply(mapping, {"id": "1", "at": "never"})
    assert made == Rejected("password_changed_at", "is not a date and time")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("2024-02-29T14:00:00+02:00", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("2024-02-29T12:00:00", datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_times_come_as_text_and_without_a_zone_mean_utc(text: str, moment: datetime) -> None:
    made = apply(AccessKey.map(external_id="'1'", created_at="payload.at", expires_at="timestamp('2030-01-01T00:00:00Z')"), {"at": text})  # fmt: skip
    assert made.created_at == moment
    assert made.expires_at == datetime(2030, 1, 1, tzinfo=UTC)


def test_a_filter_leaves_out_what_does_not_hold_and_rejects_what_it_cannot_know() -> None:
    mapping = replace(account(), filter="payload.kind == 'person'")
    assert apply(mapping, {"id": "1", "kind": "person"}).external_id == "1"
    assert apply(mapping, {"id": "1", "kind": "bot"}) is None
    assert apply(mapping, {"id": "1"}).field == "filter"


def test_a_filter_that_answers_neither_true_nor_false_rejects_the_record() -> None:
    for filter_ in ("payload.kind", "1 + 1"):
        made = apply(account().adjusted(filter=filter_), {"id": "1", "kind": "person"})
        assert isinstance(made, Rejected)
        assert made.field == "filter"


def test_a_filter_that_fails_rejects_the_record() -> None:
    made = apply(replace(account(), filter="payload.age > 3"), {"id": "1", "age": "four"})
    assert isinstance(made, Rejected)
    assert made.field == "filter"


def test_expressions_see_the_variant_and_the_options() -> None:
    mapping = account(title="variant", department="options.unit").compile()
    made = mapping.apply({"id": "1"}, variant="old", options={"unit": "sales"})
    assert isinstance(made, Account)
    assert (made.title, made.department) == ("old", "sales")


# Dropping


def test_dropped_paths_are_gone_and_the_record_stays_as_it_was() -> None:
    record = {"id": "1", "secret": "s", "meta": {"etag": 5, "name": "n"}, "teams": [{"secret": "kept"}], "name": None}
    before = json.dumps(record)
    mapping = Device.map(external_id="payload.id", name="payload.meta.name", drop=("secret", "meta.etag", "name", "id.x", "absent.x"))  # fmt: skip
    assert mapping.compile().clean(record) == {"id": "1", "meta": {"name": "n"}, "teams": [{"secret": "kept"}]}
    assert json.dumps(record) == before


@given(RECORDS, st.lists(st.sampled_from(sorted(FIELDS)), max_size=3), st.sampled_from(["", ".first", ".meta.id"]))
def test_what_is_dropped_is_nowhere_at_its_path_and_all_else_is_kept(
    record: dict[str, Any], names: list[str], inside: str
) -> None:
    paths = tuple(name + inside for name in names)
    cleaned = replace(account(), drop=paths).compile().clean(record)
    for path in paths:
        assert not reaches(cleaned, path.split("."))
    for name in record.keys() - set(names):
        assert cleaned[name] == record[name]


def reaches(value: Any, path: list[str]) -> bool:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


# Adjusting, and telling whether anything changed


CHOICES = st.fixed_dictionaries(
    {}, optional={"kind": st.sampled_from(["person", "bot", 5]), "active": st.booleans(), "id": st.just("1")}
)


@given(CHOICES)
def test_adjusted_filters_let_pass_what_both_let_pass(record: dict[str, Any]) -> None:
    base, own = "payload.kind == 'person'", "has(payload.id) || payload.active == true"
    mapping = account(external_id="'1'")
    both = apply(replace(mapping, filter=base).adjusted(filter=own), record)
    alone = [apply(replace(mapping, filter=one), record) for one in (base, own)]
    assert isinstance(both, Account) == all(isinstance(one, Account) for one in alone)


def test_adjusting_by_nothing_changes_nothing() -> None:
    assert account().adjusted() == account()
    assert account().adjusted(filter="", fields={}).revision == account().revision


def test_adjusting_again_takes_the_place_of_the_earlier_adjustment() -> None:
    twice = account().adjusted(filter="payload.a == 1").adjusted(filter="payload.b == 1")
    assert apply(twice, {"id": "1", "b": 1}).external_id == "1"


def test_a_fault_of_an_own_filter_or_field_is_told() -> None:
    assert account().adjusted(filter="payload.a ==").faults()[0].startswith("filter: line 1")
    assert account().adjusted(fields={"shoe": "'42'"}).faults() == ["Account has no field 'shoe'"]
    assert account().adjusted(fields={"title": "payload."}).faults()[0].startswith("title: line 1")
    with pytest.raises(CelError):
        account().adjusted(filter="payload.a ==").compile()


CHANGES: list[Mapping[Any]] = [
    account(),
    account(email="payload.email"),
    account(email="payload.mail"),
    account(username="payload.email"),
    replace(account(), filter="payload.active"),
    replace(account(), filter="payload.active").adjusted(filter="payload.id != ''"),
    replace(account(), drop=("etag",)),
    replace(account(), drop=("etag", "meta")),
    replace(account(), variant="old"),
    Device.map(external_id="payload.id", name="payload.name"),
    Group.map(external_id="payload.id", name="payload.name"),
]


def test_each_change_of_a_declaration_changes_its_revision() -> None:
    assert len({one.revision for one in CHANGES}) == len(CHANGES)


def test_the_order_of_a_declaration_does_not_matter_to_its_revision() -> None:
    one = Account.map(external_id="payload.id", email="payload.email", drop=("a", "b"))
    other = Account.map(email="payload.email", external_id="payload.id", drop=("b", "a"))
    assert one.revision == other.revision
