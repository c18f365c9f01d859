"""Sealing credentials: what comes back, and all that must not."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from tieline.errors import VaultError
from tieline.vault import (
    Bound,
    DataKey,
    KeyFailure,
    KeyRing,
    LocalKeyRing,
    Place,
    Vault,
    Wrapped,
    key_id_of,
    with_new_key,
)
from tieline.vault.keys import SINGLE_KEYS

PLACE = Place("org_a", "conn_1", "token", 3)
SECRET = b"correct horse battery staple"
RING = LocalKeyRing.generate()
VAULT = Vault(RING)
SINGLES = {name: bytes([100 + n]) * 32 for n, name in enumerate(SINGLE_KEYS)}

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
numbers = st.integers(0, 2**63 - 1)
places = st.builds(Place, names, names, names, numbers, numbers)


class Watched:
    """A key ring behind the interface of a key service, which remembers the data keys that it was given."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.fingerprint_key = ring.fingerprint_key
        self.data_keys: list[bytes] = []

    @property
    def ids(self) -> list[str]:
        return self._ring.ids

    async def current(self) -> str:
        return await self._ring.current()

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        self.data_keys += [one.key for one in data_keys]
        return await self._ring.wrap(data_keys)

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        return await self._ring.unwrap(several)

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        return await self._ring.rewrap(several)


class Unreachable(Watched):
    """A key service that is down, and whose errors repeat what they were given."""

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        raise ConnectionError(f"cannot wrap {data_keys[0].key.hex()} for {data_keys[0].aad!r}")

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        raise ConnectionError(f"cannot unwrap {several[0].wrapped.text.hex()} for {several[0].aad!r}")

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        raise ConnectionError(f"cannot rewrap {several[0].wrapped.text.hex()} for {several[0].aad!r}")


async def refusal(vault: Vault, sealed: bytes, place: Place) -> str | None:
    """What opening says, or None if it opens."""
    try:
        await vault.open(sealed, place)
    except VaultError as error:
        quiet = error.__cause__ is None and error.__suppress_context__ and not error.details
        return str(error) if quiet else f"{error} and more"
    return None


