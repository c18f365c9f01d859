"""Keys that something is minted from: neither they come out, nor what is minted, nor the identity tokens that are exchanged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from tests.canaries import hatch
from tests.leaks.careless import TOKEN_MODES, Careless
from tests.leaks.house import House, living, provider
from tests.leaks.watching import Watch, new_pem

from tieline.sdk.auth import ClientCredentials, Federated, Jwt, OAuthApp, ServiceAccount
from tieline.store.issuer_keys import list_issuer_keys
from tieline.vault import LocalKeyRing, Place

KINDS = {
    "JWT private key", "JWT that signs", "service account key", "service account assertion", "client secret", "client key", "client assertion",
    "identity token", "issuer private key", "minted token", "AWS secret key", "AWS session token",
}  # fmt: skip
TOKEN, SCOPES = "{base_url}/token", ("read",)
WAYS: dict[str, Any] = {
    "jwt": Jwt(claims={"iss": "tieline"}),
    "robot": ServiceAccount(token_url=TOKEN, scopes=SCOPES),
    "client": ClientCredentials(token_url=TOKEN, scopes=SCOPES),
    "asserting": ClientCredentials(token_url=TOKEN, client_auth="private_key_jwt"),
    "keyless": Federated(token_url=TOKEN, scopes=SCOPES, impersonate_url="{base_url}/impersonate"),
}
POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/t"
SOME = ("quoted", "half", "403")


@pytest.fixture
async def house(fresh_database_url: str, ring: LocalKeyRing, watch: Watch, careless: Careless) -> AsyncIterator[House]:
    providers = [provider(slug, way) for slug, way in WAYS.items()]
    key = hatch("AWS secret key", length=28)
    watch.canaries.append(key)
    app = OAuthApp.model_validate({"client_id": "AKIAIOSFODNN7EXAMPLE", "client_secret": key.text})
    given: dict[str, Any] = {"apps": {"aws": app}, "hosts": {"aws": {"sts": f"{careless.url}/sts"}}}
    async with living(fresh_database_url, ring, watch, careless, providers=providers, **given) as made:
        yield made


def credentials(watch: Watch) -> dict[str, Callable[[], dict[str, Any]]]:
    """How to make a credential for each way, of which every secret is known to the watch."""

    def pem(kind: str) -> str:
        made = new_pem()
        watch.add_key(kind, made)
        return made

    def key_file() -> str:
        key = {
            "type": "service_account",
            "client_email": "r@b.example",
            "private_key_id": "1",
            "private_key": pem("service account key"),
        }
        return json.dumps(key)

    def secret() -> str:
        watch.canaries.append(made := hatch("client secret", after=' /+&%"<'))
        return made.text

    role = {"role_arn": "arn:aws:iam::123456789012:role/tieline"}
    return {
        "jwt": lambda: {"private_key": pem("JWT private key"), "key_id": "1"},
        "robot": lambda: {"key": key_file(), "subject": "admin@example.com"},
        "client": lambda: {"client_id": "c", "client_secret": secret()},
        "asserting": lambda: {"client_id": "c", "private_key": pem("client key")},
        "keyless": lambda: {"audience": POOL, "service_account": "t@p.iam.gserviceaccount.com"},
        "role": lambda: role,
        "web_identity": lambda: role,
    }


async def test_nothing_that_is_minted_or_minted_from_comes_out(house: House, watch: Watch, careless: Careless) -> None:
    """Connect, rotate, test, sync and disconnect, while the token endpoint or the API fails in every way."""
    make = credentials(watch)

    async def connect(way: str, account: str) -> Any:
        slug = way if way in WAYS else "aws"
        return await house.connect(slug, account, make[way](), by=way if slug == "aws" else None)

    async def refuse(way: str, what: str, mode: str) -> None:
        account = f"no-{way}-{what}-{mode.replace(' ', '-')}"
        careless.modes[f"{account}/{what}"] = mode
        answer = await connect(way, account)
        assert answer.status_code >= 400, (account, answer.text)

    async def live(way: str) -> None:
        made = await connect(way, f"yes-{way}")
        assert made.status_code == 201, made.text
        path = f"/v1/connections/{made.json()['id']}"
        await house.ask("POST", f"{path}/rotate", json={"credential": make[way]()})
        careless.modes |= {f"yes-{way}/token": "quoted", "sts/": "quoted"}
        await house.ask("POST", f"{path}/rotate", json={"credential": make[way]()})
        careless.modes |= {f"yes-{way}/token": "good", "sts/": "good", f"yes-{way}/people": "html"}

    await asyncio.gather(*(refuse("client", "token", mode) for mode in TOKEN_MODES))
    await asyncio.gather(*(refuse(way, "token", mode) for way in ("robot", "asserting", "keyless") for mode in SOME))
    await asyncio.gather(*(refuse("keyless", "impersonate", mode) for mode in SOME))
    await asyncio.gather(*(refuse(way, "me", mode) for way in WAYS for mode in ("html",)))
    for mode in ("quoted", "403", "html"):
        careless.modes["sts"] = mode
        for way in ("role", "web_identity"):
            assert (await connect(way, "no-aws")).status_code >= 400
    careless.modes |= {"sts": "good", "no-aws": "html"}
    assert (await connect("role", "no-aws")).status_code >= 400
    for way in (*WAYS, "role"):
        await live(way)
    await house.run_what_is_due()
    await _know_the_issuers_key(house, watch)
    for one in (await house.ask("GET", "/v1/connections?limit=1000")).json()["items"]:
        await house.ask("POST", f"/v1/connections/{one['id']}/test")
        await house.ask("DELETE", f"/v1/connections/{one['id']}")
    await house.ask("POST", "/v1/keys/re-wrap")
    await house.look_everywhere()
    watch.note_objects("what was minted", [house.parts.flights, *house.parts.flights.minted.values()])
    assert watch.kinds >= KINDS, KINDS - watch.kinds
    assert await house.count("SELECT count(*) FROM runs WHERE exchange IS NOT NULL") >= 5


async def test_keys_of_the_wrong_form_are_not_repeated(house: House, watch: Watch) -> None:
    """What cannot be read as a key may still be one."""
    pem = new_pem()
    watch.add_key("JWT private key", pem)
    body = "".join(pem.splitlines()[1:-1])
    watch.add("JWT private key", body[40:90])
    broken = (
        body,
        pem.replace("-----END", "----END"),
        pem[:400] + pem[500:],
        json.dumps({"private_key": pem}),
        f'{{"type": "{body}',
    )
    key_file = {"type": "service_account", "client_email": "a@b.example"}
    for one in broken:
        texts = (
            one,
            json.dumps(key_file | {"private_key": one}),
            json.dumps(key_file | {"client_email": [one]}),
            json.dumps([one]),
        )
        for credential in ({"key": text} for text in texts):
            assert (await house.connect("robot", "x", credential)).status_code in {201, 409, 422}
        assert (await house.connect("jwt", "x", {"private_key": one, "key_id": "1"})).status_code in {201, 409, 422}
        assert (await house.connect("asserting", "x", {"client_id": "c", "private_key": one})).status_code in {
            201,
            409,
            422,
        }
        await house.ask("PUT", "/v1/oauth-apps/aws", json={"client_id": "c", "private_key": one, "slug": one})
    await house.look_everywhere()


async def _know_the_issuers_key(house: House, watch: Watch) -> None:
    """The key that signs identity tokens, as it stands in the vault."""
    async with house.parts.db.system() as work:
        (key,) = await list_issuer_keys(work)
    opened = orjson.loads(await house.parts.vault.open(key.sealed.sealed, Place("platform", key.id, "issuer", 0)))
    watch.add_key("issuer private key", "", numbers=opened)
