"""What every keeper of keys must do alike: the key ring, AWS KMS, OpenBao and Google Cloud KMS, well and ill."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import random
from base64 import b64encode
from dataclasses import replace
from itertools import islice

import pytest
from tests.vault.faulty import Said, say
from tests.vault.keepers import Keeper

from tieline.errors import VaultError
from tieline.vault import Bound, ComposedKeys, DataKey, KeyFailure, LocalKeyRing, Place, Vault, Wrapped, key_id_of
from tieline.vault.cache import ENTRIES, SECONDS, USES, CachedService
from tieline.vault.encryption import Reason

PLACE = Place("org_a", "conn_1", "token", 3, 2)
SECRET = b"correct horse battery staple"
RING = LocalKeyRing.generate()
ENCRYPTION, DECRYPTION = "Credential encryption failed", "Credential decryption failed"


def vault_of(keeper: Keeper) -> Vault:
    if keeper.front is None:
        return Vault(keeper.keys)
    return Vault(ComposedKeys(RING, [keeper.service], current=keeper.service))


async def refusal(vault: Vault, sealed: bytes, place: Place = PLACE) -> str | None:
    """What opening says, or None if it opens."""
    try:
        await vault.open(sealed, place)
    except VaultError as error:
        return error.message
    return None


def split(sealed: bytes) -> tuple[bytes, bytes, bytes]:
    """Header with key name, encrypted data key, nonce and ciphertext."""
    start = 5 + int.from_bytes(sealed[1:5], "big")
    end = start + 4 + int.from_bytes(sealed[start : start + 4], "big")
    return sealed[:start], sealed[start + 4 : end], sealed[end:]


def join(head: bytes, wrapped: bytes, rest: bytes) -> bytes:
    return head + len(wrapped).to_bytes(4, "big") + wrapped + rest


# All four


@pytest.mark.parametrize("secret", [b"", SECRET, os.urandom(64_000)], ids=["empty", "short", "long"])
async def test_what_was_sealed_opens(keeper: Keeper, secret: bytes) -> None:
    vault = vault_of(keeper)
    assert await vault.open(await vault.seal(secret, PLACE), PLACE) == secret


async def test_the_same_secret_is_sealed_differently_each_time(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    parts = [split(await vault.seal(SECRET, PLACE)) for _ in range(3)]
    assert len({wrapped for _, wrapped, _ in parts}) == len({rest for _, _, rest in parts}) == 3


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, org_id="org_b"),
        replace(PLACE, owner_id="conn_2"),
        replace(PLACE, slot="password"),
        replace(PLACE, version=2),
        replace(PLACE, serial=0),
        replace(PLACE, version=2, serial=3),
        Place("org_ac", "onn_1", "token", 3, 2),
    ],
)
async def test_a_copied_row_does_not_open(keeper: Keeper, elsewhere: Place) -> None:
    vault = vault_of(keeper)
    assert await refusal(vault, await vault.seal(SECRET, PLACE), elsewhere) == DECRYPTION


async def test_the_keeper_itself_refuses_a_data_key_at_another_place(keeper: Keeper) -> None:
    (wrapped,) = await keeper.encryption.wrap([DataKey(os.urandom(32), b"here")])
    assert isinstance(wrapped, Wrapped)
    (there,) = await keeper.encryption.unwrap([Bound(wrapped, b"there")])
    assert isinstance(there, KeyFailure)
    assert there.reason == "damaged"


async def test_what_was_sealed_names_the_current_key(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    assert key_id_of(await vault.seal(SECRET, PLACE)) == await vault.current_key()


async def test_a_rotation_seals_under_a_new_key_and_the_former_goes_on_opening(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    old = await vault.seal(SECRET, PLACE)
    keeper.rotate()
    new = await vault.seal(SECRET, PLACE)
    assert key_id_of(old) != key_id_of(new)
    assert await vault.open(old, PLACE) == await vault.open(new, PLACE) == SECRET


async def test_rewrapping_changes_the_data_keys_wrapping_and_nothing_else(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    old = await vault.seal(SECRET, PLACE)
    keeper.rotate()
    new = await vault.rewrap(old, PLACE)
    assert new is not None
    assert key_id_of(new) == await vault.current_key() != key_id_of(old)
    assert split(new)[2] == split(old)[2]
    assert split(new)[1] != split(old)[1]
    assert await vault.open(new, PLACE) == SECRET


async def test_what_is_under_the_current_key_is_left_alone(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    assert await vault.rewrap(await vault.seal(SECRET, PLACE), PLACE) is None


async def test_rewrapping_moves_nothing_to_another_place(keeper: Keeper) -> None:
    vault, elsewhere = vault_of(keeper), replace(PLACE, owner_id="conn_2")
    old = await vault.seal(SECRET, PLACE)
    keeper.rotate()
    try:
        new = await vault.rewrap(old, elsewhere)
    except VaultError:
        return
    assert new is not None
    assert await refusal(vault, new, elsewhere) == DECRYPTION


async def test_of_a_batch_each_has_its_own_outcome_in_order(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    places = [replace(PLACE, version=number) for number in range(6)]
    former = [await vault.seal(SECRET, place) for place in places[:4]]
    keeper.rotate()
    present = [await vault.seal(SECRET, place) for place in places[4:]]
    former[1] = join(split(former[1])[0], split(former[1])[1][:-3] + b"AAA", split(former[1])[2])
    former[2] = b"\2nonsense"
    outcomes = await vault.rewrap_many(list(zip([*former, *present], places, strict=True)))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [bytes, VaultError, VaultError, bytes, type(None), type(None)]
    for number in (0, 3):
        anew = outcomes[number]
        assert isinstance(anew, bytes)
        assert await vault.open(anew, places[number]) == SECRET


async def test_one_key_that_cannot_be_used_stops_only_what_is_under_it(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    oldest = await vault.seal(SECRET, PLACE)
    keeper.rotate()
    older = await vault.seal(SECRET, PLACE)
    keeper.rotate()
    keeper.disable(key_id_of(oldest))
    outcomes = await vault.rewrap_many([(oldest, PLACE), (older, PLACE)])
    assert [type(outcome) for outcome in outcomes] == [VaultError, bytes]
    assert await refusal(vault, oldest) == DECRYPTION
    assert await refusal(vault, older) is None


async def test_a_large_batch_comes_back_in_order(keeper: Keeper) -> None:
    keys = [DataKey(os.urandom(32), str(number).encode()) for number in range(150)]
    wrapped = await keeper.encryption.wrap(keys)
    bound = [Bound(one, key.aad) for one, key in zip(wrapped, keys, strict=True) if isinstance(one, Wrapped)]
    assert await keeper.encryption.unwrap(bound) == [key.key for key in keys]


async def test_an_empty_batch_asks_nobody(keeper: Keeper) -> None:
    assert await keeper.encryption.wrap([]) == []
    assert await keeper.encryption.unwrap([]) == []
    assert await keeper.encryption.rewrap([]) == []
    assert not keeper.front or not keeper.front.asked


async def test_many_at_once_do_not_mix(keeper: Keeper) -> None:
    vault = vault_of(keeper)

    async def there_and_back(number: int) -> bool:
        place, secret = replace(PLACE, version=number), str(number).encode()
        return await vault.open(await vault.seal(secret, place), place) == secret

    assert all(await asyncio.gather(*(there_and_back(number) for number in range(40))))


async def test_mutations_do_not_open_and_all_say_the_same(keeper: Keeper) -> None:
    vault, chance = vault_of(keeper), random.Random(7)
    sealed = await vault.seal(SECRET, PLACE)
    mutated = set()
    for position in chance.sample(range(len(sealed)), min(70, len(sealed))):
        byte = sealed[position] ^ (1 << chance.randrange(8))
        mutated.add(sealed[:position] + bytes([byte]) + sealed[position + 1 :])
    mutated |= {sealed[:-1], sealed[:20], sealed + b"\0", b"", b"\1"}
    said = await asyncio.gather(*(refusal(vault, one) for one in mutated))
    assert set(said) == {DECRYPTION}


async def test_every_byte_of_the_header_counts(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    sealed = await vault.seal(SECRET, PLACE)
    mutated = [
        sealed[:at] + bytes([sealed[at] ^ 3]) + sealed[at + 1 :] for at in range(len(split(sealed)[0]) + 4)
    ]  # 1 and 2 become 2 and 1: a version claims to be another
    said = await asyncio.gather(*(refusal(vault, one) for one in mutated))
    assert set(said) == {DECRYPTION}


async def test_parts_of_two_sealed_secrets_cannot_be_exchanged(keeper: Keeper) -> None:
    vault = vault_of(keeper)
    one, other = split(await vault.seal(SECRET, PLACE)), split(await vault.seal(SECRET, PLACE))
    assert await refusal(vault, join(*one)) is None
    assert await refusal(vault, join(one[0], other[1], one[2])) == DECRYPTION
    assert await refusal(vault, join(one[0], one[1], other[2])) == DECRYPTION


@pytest.mark.parametrize(
    "claimed",
    ["", "kek_unknown", "aws-kms:arn:aws:kms:eu-central-1:999999999999:key/other", "transit:http://127.0.0.1:9/a/b:v1",
     "gcp-kms:projects/other/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "nonsense:x"],
)  # fmt: skip
async def test_nobody_is_asked_for_a_key_that_is_not_ours(keeper: Keeper, claimed: str) -> None:
    vault = vault_of(keeper)
    _, wrapped, rest = split(await vault.seal(SECRET, PLACE))
    before = len(keeper.front.asked) if keeper.front else 0
    head = b"\1" + len(claimed.encode()).to_bytes(4, "big") + claimed.encode()
    assert await refusal(vault, join(head, wrapped, rest)) == DECRYPTION
    assert not keeper.front or len(keeper.front.asked) == before


async def test_a_place_that_cannot_be_written_down_is_refused(keeper: Keeper) -> None:
    for impossible in (replace(PLACE, version=-1), replace(PLACE, serial=2**64), replace(PLACE, slot="\ud800")):
        with pytest.raises(VaultError, match=ENCRYPTION):
            await vault_of(keeper).seal(SECRET, impossible)


# The services, ill


@pytest.mark.parametrize("reason", ["throttled", "denied", "missing"])
async def test_a_refusal_is_one_error_and_the_log_says_why_in_our_words(
    far: Keeper, reason: Reason, caplog: pytest.LogCaptureFixture
) -> None:
    vault = vault_of(far)
    sealed = await vault.seal(SECRET, PLACE)
    far.before.instead = far.refusing[reason]
    with caplog.at_level(logging.DEBUG, logger="tieline"), pytest.raises(VaultError) as caught:
        await vault.seal(SECRET, PLACE)
    assert (caught.value.message, caught.value.status) == (ENCRYPTION, 503)
    assert await refusal(vault, sealed) == DECRYPTION
    assert caplog.messages[0] == f"the vault could not do its work: {reason}"


async def test_a_short_throttling_is_waited_out(far: Keeper) -> None:
    vault = vault_of(far)
    sealed = await vault.seal(SECRET, PLACE)
    far.before.times(1, far.refusing["throttled"])
    assert await vault.open(sealed, PLACE) == SECRET


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_outage_is_an_error_and_its_end_needs_no_restart(far: Keeper, status: int) -> None:
    vault = vault_of(far)
    sealed = await vault.seal(SECRET, PLACE)
    before, far.before.instead = far.before.instead, lambda _: say(status, {"errors": ["down"]})
    assert await refusal(vault, sealed) == DECRYPTION
    with pytest.raises(VaultError, match=ENCRYPTION):
        await vault.seal(SECRET, PLACE)
    far.before.instead = before
    assert await refusal(vault, sealed) is None


async def test_a_service_that_does_not_answer_is_given_up(far: Keeper) -> None:
    vault = vault_of(far)
    sealed = await vault.seal(SECRET, PLACE)
    far.before.hang()
    assert await refusal(vault, sealed) == DECRYPTION


async def test_a_connection_that_breaks_is_an_error(far: Keeper) -> None:
    vault = vault_of(far)
    sealed = await vault.seal(SECRET, PLACE)
    far.before.instead = lambda _: Said(None)
    assert await refusal(vault, sealed) == DECRYPTION


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"<html>Sign in</html>", b"[]", b"null", b"{}", b'{"data":null}', b'{"data":{"batch_results":[null]}}',
     b'{"data":{"batch_results":[{"plaintext":"!"}]}}', b'{"plaintext":"QUFB","plaintextCrc32c":"1"}',
     b'{"Plaintext":"QUFB","KeyId":"other"}', b'{"name":7,"ciphertext":{}}', b"[" * 50_000],
)  # fmt: skip
async def test_an_answer_that_makes_no_sense_is_an_error(far: Keeper, nonsense: bytes) -> None:
    vault = vault_of(far)
    sealed = await vault.seal(SECRET, PLACE)
    far.before.change = lambda _: Said(200, nonsense)
    assert await refusal(vault, sealed) == DECRYPTION
    with pytest.raises(VaultError, match=ENCRYPTION):
        await vault.seal(SECRET, PLACE)


async def test_a_redirect_is_not_followed(far: Keeper) -> None:
    vault = vault_of(far)
    await vault.seal(SECRET, PLACE)
    far.before.asked.clear()
    far.before.instead = lambda _: Said(307, b"", {"Location": f"{far.before.url}/elsewhere"})
    with pytest.raises(VaultError, match=ENCRYPTION):
        await vault.seal(SECRET, PLACE)
    assert "/elsewhere" not in {asked.path for asked in far.before.asked}


async def test_a_service_that_repeats_what_it_was_given_is_not_quoted(
    far: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the error, what it comes from, or the log of this program or of any other part of it."""
    key = os.urandom(32)
    await vault_of(far).seal(SECRET, PLACE)
    far.before.instead = far.refusing["denied"]
    with caplog.at_level(logging.DEBUG, logger="tieline"):
        (outcome,) = await far.encryption.wrap([DataKey(key, b"aad")])
    assert isinstance(outcome, KeyFailure)
    shown = f"{outcome!r} {outcome.args} {outcome.__context__!r} {outcome.__cause__!r} {caplog.text}"
    assert str(outcome) == "denied"
    spelt = [b64encode(key).decode()[:40], key.hex(), repr(key)]
    assert b64encode(key)[:40] in far.before.asked[-1].body, "it was given the key"
    assert not [one for one in spelt if one in shown]


