"""Passkeys: where they work, and that no bytes which anybody may send do more than be refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.authenticator import Authenticator, decode, encode

from tieline.access.passkeys import PasskeyRefused, Site, check_made, check_signed, read_claim, site_of
from tieline.ids import new_id, to_uuid
from tieline.store.passkeys import Passkey

SITE = Site("tieline.example", "https://tieline.example")
HANDLE = to_uuid(new_id("org"), "org").bytes + to_uuid(new_id("mem"), "mem").bytes
AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://tieline.example", SITE),
        ("https://Tieline.Example:443/console", SITE),
        ("https://tieline.example:8443", Site("tieline.example", "https://tieline.example:8443")),
        ("http://localhost:8000", Site("localhost", "http://localhost:8000")),
        ("http://localhost:80", Site("localhost", "http://localhost")),
        ("http://tieline.localhost:8000", Site("tieline.localhost", "http://tieline.localhost:8000")),
        ("http://127.0.0.1:8000", None),
        ("https://127.0.0.1", None),
        ("http://[::1]:8000", None),
        ("http://tieline.example", None),
        ("http://localhost.example", None),
    ],
)
def test_they_work_over_https_at_a_name_and_at_localhost(url: str, site: Site | None) -> None:
    assert site_of(url) == site


def answer_of(response: dict[str, str]) -> str:
    return json.dumps({"id": "AQ", "rawId": "AQ", "type": "public-key", "response": response})


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.binary(max_size=80) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers(-5, 5) | st.text(max_size=8), inner, max_size=5)
    ),
)
statements = st.binary(max_size=300) | nested.map(cbor2.dumps)
told = st.builds(
    lambda flags, rest: bytes(32) + bytes([flags]) + bytes(4) + rest, st.integers(0, 255), st.binary(max_size=200)
)


@given(
    content=statements, auth=told, fmt=st.sampled_from(["none", "packed", "tpm", "apple", "fido-u2f", "android-key"])
)
def test_whatever_was_made_wrong_is_refused(content: bytes, auth: bytes, fmt: str) -> None:
    client_data = json.dumps({"type": "webauthn.create", "challenge": encode(bytes(32)), "origin": SITE.origin})
    for statement in (content, cbor2.dumps({"fmt": fmt, "attStmt": {}, "authData": auth})):
        response = {"clientDataJSON": encode(client_data.encode()), "attestationObject": encode(statement)}
        with pytest.raises(PasskeyRefused):
            check_made(SITE, answer_of(response), challenge=bytes(32))


@given(text=st.text(max_size=200) | nested.map(lambda one: json.dumps(one, default=str)))
def test_whatever_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(PasskeyRefused):
        check_made(SITE, text, challenge=bytes(32))
    with pytest.raises(PasskeyRefused):
        read_claim(text)


@given(key=statements, auth=told, signature=st.binary(max_size=100), client_data=st.binary(max_size=100))
def test_whatever_was_signed_wrong_is_refused(key: bytes, auth: bytes, signature: bytes, client_data: bytes) -> None:
    response = {
        "clientDataJSON": encode(client_data), "authenticatorData": encode(auth), "signature": encode(signature),
        "userHandle": encode(HANDLE),
    }  # fmt: skip
    claim = read_claim(answer_of(response))
    passkey = Passkey(new_id("pass"), claim.org_id, claim.member_id, "Phone", b"\1", key, 0, [], False, AT)
    with pytest.raises(PasskeyRefused):
        check_signed(SITE, claim, passkey, challenge=bytes(32))


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_an_answer_with_one_bit_turned_is_refused(place: int, bit: int) -> None:
    device = Authenticator(SITE.origin, handle=HANDLE)
    signed = json.loads(device.sign({"challenge": encode(bytes(32)), "rpId": SITE.id}))
    name = ("authenticatorData", "signature", "clientDataJSON")[place % 3]
    content = bytearray(decode(signed["response"][name]))
    content[place % len(content)] ^= 1 << bit
    signed["response"][name] = encode(bytes(content))
    claim = read_claim(json.dumps(signed))
    public = device.public_key()
    passkey = Passkey(
        new_id("pass"), claim.org_id, claim.member_id, "Phone", device.credential_id, public, 0, [], False, AT
    )
    with pytest.raises(PasskeyRefused):
        check_signed(SITE, claim, passkey, challenge=bytes(32))
