"""Key services as the operator names them: what is refused at the start, and what each service has of its own."""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.emulators.openbao import ROOT, OpenBao
from tests.vault import keepers
from tests.vault.faulty import Said, say, standing_before
from tests.vault.google import KEY, Google
from tests.vault.keepers import ACCOUNT

from tieline.errors import KeyRingError, VaultError
from tieline.vault import Bound, DataKey, KeyFailure, LocalKeyRing, Place, ServiceSettings, Vault, Wrapped, compose_keys
from tieline.vault.crc32c import crc32c
from tieline.vault.encryption import only
from tieline.vault.gcp_kms import GcpKeys
from tieline.vault.gcp_token import AccessTokens, ServiceAccount
from tieline.vault.rest import Rest

RING = LocalKeyRing.generate()
PLACE = Place("org_a", "conn_1", "token", 1)
AWS = f"aws-kms:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GCP = f"gcp-kms:{KEY}"
BAO = "transit:https://bao.example.com:8200/transit/tieline"
CANARY = "canary-token-of-the-tests"
GOOD = ServiceSettings(transit_token=CANARY)


@pytest.mark.parametrize(
    "settings",
    [
        replace(GOOD, current="aws-kms"),
        replace(GOOD, current="aws-kms:alias/tieline"),
        replace(GOOD, current="aws-kms:arn:aws:s3:eu-central-1:123456789012:key/x"),
        replace(GOOD, current="aws-kms:arn:aws:kms:eu-central-1:1234:key/x"),
        replace(GOOD, current=f"{AWS}\n"),
        replace(GOOD, current=AWS, aws_endpoint="http://kms.example.com"),
        replace(GOOD, current=AWS, aws_endpoint="https://user:pass@kms.example.com"),
        replace(GOOD, current="gcp-kms:projects/p/locations/l/keyRings/r"),
        replace(GOOD, current=f"{GCP}/cryptoKeyVersions/1"),
        replace(GOOD, current=f"{GCP}/../other"),
        replace(GOOD, current=GCP, gcp_endpoint="ftp://cloudkms.example.com"),
        replace(GOOD, current=GCP, gcp_endpoint="https://cloudkms.example.com/path"),
        replace(GOOD, current=GCP, gcp_credentials=Path("/nowhere/key.json")),
        replace(GOOD, current="transit:http://bao.example.com:8200/transit/tieline"),
        replace(GOOD, current="transit:https://bao.example.com:8200/tieline"),
        replace(GOOD, current="transit:https://bao.example.com/transit/tieline?x=1"),
        replace(GOOD, current="transit:https://u:p@bao.example.com/transit/tieline"),
        replace(GOOD, current="transit:https://bao.example.com/a/../tieline"),
        replace(GOOD, current=BAO, transit_token=None),
        replace(GOOD, current=BAO, transit_token="two\nlines"),
        replace(GOOD, current=BAO, transit_token_path=Path("/nowhere/token")),
        replace(GOOD, current=BAO, transit_token=None, transit_token_path=Path("/nowhere/token")),
        replace(GOOD, current=BAO, transit_namespace="team a\r\nX-Other: 1"),
        replace(GOOD, current=BAO, former=[BAO]),
        replace(GOOD, current=BAO, former=["transit:https://other.example.com/transit/tieline"]),
        replace(GOOD, current="azure:key"),
        replace(GOOD, current="kek_01k0c4m2w8eyv9x3f5t7h1n6qp"),
        replace(GOOD, former=["https://bao.example.com/transit/tieline"]),
    ],
    ids=lambda settings: str(settings.current)[:40],
)
def test_a_bad_configuration_is_refused_and_no_secret_is_quoted(settings: ServiceSettings) -> None:
    with pytest.raises(KeyRingError) as caught:
        compose_keys(RING, settings)
    shown = f"{caught.value} {caught.value.what_to_do} {settings!r} {caught.value.__cause__}"
    assert CANARY not in shown
    assert "two\nlines" not in shown


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "no JSON at all", '{"client_email": 1, "token_uri": 2}', "weak key"]
)
def test_a_file_that_is_no_service_account_is_refused_and_not_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "account.json"
    if content == "weak key":
        content = json.dumps(Google(url="https://oauth2.example.com").key_file() | {"private_key": "canary"})
    path.write_text(content)
    with pytest.raises(KeyRingError, match="not the key file of a service account") as caught:
        compose_keys(RING, replace(GOOD, current=GCP, gcp_credentials=path))
    assert caught.value.__suppress_context__
    assert "canary" not in str(caught.value)


