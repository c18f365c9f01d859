"""The rules of the catalog: each broken declaration is refused by name, and overrides keep the provider's own terms."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from tieline.catalog import Catalog, compile_catalog, compile_operation
from tieline.errors import DeclarationError, NotFound
from tieline.sdk import (
    Account,
    ApiKey,
    Check,
    Context,
    Credential,
    Custom,
    Device,
    Group,
    Identity,
    Options,
    PersonalToken,
    Provider,
    Record,
    Related,
    check,
)

PERSON = Account.map(external_id="payload.id", email="payload.email", filter="payload.kind != 'bot'")


def acme(**changes: Any) -> Provider[Any]:
    """A sound provider, but for what is given."""
    given: dict[str, Any] = {
        "slug": "acme",
        "name": "Acme",
        "category": "hr",
        "base_url": "https://api.acme.example/v1",
        "auth": ApiKey(header="X-Api-Key"),
        "identity": Identity("/me", id="id", name="name"),
    }
    provider: Provider[Any] = Provider(**(given | changes))
    provider.listing("people", "/people", into=PERSON, every="1h")
    return provider


def with_operation(into: Any, read: Any = None) -> Provider[Any]:
    """A provider whose only operation is written as code."""
    provider = acme()
    provider.operations.clear()
    provider.sync(into, every="1h")(read or people)
    return provider


async def people(ctx: Context[Any]) -> AsyncIterator[Any]:
    """Everyone."""
    yield {}


async def Wrong(ctx: Context[Any]) -> AsyncIterator[Any]:  # noqa: N802  the wrong spelling is the point
    """Everyone."""
    yield {}


async def once(ctx: Context[Any]) -> Any:
    """Not a generator."""
    return []


def has_mfa(account: Account) -> bool | None:
    """People use a second factor.

    Turn it on.
    """
    return account.mfa


def undescribed(account: Account) -> bool | None:
    return account.mfa


async def awaited(account: Account) -> bool | None:
    """People use a second factor.

    Turn it on.
    """
    return account.mfa


def neutral(predicate: Callable[..., bool | None] = has_mfa, *controls: str) -> Check:
    return check(Account, severity="high", controls=controls or ("soc2:CC6.1",))(predicate)


class Empty(Credential):
    """No field at all."""


class Unmarked(Credential):
    client_id: str
    client_secret: str


class NotOptions(Credential):
    """A model, but not of options."""


class NamedLikeASecret(Options):
    webhook_token: str = ""


class TypedLikeASecret(Options):
    pin: SecretStr | None = None


class Regional(Options):
    region: str = "eu"


def no_operations() -> Provider[Any]:
    provider = acme()
    provider.operations.clear()
    return provider


def twice_the_same_operation() -> Provider[Any]:
    provider = acme()
    provider.listing("people", "/everyone", into=PERSON, every="1h")
    return provider


Broken = tuple[str, str, Callable[[], tuple[list[Provider[Any]], list[Check]]]]


def one(rule: str, why: str, build: Callable[[], Provider[Any]]) -> Broken:
    return rule, why, lambda: ([build()], [])


def judged(rule: str, why: str, build: Callable[[], list[Check]]) -> Broken:
    return rule, why, lambda: ([acme()], build())


BROKEN: list[Broken] = [
    ("duplicate-provider", "two of one slug", lambda: ([acme(), acme()], [])),
    one("bad-slug", "empty slug", lambda: acme(slug="")),
    one("bad-slug", "upper case in a slug", lambda: acme(slug="Acme")),
    one("bad-slug", "a slug that would leave its folder", lambda: acme(slug="../acme")),
    one("bad-slug", "a slug that ends in a line break", lambda: acme(slug="acme\n")),
    one("unnamed", "no name", lambda: acme(name="")),
    one("unnamed", "no category", lambda: acme(category="")),
    one("undeclared-slot", "no auth", lambda: acme(auth=None)),
    one("undeclared-slot", "a slot without fields", lambda: acme(auth=Custom(Empty))),
    one("undeclared-slot", "no way at all", lambda: acme(auth=[])),
    one("bad-slot", "a slot with a dash", lambda: acme(auth=PersonalToken(slot="my-token"))),
    one("duplicate-slot", "two ways of one slot", lambda: acme(auth=[PersonalToken(), PersonalToken()])),
    one("bad-host", "an unencrypted host", lambda: acme(hosts={"api": "http://api.acme.example"})),
    one("unmarked-secret", "a secret that is plain text", lambda: acme(auth=Custom(Unmarked))),
    one("bad-options", "options of another family", lambda: acme(options=NotOptions)),
    one("secret-option", "an option named like a secret", lambda: acme(options=NamedLikeASecret)),
    one("secret-option", "an option typed like a secret", lambda: acme(options=TypedLikeASecret)),
    one("bad-base-url", "unencrypted", lambda: acme(base_url="http://api.acme.example")),
    one("bad-base-url", "no host", lambda: acme(base_url="https:///v1")),
    one("bad-base-url", "an option that is not declared", lambda: acme(base_url="https://{region}.acme.example")),
    one("bad-base-url", "a nameless option", lambda: acme(base_url="https://{}.acme.example", options=Regional)),
    one("bad-base-url", "a brace too many", lambda: acme(base_url="https://{region}}.acme", options=Regional)),
    one("no-identity", "no test call", lambda: acme(identity=None)),
    one("no-operations", "nothing to do", no_operations),
    one("duplicate-operation", "two of one id", twice_the_same_operation),
    one("bad-operation-id", "upper case", lambda: with_operation(PERSON, Wrong)),
    one("bad-operation-id", "no name", lambda: with_operation(PERSON, lambda _: None)),
    one("cannot-run", "not a generator", lambda: with_operation(PERSON, once)),
    one("no-mapping", "becomes nothing", lambda: with_operation([])),
    one("unnamed-variant", "two unnamed mappings", lambda: with_operation([PERSON, PERSON])),
    one("duplicate-variant", "two of one name", lambda: with_operation([replace(PERSON, variant="a")] * 2)),
    one("not-a-mapping", "a kind, not its map", lambda: with_operation(Account)),
    one("unsent-key", "a key that goes nowhere", lambda: acme(auth=ApiKey())),
    one("bad-options", "options that are no class", lambda: acme(options=Options())),
    one(
        "bad-expression", "a field that is no text", lambda: with_operation(replace(PERSON, fields={"external_id": 1}))
    ),
    one("bad-expression", "a field", lambda: with_operation(Account.map(external_id="payload.id +"))),
    one("bad-expression", "a filter", lambda: with_operation(replace(PERSON, filter="payload.kind !="))),
    one("bad-expression", "an unknown name", lambda: with_operation(Account.map(external_id="record.id"))),
    one("unknown-field", "no such field", lambda: with_operation(Account.map(external_id="payload.id", shoe="'42'"))),
    one("missing-field", "no external id", lambda: with_operation(Account.map(email="payload.email"))),
    one("missing-field", "no name", lambda: with_operation(Group.map(external_id="payload.id"))),
    judged("duplicate-check", "two of one id", lambda: [neutral(), neutral()]),
    judged("undescribed-check", "no docstring", lambda: [neutral(undescribed)]),
    judged("bad-severity", "no such severity", lambda: [replace(neutral(), severity="urgent")]),  # type: ignore[arg-type]
    judged("cannot-judge", "a check that would have to be awaited", lambda: [neutral(awaited)]),  # type: ignore[arg-type]
    judged("unknown-control", "no such control", lambda: [neutral(has_mfa, "soc2:CC6.1", "soc2:CC99.9")]),
    judged("unknown-control", "no such framework", lambda: [neutral(has_mfa, "hearsay:1")]),
]


@pytest.mark.parametrize(("rule", "why", "build"), BROKEN, ids=[f"{rule}: {why}" for rule, why, _ in BROKEN])
def test_a_broken_declaration_is_refused_by_the_name_of_its_rule(
    rule: str, why: str, build: Callable[[], tuple[list[Provider[Any]], list[Check]]]
) -> None:
    providers, checks = build()
    with pytest.raises(DeclarationError) as refused:
        compile_catalog(providers, checks)
    assert refused.value.rule == rule
    assert refused.value.message.endswith(f"[{rule}]")


def rules_in_the_source() -> set[str]:
    """What compile.py can raise: the first argument of each error, and of `_refuse_repeats`."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[compile_catalog.__module__]))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            if node.func.id in {"DeclarationError", "_refuse_repeats"} and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "rule":
            value = node.value
            sides = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
            found |= {side.value for side in sides if isinstance(side, ast.Constant)}
    return found


