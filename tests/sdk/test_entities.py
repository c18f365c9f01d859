"""The normalised kinds: strict, frozen, and linked by the external ids of others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tieline.sdk import AccessKey, Account, Entity, Group, Membership
from tieline.sdk.entities import KINDS, links_of

REQUIRED: dict[str, dict[str, Any]] = {
    "membership": {"account": "a", "group": "g"},
    "authenticator": {"account": "a"},
    "policy": {"name": "n", "type": "password"},
    "vulnerability": {"title": "t"},
    "alert": {"title": "t"},
} | {kind: {"name": "n"} for kind in ("group", "repository", "application", "device", "asset")}

kinds = pytest.mark.parametrize("kind", sorted(KINDS))


def make(kind: str, **fields: Any) -> Entity:
    return KINDS[kind](**({"external_id": "1"} | REQUIRED.get(kind, {}) | fields))


@kinds
def test_what_is_not_told_is_not_known_rather_than_false(kind: str) -> None:
    entity = make(kind)
    given = {"external_id", *REQUIRED.get(kind, {}), "type" if kind == "account" else ""}
    assert {name for name in type(entity).model_fields if getattr(entity, name) is not None} <= given


@kinds
def test_a_field_that_the_kind_lacks_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        make(kind, shoe_size=42)


@kinds
def test_an_entity_does_not_change(kind: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make(kind).external_id = "2"


@kinds
@pytest.mark.parametrize("external_id", ["", "x" * 601, 1, None, b"1"])
def test_an_external_id_is_text_of_one_to_600_characters(kind: str, external_id: Any) -> None:
    with pytest.raises(ValidationError):
        make(kind, external_id=external_id)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("account", "mfa", "true"),
        ("account", "mfa", 1),
        ("account", "active", "yes"),
        ("account", "display_name", 5),
        ("account", "status", "asleep"),
        ("account", "email", "x" * 321),
        ("account", "created_at", "2024-01-01T00:00:00Z"),
        ("account", "created_at", datetime(2024, 1, 1)),  # noqa: DTZ001  the missing zone is the point
        ("group", "member_count", -1),
        ("group", "member_count", 1.0),
        ("group", "member_count", "1"),
        ("policy", "min_length", True),
        ("vulnerability", "severity", "HIGH"),
        ("vulnerability", "description", "x" * 20_001),
    ],
)
def test_nothing_is_converted_by_guessing(kind: str, field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        make(kind, **{field: value})
    assert refused.value.errors()[0]["loc"] == (field,)


def test_a_whole_number_is_a_fine_number_with_a_fraction() -> None:
    assert make("policy", session_hours=12) == make("policy", session_hours=12.0)


def test_an_email_is_kept_in_lower_case() -> None:
    assert Account(external_id="1", email="Anna.B@Acme.Example").email == "anna.b@acme.example"


@pytest.mark.parametrize("status", ["active", "invited", "inactive", "suspended", "deleted"])
def test_active_follows_from_the_status(status: Any) -> None:
    assert Account(external_id="1", status=status).active is (status == "active")


@pytest.mark.parametrize(("active", "status"), [(True, "active"), (False, "inactive")])
def test_the_status_follows_from_active(active: bool, status: str) -> None:
    assert Account(external_id="1", active=active).status == status


def test_of_neither_status_nor_active_neither_is_known() -> None:
    account = Account(external_id="1")
    assert (account.status, account.active) == (None, None)


def test_what_is_told_of_both_is_kept() -> None:
    account = Account(external_id="1", status="invited", active=True)
    assert (account.status, account.active) == ("invited", True)


def test_links_are_found_whether_or_not_they_may_be_missing() -> None:
    assert {kind: links_of(entity) for kind, entity in KINDS.items() if links_of(entity)} == {
        "membership": {"account": "account", "group": "group"},
        "authenticator": {"account": "account"},
        "access_key": {"account": "account"},
        "device": {"owner": "account"},
    }


def test_every_link_leads_to_a_kind_that_there_is() -> None:
    assert {kind for entity in KINDS.values() for kind in links_of(entity).values()} <= set(KINDS)


@pytest.mark.parametrize("link", ["", "x" * 601])
def test_a_link_holds_an_external_id(link: str) -> None:
    with pytest.raises(ValidationError):
        Membership(external_id="1", account=link, group="g")
    with pytest.raises(ValidationError):
        AccessKey(external_id="1", account=link)


def test_every_kind_is_listed_under_its_own_name() -> None:
    assert set(KINDS.values()) == {
        entity for entity in Entity.__subclasses__() if entity.__module__ == Entity.__module__
    }
    assert all(entity.kind == kind for kind, entity in KINDS.items())


def test_a_kind_needs_a_name() -> None:
    with pytest.raises(TypeError, match="kind"):
        type("Nameless", (Entity,), {})


def test_an_entity_declares_its_mapping() -> None:
    mapping = Group.map(external_id="payload.id", name="payload.name", filter="payload.on", drop=("etag",), variant="v")
    assert mapping.entity is Group
    assert mapping.fields == {"external_id": "payload.id", "name": "payload.name"}
    assert (mapping.filter, mapping.drop, mapping.variant) == ("payload.on", ("etag",), "v")


def test_times_keep_their_zone() -> None:
    assert Account(external_id="1", created_at=datetime(2024, 1, 1, tzinfo=UTC)).created_at is not None