async def test_good_configurations_are_taken_without_asking_anybody(tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    account.write_text(json.dumps(Google(url="https://oauth2.example.com").key_file()))
    token = tmp_path / "token"
    token.write_text(f"{CANARY}\n")
    for settings in (
        ServiceSettings(),
        ServiceSettings(current=AWS),
        ServiceSettings(current=f"aws-kms:{ACCOUNT}:alias/tieline", former=[AWS]),
        ServiceSettings(current=GCP, gcp_credentials=account),
        replace(GOOD, current=BAO, former=[AWS, GCP], transit_namespace="team/a"),
        ServiceSettings(current="transit:http://127.0.0.1:8200/deep/mount/tieline", transit_token_path=token),
        replace(GOOD, former=[BAO]),
    ):
        composed = compose_keys(RING, settings)
        assert composed.knows(RING.current_id)
        assert composed.knows(AWS) == any(ACCOUNT in one for one in (settings.current or "", *settings.former))
        assert not composed.knows("kek_unknown")
        await composed.close()


async def test_without_a_current_service_the_key_ring_seals() -> None:
    composed = compose_keys(RING, replace(GOOD, former=[BAO]))
    assert await Vault(composed).current_key() == RING.current_id
    await composed.close()


# OpenBao


async def test_sealed_openbao_refuses_and_unsealed_goes_on_without_a_restart(openbao: OpenBao) -> None:
    with keepers.transit(openbao, patience=10.0) as keeper:
        (wrapped,) = await keeper.keys.wrap([DataKey(bytes(32), b"here")])
        openbao.seal()
        (refused,) = await keeper.keys.unwrap([Bound(wrapped, b"here")])
        assert isinstance(refused, KeyFailure)
        assert refused.reason == "away"
        openbao.unseal()
        assert await keeper.keys.unwrap([Bound(wrapped, b"here")]) == [bytes(32)]
        await keeper.keys.close()


async def test_a_key_that_was_made_without_derivation_binds_all_the_same(openbao: OpenBao) -> None:
    with keepers.transit(openbao, derived=False) as keeper:
        (wrapped,) = await keeper.keys.wrap([DataKey(bytes(32), b"here")])
        keeper.rotate()
        (anew,) = await keeper.keys.rewrap([Bound(wrapped, b"here")])
        assert await keeper.keys.unwrap([Bound(wrapped, b"here"), Bound(anew, b"here")]) == [bytes(32)] * 2
        (there,) = await keeper.keys.unwrap([Bound(wrapped, b"there")])
        assert isinstance(there, KeyFailure)
        await keeper.keys.close()


async def test_a_token_is_read_anew_and_needs_no_more_than_three_paths(openbao: OpenBao, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("not-a-token")
    with keepers.transit(openbao, token=path.read_text) as keeper:
        (refused,) = await keeper.keys.wrap([DataKey(bytes(32), b"")])
        assert isinstance(refused, KeyFailure)
        assert refused.reason == "denied"
        key = keeper.keys._key
        rules = "".join(
            f'path "transit/{verb}/{key}" {{ capabilities = ["update"] }}\n'
            for verb in ("encrypt", "decrypt", "rewrap")
        )
        openbao.ask("PUT", f"sys/policies/acl/{key}", {"policy": rules})
        path.write_text(_token(openbao, key))
        (wrapped,) = await keeper.keys.wrap([DataKey(bytes(32), b"")])
        keeper.rotate()
        (anew,) = await keeper.keys.rewrap([Bound(wrapped, b"")])
        assert anew.key_id == await keeper.keys.current()
        await keeper.keys.close()


def _token(bao: OpenBao, policy: str) -> str:
    from urllib.request import Request, urlopen

    body = json.dumps({"policies": [policy], "no_default_policy": True}).encode()
    request = Request(f"{bao.url}/v1/auth/token/create", body, {"X-Vault-Token": ROOT}, method="POST")
    with urlopen(request, timeout=30) as answer:
        token: str = json.load(answer)["auth"]["client_token"]
    return token


async def test_the_namespace_is_told(openbao: OpenBao) -> None:
    with keepers.transit(openbao, namespace="team-a") as keeper:
        await keeper.keys.wrap([DataKey(bytes(32), b"")])
        assert keeper.before.asked[-1].headers["X-Vault-Namespace"] == "team-a"
        await keeper.keys.close()


# AWS


@pytest.mark.usefixtures("aws_surroundings")
async def test_an_alias_is_stored_as_the_key_it_stands_for_and_the_context_hides_the_place(moto_kms: str) -> None:
    with keepers.aws(moto_kms) as keeper:
        vault = Vault(keeper_ring := _Single(keeper.keys))
        await vault.seal(b"secret", PLACE)
        assert (await keeper_ring.current()).startswith(f"aws-kms:{ACCOUNT}:key/")
        (context,) = {str(json.loads(one.body)["EncryptionContext"]) for one in keeper.before.asked[:1]}
        assert "tieline:place" in context
        assert "org_a" not in context
        await keeper.keys.close()


@pytest.mark.usefixtures("aws_surroundings")
async def test_without_credentials_aws_is_denied(moto_kms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with keepers.aws(moto_kms) as keeper:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        (refused,) = await keeper.keys.wrap([DataKey(bytes(32), b"")])
        assert isinstance(refused, KeyFailure)
        assert refused.reason == "denied"
        await keeper.keys.close()


@pytest.mark.usefixtures("aws_surroundings")
async def test_what_another_key_of_the_account_opened_is_refused(moto_kms: str) -> None:
    """moto opens with whatever key the ciphertext names; the answer says which, and that must be the one asked for."""
    with keepers.aws(moto_kms) as keeper:
        (one,) = await keeper.keys.wrap([DataKey(bytes(32), b"")])
        keeper.rotate()
        (other,) = await keeper.keys.wrap([DataKey(bytes(32), b"")])
        (refused,) = await keeper.keys.unwrap([Bound(Wrapped(other.key_id, one.text), b"")])
        assert isinstance(refused, KeyFailure)
        await keeper.keys.close()


class _Single:
    """A key service where a key ring is wanted."""

    fingerprint_key = bytes(32)

    def __init__(self, keys: Any) -> None:
        self._keys = keys

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)


# Google


@pytest.fixture
async def google() -> AsyncIterator[tuple[Google, keepers.Keeper]]:
    state = Google()
    with keepers.gcp(state) as keeper:
        yield state, keeper
        await keeper.keys.close()


@pytest.mark.parametrize("content", [b"", b"123456789", b"\0" * 32, bytes(range(32))])
def test_the_checksum_is_castagnolis(content: bytes) -> None:
    known = {b"": 0, b"123456789": 0xE3069283, b"\0" * 32: 0x8A9136AA, bytes(range(32)): 0x46DD794E}  # RFC 3720, B.4
    assert crc32c(content) == known[content]


@pytest.mark.parametrize(
    "field", ["ciphertext", "verifiedPlaintextCrc32c", "verifiedAdditionalAuthenticatedDataCrc32c"]
)
async def test_what_was_changed_on_the_way_from_google_is_not_stored(
    google: tuple[Google, keepers.Keeper], field: str
) -> None:
    def change(said: Said) -> Said:
        content = json.loads(said.body)
        if field in content:
            content[field] = False if field.startswith("verified") else b64encode(b"\1" * 60).decode()
        return say(said.status or 500, content)

    google[1].before.change = change
    (refused,) = await google[1].keys.wrap([DataKey(bytes(32), b"")])
    assert isinstance(refused, KeyFailure)
    assert refused.reason == "unexpected"


async def test_what_was_changed_on_the_way_to_google_is_noticed_there(google: tuple[Google, keepers.Keeper]) -> None:
    await google[1].keys.wrap([DataKey(bytes(32), b"")])
    given = json.loads(google[1].before.asked[-1].body)
    for name in ("plaintext", "additionalAuthenticatedData"):
        assert given[f"{name}Crc32c"] == str(crc32c(b64decode(given[name])))


async def test_a_plaintext_changed_on_the_way_back_is_refused(google: tuple[Google, keepers.Keeper]) -> None:
    (wrapped,) = await google[1].keys.wrap([DataKey(bytes(32), b"")])
    google[1].before.change = lambda said: say(
        200, json.loads(said.body) | {"plaintext": b64encode(b"\1" * 32).decode()}
    )
    (refused,) = await google[1].keys.unwrap([Bound(wrapped, b"")])
    assert isinstance(refused, KeyFailure)


async def test_a_service_account_signs_for_its_token_which_is_kept_until_shortly_before_its_end() -> None:
    state, now = Google(), [1_800_000_000.0]
    with standing_before(state.answer) as front:
        state.url = front.url
        file = state.key_file()
        account = ServiceAccount(file["client_email"], file["token_uri"], file["private_key"], file["private_key_id"])
        rest = Rest()
        tokens = AccessTokens(rest, account, now=lambda: now[0])
        keys = GcpKeys(KEY, tokens=tokens, rest=rest, endpoint=front.url)
        assert file["private_key"] not in repr(account)
        for _ in range(3):
            only(await keys.wrap([DataKey(os.urandom(32), b"")]))
        assert [one.path for one in front.asked].count("/token") == 1
        now[0] += state.lifetime - 60
        only(await keys.wrap([DataKey(os.urandom(32), b"")]))
        assert [one.path for one in front.asked].count("/token") == 2
        await keys.close()


async def test_a_token_that_google_refuses_is_one_error(google: tuple[Google, keepers.Keeper]) -> None:
    google[1].before.instead = lambda asked: say(403, {"error": "no"}) if "computeMetadata" in asked.path else None
    with pytest.raises(VaultError, match=r"^Credential encryption failed$"):
        await Vault(_Single(google[1].keys)).seal(b"secret", PLACE)