def split(sealed: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Header with key name, encrypted data key, nonce, ciphertext: read here by the documented layout."""
    start = 5 + int.from_bytes(sealed[1:5], "big")
    end = start + 4 + int.from_bytes(sealed[start : start + 4], "big")
    return sealed[:start], sealed[start + 4 : end], sealed[end : end + 12], sealed[end + 12 :]


def join(head: bytes, wrapped: bytes, nonce: bytes, body: bytes) -> bytes:
    return head + len(wrapped).to_bytes(4, "big") + wrapped + nonce + body


@given(st.binary(max_size=5000), places)
async def test_what_was_sealed_for_a_place_opens_there(secret: bytes, place: Place) -> None:
    assert await VAULT.open(await VAULT.seal(secret, place), place) == secret


@given(places, places)
async def test_a_secret_opens_at_no_other_place(one: Place, other: Place) -> None:
    refused = await refusal(VAULT, await VAULT.seal(SECRET, one), other)
    assert refused == (None if one == other else "Credential decryption failed")


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, org_id="org_b"),
        replace(PLACE, owner_id="conn_2"),
        replace(PLACE, slot="password"),
        replace(PLACE, version=2),
        replace(PLACE, version=4),
        replace(PLACE, version=-1),
        replace(PLACE, serial=1),
        Place("org_ac", "onn_1", "token", 3),
        Place("org_a", "conn_1t", "oken", 3),
        Place("conn_1", "org_a", "token", 3),
        Place("", "org_aconn_1", "token", 3),
    ],
)
async def test_a_copied_row_does_not_open(elsewhere: Place) -> None:
    sealed = await VAULT.seal(SECRET, PLACE)
    assert await refusal(VAULT, sealed, elsewhere) == "Credential decryption failed"
    assert await refusal(VAULT, sealed, PLACE) is None


def mutations(sealed: bytes) -> Iterator[bytes]:
    """Each byte changed in 32 ways, each truncation from either end, each byte left out, and additions."""
    for position, byte in enumerate(sealed):
        for mask in [1, 2, 4, 8, 16, 32, 64, 128, *range(11, 251, 10)]:
            yield sealed[:position] + bytes([byte ^ mask]) + sealed[position + 1 :]
        yield sealed[:position]
        yield sealed[position + 1 :]
        yield sealed[:position] + sealed[position + 1 :]
        yield sealed[:position] + b"\0" + sealed[position:]
    for added in (b"\0", b"\1", sealed[:1], sealed[-16:], sealed):
        yield sealed + added
        yield added + sealed


async def test_of_five_thousand_mutations_none_opens_and_all_say_the_same() -> None:
    sealed = await VAULT.seal(SECRET, PLACE)
    mutated = set(mutations(sealed)) - {sealed}
    assert len(mutated) > 5000
    assert {await refusal(VAULT, mutation, PLACE) for mutation in mutated} == {"Credential decryption failed"}


async def test_parts_of_two_sealed_secrets_cannot_be_exchanged() -> None:
    one, other = split(await VAULT.seal(SECRET, PLACE)), split(await VAULT.seal(SECRET, PLACE))
    assert await refusal(VAULT, join(*one), PLACE) is None
    for part in (1, 2, 3):
        mixed = list(one)
        mixed[part] = other[part]
        assert await refusal(VAULT, join(*mixed), PLACE) == "Credential decryption failed"


async def test_a_sealed_secret_cannot_be_claimed_for_another_key() -> None:
    key = bytes(range(32))
    sealed = await Vault(LocalKeyRing({"kek_1": key}, current_id="kek_1", **SINGLES)).seal(SECRET, PLACE)
    renamed = Vault(LocalKeyRing({"kek_2": key}, current_id="kek_2", **SINGLES))
    assert await refusal(renamed, sealed.replace(b"kek_1", b"kek_2"), PLACE) == "Credential decryption failed"


async def test_another_ring_opens_nothing() -> None:
    sealed = await VAULT.seal(SECRET, PLACE)
    assert await refusal(Vault(LocalKeyRing.generate()), sealed, PLACE) == "Credential decryption failed"


async def test_data_keys_and_nonces_never_repeat() -> None:
    ring = Watched(RING)
    parts = [split(await Vault(ring).seal(SECRET, PLACE)) for _ in range(1000)]
    assert len(set(ring.data_keys)) == 1000
    assert {len(key) for key in ring.data_keys} == {32}
    body_nonces = {nonce for _, _, nonce, _ in parts}
    wrap_nonces = {wrapped[:12] for _, wrapped, _, _ in parts}
    assert len(body_nonces | wrap_nonces) == 2000


async def test_a_sealed_secret_shows_neither_secret_nor_data_key() -> None:
    ring = Watched(RING)
    sealed = await Vault(ring).seal(SECRET, PLACE)
    assert SECRET not in sealed
    assert ring.data_keys[0] not in sealed


async def test_a_sealed_secret_names_its_key() -> None:
    rotated = with_new_key(RING)
    assert key_id_of(await VAULT.seal(SECRET, PLACE)) == RING.current_id
    assert key_id_of(await Vault(rotated).seal(SECRET, PLACE)) == rotated.current_id != RING.current_id


@pytest.mark.parametrize("damaged", [b"", b"\1", b"\2\0\0\0\1k\0\0\0\0", b"\1\0\0\0\5kek", b"\1\0\0\0\1\xff\0\0\0\0"])
def test_the_key_of_something_else_cannot_be_named(damaged: bytes) -> None:
    with pytest.raises(VaultError, match=r"^Credential decryption failed$"):
        key_id_of(damaged)


async def test_old_ciphertexts_open_after_a_rotation_and_new_ones_need_the_new_key() -> None:
    rotated = with_new_key(with_new_key(RING))
    old, new = await VAULT.seal(SECRET, PLACE), await Vault(rotated).seal(SECRET, PLACE)
    assert await Vault(rotated).open(old, PLACE) == await Vault(rotated).open(new, PLACE) == SECRET
    assert await refusal(VAULT, new, PLACE) == "Credential decryption failed"


async def test_a_failing_key_service_gives_the_plain_error_and_tells_nothing() -> None:
    vault = Vault(Unreachable(RING))
    with pytest.raises(VaultError, match=r"^Credential encryption failed$") as caught:
        await vault.seal(SECRET, PLACE)
    shown = "".join(traceback.format_exception(caught.value))
    assert "ConnectionError" not in shown
    assert PLACE.org_id not in shown
    assert caught.value.status == 503
    assert await refusal(vault, await VAULT.seal(SECRET, PLACE), PLACE) == "Credential decryption failed"


async def test_a_place_that_cannot_be_written_down_is_refused() -> None:
    for impossible in (replace(PLACE, version=-1), replace(PLACE, version=2**64), replace(PLACE, slot="\ud800")):
        with pytest.raises(VaultError, match=r"^Credential encryption failed$"):
            await VAULT.seal(SECRET, impossible)


async def test_the_format_is_the_documented_one() -> None:
    key, data_key = bytes(range(32)), bytes(range(32, 64))
    ring = LocalKeyRing({"k": key}, current_id="k", **SINGLES)
    bound = b"\1" + b"\0\0\0\5org_a" + b"\0\0\0\6conn_1" + b"\0\0\0\5token" + b"\0\0\0\0\0\0\0\3" + b"\0\0\0\0\0\0\0\2"
    wrapped = b"n" * 12 + AESGCM(key).encrypt(b"n" * 12, data_key, b"\0\0\0\1k" + bound)
    body = b"m" * 12 + AESGCM(data_key).encrypt(b"m" * 12, SECRET, bound)
    sealed = b"\1" + b"\0\0\0\1k" + len(wrapped).to_bytes(4, "big") + wrapped + body
    assert await Vault(ring).open(sealed, replace(PLACE, serial=2)) == SECRET


@given(st.binary(max_size=100))
def test_a_fingerprint_is_the_same_inside_an_organization_and_differs_across(secret: bytes) -> None:
    fingerprint = VAULT.fingerprint(secret, org_id="org_a")
    assert fingerprint == VAULT.fingerprint(secret, org_id="org_a")
    assert fingerprint != VAULT.fingerprint(secret, org_id="org_b")
    assert len(fingerprint) == 8
    assert set(fingerprint) <= set("0123456789abcdef")


def test_a_fingerprint_survives_rotation_and_depends_on_its_key_and_the_boundary() -> None:
    fingerprint = VAULT.fingerprint(SECRET, org_id="org_a")
    assert Vault(with_new_key(RING)).fingerprint(SECRET, org_id="org_a") == fingerprint
    assert Vault(LocalKeyRing.generate()).fingerprint(SECRET, org_id="org_a") != fingerprint
    assert VAULT.fingerprint(b"_a" + SECRET, org_id="org") != fingerprint
    assert VAULT.fingerprint(SECRET + b"!", org_id="org_a") != fingerprint