def test_every_rule_has_a_declaration_that_breaks_it() -> None:
    assert len(rules_in_the_source()) >= 20
    assert {rule for rule, _, _ in BROKEN} == rules_in_the_source()


@pytest.mark.parametrize("every", ["", "1", "0h", "1w", "-1h", "1.5h", "99999d", "1h\n"])
def test_a_period_that_is_none_is_refused_where_it_is_declared(every: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        acme().listing("others", "/others", into=PERSON, every=every)
    assert refused.value.rule == "bad-period"


def test_a_sound_declaration_gives_a_catalog_that_answers_by_id() -> None:
    catalog = compile_catalog([acme()], [neutral()])
    assert catalog.provider("acme").name == "Acme"
    assert catalog.operation("acme", "people").kinds == {"account"}
    assert catalog.check("has-mfa").severity == "high"
    assert dict(catalog.broken) == {}


def test_a_base_url_may_be_an_option_or_hold_one() -> None:
    class Address(Options):
        base_url: str

    catalog = compile_catalog(
        [acme(base_url="{base_url}/v1", options=Address), acme(slug="b", base_url="https://{region}.acme.example/v1", options=Regional)], []
    )  # fmt: skip
    assert set(catalog.providers) == {"acme", "b"}


@pytest.mark.parametrize(
    "ask",
    [
        lambda catalog: catalog.provider("x" * 1000),
        lambda catalog: catalog.operation("acme", "x" * 1000),
        lambda catalog: catalog.operation("nobody", "people"),
        lambda catalog: catalog.check("x" * 1000),
    ],
)
def test_what_is_not_in_the_catalog_is_not_found_and_not_quoted_at_length(ask: Callable[[Catalog], Any]) -> None:
    with pytest.raises(NotFound) as missing:
        ask(compile_catalog([acme()], []))
    assert len(missing.value.message) < 150


def test_a_provider_that_could_not_be_loaded_is_not_told_to_be_unknown() -> None:
    catalog = compile_catalog([acme()], [], {"other": "other.people: Account has no field 'shoe' [unknown-field]"})
    with pytest.raises(
        NotFound, match=r"^The provider 'other' cannot be loaded: other\.people: Account has no field"
    ) as found:
        catalog.provider("other")
    assert found.value.what_to_do == "`tieline provider check other` says more."


def test_checks_are_those_for_all_providers_and_the_providers_own() -> None:
    mine, other = acme(), acme(slug="other")
    mine.check(Account, severity="low", controls=[])(has_mfa)
    other.check(Account, severity="low", controls=[])(has_mfa)
    catalog = compile_catalog([mine, other], [neutral()])
    assert [one.id for one in catalog.checks_for("acme", "account")] == ["has-mfa", "acme.has-mfa"]
    assert catalog.checks_for("acme", "device") == ()


# An organization's own filter and fields


def compiled(overrides: dict[str, Any] | None = None, checks: list[Check] | None = None) -> Any:
    catalog = compile_catalog([acme()], checks or [])
    return compile_operation(catalog, "acme", catalog.operation("acme", "people"), overrides)


def test_an_own_filter_narrows_and_never_widens_what_the_provider_reads() -> None:
    mapping = compiled({"filter": "payload.email.endsWith('@acme.example')"}).mappings[None]
    good = {"id": "1", "kind": "person", "email": "a@acme.example"}
    assert mapping.apply(good).external_id == "1"
    assert mapping.apply(good | {"email": "a@else.example"}) is None
    assert mapping.apply(good | {"kind": "bot"}) is None


@pytest.mark.parametrize("own", ["true", "true || true", "1 == 1 // all", "payload.kind == 'bot' || true"])
def test_no_own_filter_lets_in_what_the_providers_filter_leaves_out(own: str) -> None:
    assert compiled({"filter": own}).mappings[None].apply({"id": "1", "kind": "bot"}) is None


def test_an_own_filter_cannot_close_the_brackets_of_the_providers() -> None:
    catalog = compile_catalog([acme()], [])
    mapping = catalog.operation("acme", "people").into[0].adjusted(filter="true) || (true")
    assert mapping.faults()
    with pytest.raises(ValueError, match="line 1"):
        compiled({"filter": "true) || (true"})


def test_an_own_field_takes_the_place_of_the_providers() -> None:
    mapping = compiled({"fields": {"email": "payload.alias", "title": "payload.role"}}).mappings[None]
    entity = mapping.apply(
        {"id": "1", "kind": "person", "email": "a@x.example", "alias": "B@x.example", "role": "Cook"}
    )
    assert (entity.email, entity.title) == ("b@x.example", "Cook")


def test_a_revision_changes_with_the_overrides_and_with_the_checks_that_judge() -> None:
    revisions = [
        compiled(overrides, checks).revisions[None]
        for overrides, checks in (
            (None, []),
            (None, [neutral()]),
            ({"filter": "true || false"}, []),
            ({"fields": {"email": "payload.alias"}}, []),
        )
    ]
    assert len(set(revisions)) == len(revisions)
    assert compiled().revisions == compiled({}).revisions == compiled({"filter": None, "fields": {}}).revisions


def test_an_override_applies_to_every_variant_of_an_operation() -> None:
    provider = with_operation([replace(PERSON, variant="old"), replace(PERSON, variant="new")])
    catalog = compile_catalog([provider], [])
    operation = compile_operation(catalog, "acme", provider.operations[0], {"filter": "payload.keep"})
    record = Record({"id": "1", "kind": "person", "keep": False}, "new")
    assert set(operation.mappings) == {"old", "new"}
    assert operation.mappings[record.variant].apply(record.payload) is None
    assert operation.mappings["old"].apply(record.payload | {"keep": True}).external_id == "1"


def test_a_check_that_looks_at_what_links_to_its_subject_needs_such_a_link() -> None:
    def predicate(account: Account, groups: Related[Group]) -> bool | None:
        """Accounts are in groups.

        Put them in.
        """
        return groups.any()

    with pytest.raises(TypeError, match="Group has no link to Account"):
        check(Account, severity="low", controls=[])(predicate)
    assert check(Account, severity="low", controls=[])(owns_a_device).related == {"devices": ("device", "owner")}


def owns_a_device(account: Account, devices: Related[Device]) -> bool | None:
    """People have a device.

    Hand one out.
    """
    return devices.any()
