"""Signed values and return addresses by themselves, for inputs that nobody thought of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.errors import Invalid
from tieline.flows.returns import check_return, origin_of, with_result
from tieline.flows.tickets import (
    Claim,
    Fit,
    SignInLost,
    hash_browser,
    read_state,
    read_ticket,
    write_state,
    write_ticket,
)
from tieline.ids import new_id

KEY = bytes(range(32))
CLAIM = Claim(new_id("org"), new_id("att"), 3)
FIT = Fit("acme", "https://tieline.test/v1/oauth/callback/acme", "f" * 64)
PARTS: Any = SimpleNamespace(public_url="https://tieline.test/x", return_origins=frozenset({"https://app.test"}))


def test_what_was_signed_is_read_again() -> None:
    assert read_state(KEY, write_state(KEY, CLAIM, FIT), FIT) == CLAIM
    assert read_ticket(KEY, write_ticket(KEY, CLAIM.org_id, CLAIM.attempt_id)) == (CLAIM.org_id, CLAIM.attempt_id)


@pytest.mark.parametrize(
    "fit",
    [
        Fit("acme2", FIT.redirect_uri, FIT.browser),
        Fit(FIT.provider, FIT.redirect_uri + "/", FIT.browser),
        Fit(FIT.provider, FIT.redirect_uri, "e" * 64),
        Fit(FIT.provider, FIT.redirect_uri, ""),
        Fit(FIT.provider + "https", FIT.redirect_uri.removeprefix("https"), FIT.browser),
    ],
)
def test_a_state_fits_nothing_else(fit: Fit) -> None:
    with pytest.raises(SignInLost):
        read_state(KEY, write_state(KEY, CLAIM, FIT), fit)


def test_another_key_signs_otherwise_and_a_ticket_is_no_state() -> None:
    state, ticket = write_state(KEY, CLAIM, FIT), write_ticket(KEY, CLAIM.org_id, CLAIM.attempt_id)
    with pytest.raises(SignInLost):
        read_state(KEY[::-1], state, FIT)
    for swapped in (ticket, ticket.replace("t1.", "s1.")):
        with pytest.raises(SignInLost):
            read_state(KEY, swapped, FIT)
    with pytest.raises(SignInLost):
        read_ticket(KEY, state)


@given(st.one_of(st.text(max_size=600), st.from_regex(r"s1\.[A-Za-z0-9_=-]{0,300}", fullmatch=True)))
def test_no_text_but_a_signed_one_is_a_state(text: str) -> None:
    with pytest.raises(SignInLost):
        read_state(KEY, text, FIT)
    with pytest.raises(SignInLost):
        read_ticket(KEY, text)


def test_a_cookie_is_kept_as_a_hash() -> None:
    assert hash_browser("a" * 64) != hash_browser("b" * 64)
    assert len(hash_browser("a" * 64)) == 32


@given(st.text(max_size=80) | st.from_regex(r"(https?:)?[/\\]{0,3}[a-z@:.\[\]\\/?#%0-9\t]{0,60}", fullmatch=True))
def test_whatever_is_allowed_leads_to_an_allowed_place(address: str) -> None:
    try:
        check_return(PARTS, address)
    except Invalid:
        return
    if not address.startswith("/"):
        assert origin_of(address) in {"https://tieline.test", "https://app.test"}
    assert urlsplit(address).netloc == "" or "@" not in address
    assert not address.startswith(("//", "/\\", "\\"))
    assert address.isascii()
    assert address.isprintable()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/x", "/x?error=e"),
        ("/x?a=1", "/x?a=1&error=e"),
        ("/x?a=1&b=%26#c?d", "/x?a=1&b=%26&error=e#c?d"),
        ("https://app.test", "https://app.test?error=e"),
    ],
)
def test_the_outcome_joins_the_query_that_there_is(address: str, expected: str) -> None:
    assert with_result(address, error="e") == expected


def test_an_outcome_is_quoted() -> None:
    assert parse_qs(urlsplit(with_result("/", error="a&b=c d")).query) == {"error": ["a&b=c d"]}