async def test_neither_place_nor_secret_is_told_to_the_service(far: Keeper) -> None:
    await vault_of(far).seal(SECRET, PLACE)
    told = b"".join(asked.body + str(asked.headers).encode() + asked.path.encode() for asked in far.before.asked)
    for hidden in (SECRET, b64encode(SECRET), b"org_a", b"conn_1", b64encode(b"org_a")[:6]):
        assert hidden not in told


async def test_no_data_key_is_in_plain_on_the_way_between_keys_of_one_service(far: Keeper) -> None:
    """Google has no call for it."""
    vault = vault_of(far)
    old = await vault.seal(SECRET, PLACE)
    far.rotate()
    far.before.asked.clear()
    assert await vault.rewrap(old, PLACE)
    asked = [one for one in far.before.asked if b"plaintext" in one.body.lower()]
    assert len(asked) <= (2 if "gcp" in key_id_of(old) else 1)  # the first is the trial of the current key


# Between services


async def test_stored_values_move_into_a_service_and_out_again(far: Keeper) -> None:
    ring_only = Vault(ComposedKeys(RING, [far.service]))
    inside = vault_of(far)
    sealed = await ring_only.seal(SECRET, PLACE)
    moved = await inside.rewrap(sealed, PLACE)
    assert moved is not None
    assert far.service.owns(key_id_of(moved))
    assert await inside.open(sealed, PLACE) == await inside.open(moved, PLACE) == SECRET
    back = await ring_only.rewrap(moved, PLACE)
    assert back is not None
    assert key_id_of(back) == RING.current_id
    assert await Vault(RING).open(back, PLACE) == SECRET


