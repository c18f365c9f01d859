"""The declaration: periods, operations made by listing and by decorator, and the test call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from tieline.errors import DeclarationError, Unauthorised, Unexpected
from tieline.sdk import Account, ApiKey, Context, Cursor, Group, Identity, Provider
from tieline.sdk.provider import Identified, Options

PERSON = Account.map(external_id="payload.id")


@pytest.fixture
def provider() -> Provider[Any]:
    return Provider(
        slug="acme",
        name="Acme",
        category="hr",
        base_url="https://api.acme.example",
        auth=ApiKey(header="X-Key"),
        identity=Identity("/me", id="id", name="name"),
    )


@pytest.fixture
async def open_context(bench: Any, acme: Any) -> Callable[..., Context[Any]]:
    """A context whose client talks to the loopback."""

    def opened(**how: Any) -> Context[Any]:
        http = bench.client(acme.url)
        return Context(options=Options(), credential=None, http=http, policy=bench.policy, clock=bench.clock, **how)

    return opened


@pytest.mark.parametrize(
    ("every", "length"),
    [("15m", timedelta(minutes=15)), ("6h", timedelta(hours=6)), ("1d", timedelta(days=1)), ("9999d", timedelta(9999))],
)
def test_a_period_is_a_number_and_a_unit(provider: Provider[Any], every: str, length: timedelta) -> None:
    assert provider.listing("people", "/people", into=PERSON, every=every).every == length


@pytest.mark.parametrize("every", ["", "h", "0m", "01h", "1s", "10000d", "1 h", "-1h", "١h"])
def test_what_is_no_period_is_refused_at_once(provider: Provider[Any], every: str) -> None:
    with pytest.raises(DeclarationError, match="is not a period such as 15m, 6h or 1d"):
        provider.listing("people", "/people", into=PERSON, every=every)
    assert provider.operations == []


def test_a_listing_hangs_from_its_provider(provider: Provider[Any]) -> None:
    made = provider.listing("active_people", "/people", into=PERSON, every="1h", needs=["people:read"])
    assert provider.operations == [made]
    assert (made.id, made.title, made.kind) == ("active_people", "Active people", "sync")
    assert made.needs == {"people:read"}
    assert made.kinds == {"account"}


async def test_a_listing_reads_its_pages(
    provider: Provider[Any], acme: Any, bench: Any, open_context: Callable[..., Context[Any]]
) -> None:
    made = provider.listing(
        "people", "/people", into=PERSON, every="1h", items="data", pages=Cursor("after", at="next"), params={"on": 1}
    )
    acme.will(bench.answer({"data": [{"id": "1"}], "next": "c"}), bench.answer({"data": [{"id": "2"}], "next": None}))
    assert [record async for record in made.read(open_context())] == [{"id": "1"}, {"id": "2"}]
    assert [one.target for one in acme.received] == ["/people?on=1", "/people?on=1&after=c"]


def test_a_sync_takes_its_name_and_title_from_its_function(provider: Provider[Any]) -> None:
    @provider.sync([PERSON, Group.map(external_id="payload.id", name="payload.name", variant="team")], every="1d")
    async def people_and_teams(ctx: Context[Any]) -> AsyncIterator[Any]:
        """People and their teams.

        Both in one go.
        """
        yield {}

    assert provider.operations == [people_and_teams]
    assert (people_and_teams.id, people_and_teams.title) == ("people_and_teams", "People and their teams")
    assert people_and_teams.kinds == {"account", "group"}
    assert people_and_teams.mapping_for("team").entity is Group
    assert people_and_teams.mapping_for("other") is None


def test_a_sync_without_a_docstring_is_titled_by_its_name(provider: Provider[Any]) -> None:
    @provider.sync(PERSON, every="1h")
    async def all_people(_ctx: Context[Any]) -> AsyncIterator[Any]:
        yield {}

    assert all_people.title == "All people"


def test_one_text_is_not_taken_for_a_list_of_letters(provider: Provider[Any]) -> None:
    with pytest.raises(DeclarationError, match=r"list such as \['people:read'\]"):
        provider.listing("people", "/people", into=PERSON, every="1h", needs="people:read")
    with pytest.raises(DeclarationError, match=r"list such as \['soc2:CC6\.1'\]"):
        provider.check(Account, severity="low", controls="soc2:CC6.1")(lambda account: account.mfa)


@pytest.mark.parametrize("pages", [Cursor, "after"])
def test_a_way_to_page_that_is_none_is_refused_at_once(provider: Provider[Any], pages: Any) -> None:
    with pytest.raises(DeclarationError, match=r"people: pages must be a value") as refused:
        provider.listing("people", "/people", into=PERSON, every="1h", pages=pages)
    assert (refused.value.rule, provider.operations) == ("bad-pages", [])


def test_a_providers_own_check_is_kept_with_it(provider: Provider[Any]) -> None:
    @provider.check(Account, severity="low", controls=["soc2:CC6.1"])
    def has_badge(account: Account) -> bool | None:
        """People have a badge.

        Print one.
        """
        return account.active

    assert provider.checks == [has_badge]
    assert (has_badge.id, has_badge.provider) == ("acme.has-badge", "acme")


def test_providers_share_nothing(provider: Provider[Any]) -> None:
    provider.listing("people", "/people", into=PERSON, every="1h")
    other: Provider[Any] = Provider("b", "B", "hr", "https://b.example", ApiKey(header="X"), provider.identity)
    assert (other.operations, other.checks, dict(other.headers)) == ([], [], {})


# The test call


ME = {"company": {"id": 42, "name": "Acme"}, "scopes": ["a", "b"], "granted": "b a"}


@pytest.mark.parametrize(
    ("scopes", "expected"), [(None, None), ("scopes", frozenset("ab")), ("granted", frozenset("ab"))]
)
async def test_the_test_call_finds_the_account_and_what_is_granted(
    acme: Any, bench: Any, open_context: Callable[..., Context[Any]], scopes: str | None, expected: Any
) -> None:
    acme.will(bench.answer(ME))
    found = await Identity("/me", id="company.id", name="company.name", scopes=scopes)(open_context())
    assert found == Identified(id="42", name="Acme", scopes=expected)
    assert acme.received[0].target == "/me"


@pytest.mark.parametrize(
    "told",
    [None, [], "text", 5, {}, {"company": None}, {"company": {"id": None, "name": "Acme"}}, {"company": {"id": {}, "name": "A"}},
     {"company": {"id": "1"}}, {"company": {"id": "1", "name": None}}, {"company": {"id": "1", "name": "A"}, "scopes": [[]]},
     {"company": {"id": "1", "name": "A"}, "scopes": 5}, {"company": {"id": "1", "name": "A"}}],
)  # fmt: skip
async def test_an_answer_that_names_no_account_is_unexpected(
    acme: Any, bench: Any, open_context: Callable[..., Context[Any]], told: Any
) -> None:
    acme.will(bench.answer(told))
    with pytest.raises(
        Unexpected, match=r"^Acme does not say whose account this is by '\S+' and '\S+' \(GET /\S+\)$"
    ) as refused:
        await Identity("/me", id="company.id", name="company.name", scopes="scopes")(open_context())
    assert refused.value.details["exchange"]["path"] == "/me"


async def test_a_refused_test_call_says_so(acme: Any, bench: Any, open_context: Callable[..., Context[Any]]) -> None:
    acme.will(bench.answer({}, status=401))
    with pytest.raises(Unauthorised):
        await Identity("/me", id="id", name="name")(open_context())