async def test_moving_on_goes_on_without_those_that_the_former_service_refuses(far: Keeper) -> None:
    ring_only, inside = Vault(ComposedKeys(RING, [far.service])), vault_of(far)
    under_service, under_ring = await inside.seal(SECRET, PLACE), await ring_only.seal(SECRET, PLACE)
    far.before.instead = far.refusing["denied"]
    outcomes = await ring_only.rewrap_many([(under_service, PLACE), (under_ring, PLACE)])
    assert [type(one) for one in outcomes] == [VaultError, type(None)]


async def test_nothing_is_rewrapped_while_the_current_key_cannot_be_used(far: Keeper) -> None:
    vault = vault_of(far)
    sealed = await Vault(RING).seal(SECRET, PLACE)
    far.before.instead = far.refusing["denied"]
    with pytest.raises(VaultError, match=ENCRYPTION):
        await vault.rewrap_many([(sealed, PLACE)])


# The memory of data keys


class Watch:
    """A clock that stands still until it is turned."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_reading_goes_on_through_an_outage_of_five_minutes_and_no_longer(far: Keeper) -> None:
    watch = Watch()
    cached = CachedService(far.service, now=watch)
    vault = Vault(ComposedKeys(RING, [cached], current=cached))
    made, read = await vault.seal(SECRET, PLACE), await vault_of(far).seal(SECRET, PLACE)
    await vault.open(read, PLACE)
    far.before.instead = lambda _: Said(None)
    watch.now = SECONDS - 1
    assert [await refusal(vault, one) for one in (made, read)] == [None, None]
    assert await refusal(vault, made, replace(PLACE, serial=9)) == DECRYPTION
    with pytest.raises(VaultError, match=ENCRYPTION):
        await vault.seal(SECRET, PLACE)
    watch.now = SECONDS
    assert [await refusal(vault, one) for one in (made, read)] == [DECRYPTION, DECRYPTION]


async def test_a_remembered_data_key_is_asked_for_again_after_a_thousand_uses() -> None:
    service = Counting()
    cached = CachedService(service)
    (wrapped,) = await cached.wrap([DataKey(bytes(32), b"")])
    assert isinstance(wrapped, Wrapped)
    for _ in range(USES):
        await cached.unwrap([Bound(wrapped, b"")])
    assert service.unwrapped == 0
    await cached.unwrap([Bound(wrapped, b"")])
    assert service.unwrapped == 1


async def test_the_memory_is_limited_and_forgets_the_oldest() -> None:
    service = Counting()
    cached = CachedService(service, entries=10)
    wrapped = [one for one in await cached.wrap([DataKey(bytes(32), b"")] * 11) if isinstance(one, Wrapped)]
    await cached.unwrap([Bound(one, b"") for one in wrapped[1:]])
    assert service.unwrapped == 0
    await cached.unwrap([Bound(wrapped[0], b"")])
    assert service.unwrapped == 1
    assert ENTRIES == 10_000


async def test_the_memory_shows_no_data_key_and_is_not_copied() -> None:
    cached, key = CachedService(Counting()), os.urandom(32)
    await cached.wrap([DataKey(key, b"")])
    kept = next(islice(cached._kept.values(), 1))
    assert kept.key == key
    for shown in (repr(cached), repr(kept), repr(DataKey(key, b""))):
        assert repr(key)[2:-1] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(cached)


class Counting:
    """A service that counts what it is asked to unwrap; it hides a data key behind a number."""

    ids: list[str] = []  # noqa: RUF012  the protocol's own type

    def __init__(self) -> None:
        self.unwrapped = 0
        self._keys: list[bytes] = []

    def owns(self, key_id: str) -> bool:
        return key_id == "counting"

    async def current(self) -> str:
        return "counting"

    async def wrap(self, data_keys: object) -> list[Wrapped | KeyFailure]:
        assert isinstance(data_keys, list)
        self._keys += [one.key for one in data_keys]
        first = len(self._keys) - len(data_keys)
        return [Wrapped("counting", bytes([first + number])) for number in range(len(data_keys))]

    async def unwrap(self, several: object) -> list[bytes | KeyFailure]:
        assert isinstance(several, list)
        self.unwrapped += len(several)
        return [self._keys[one.wrapped.text[0]] for one in several]

    async def rewrap(self, several: object) -> list[Wrapped | KeyFailure]:
        raise NotImplementedError

    async def close(self) -> None:
        pass
