"""Kinds that sign with a stored key: service accounts, JWTs, client assertions; and ID tokens, which others sign."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from pydantic import Field, SecretStr
from tests.sdk.auth.conftest import everything_in, form_of, make_context

from tieline.errors import Forbidden, Invalid, Unauthorised, Unexpected
from tieline.sdk import AuthContext, Credential, Jwt, OAuth2, OAuthApp, ServiceAccount, ServiceAccountKey, SigningKey
from tieline.sdk.auth.assertion import client_assertion, sign_jwt
from tieline.sdk.auth.id_token import verify_id_token

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
AT = int(NOW.timestamp())


def pem_of(key: Any) -> str:
    form = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode())


# --- service accounts

ROBOT = ServiceAccount(token_url="{oauth}/token", scopes=("https://scopes.example/a", "https://scopes.example/b"))


def key_file(pem: str, **changes: Any) -> str:
    told = {
        "type": "service_account",
        "client_email": "robot@project.example",
        "private_key": pem,
        "private_key_id": "key-1",
        "token_uri": "https://attacker.example/token",
    }
    return json.dumps({name: value for name, value in {**told, **changes}.items() if value is not None})


async def test_a_service_account_signs_for_a_token_where_the_declaration_says(
    bench: Any, acme: Any, context: Callable[..., AuthContext], pem: str
) -> None:
    acme.will(bench.answer({"access_token": "ya29.token", "expires_in": 3599}))
    ctx = context()
    given = ServiceAccountKey(key=SecretStr(key_file(pem)), subject="admin@example.com")
    grant = await ROBOT.mint(ctx, given)
    assert grant.expires_at == bench.now + timedelta(seconds=3599)
    sent = form_of(acme.received[0])
    assert sent["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    shown = jwt.decode(sent["assertion"], RSAKey.import_key(pem), ["RS256"])
    assert shown.header["kid"] == "key-1"
    assert shown.claims == {
        "iss": "robot@project.example",
        "sub": "admin@example.com",
        "scope": "https://scopes.example/a https://scopes.example/b",
        "aud": f"{acme.url}/token",
        "iat": AT,
        "exp": AT + 3600,
    }
    await ROBOT.mint(ctx, ServiceAccountKey(key=SecretStr(key_file(pem, private_key_id=None))))
    bare = jwt.decode(form_of(acme.received[1])["assertion"], RSAKey.import_key(pem), ["RS256"])
    assert "sub" not in bare.claims
    assert "kid" not in bare.header


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "authorized_user"}, "not that of a service account"),
        ({"client_email": None}, "no client_email"),
        ({"private_key": None}, "no private_key"),
        ({"private_key": 7}, "no private_key"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----"}, "cannot be read"),
        ({"private_key": pem_of(ec.generate_private_key(ec.SECP256R1()))}, "does not fit"),
    ],
)
async def test_a_key_file_that_is_none_is_refused_before_any_request(
    acme: Any, context: Callable[..., AuthContext], pem: str, change: dict[str, Any], words: str
) -> None:
    text = key_file(pem, **change)
    with pytest.raises(Invalid, match=words) as refused:
        await ROBOT.mint(context(), ServiceAccountKey(key=SecretStr(text)))
    assert "MII" not in everything_in(refused.value)
    assert acme.received == []


@pytest.mark.parametrize("text", ["not json", "[]", "7", '"text"', "{}"])
async def test_what_is_no_key_file_is_refused(context: Callable[..., AuthContext], text: str) -> None:
    credential = ServiceAccountKey(key=SecretStr(text))
    assert text in credential.secrets()
    with pytest.raises(Invalid):
        await ROBOT.mint(context(), credential)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_grant", Unauthorised),
        ("invalid_client", Unauthorised),
        ("unauthorized_client", Forbidden),
        ("access_denied", Forbidden),
    ],
)
async def test_a_dead_key_is_told_apart_from_a_subject_that_may_not_be_stood_in_for(
    bench: Any, acme: Any, context: Callable[..., AuthContext], pem: str, code: str, kind: Any
) -> None:
    acme.will(bench.answer({"error": code, "error_description": "Account not found"}, 400))
    with pytest.raises(kind) as refused:
        await ROBOT.mint(context(), ServiceAccountKey(key=SecretStr(key_file(pem))))
    assert form_of(acme.received[0])["assertion"] not in everything_in(refused.value)


def test_the_key_in_a_key_file_is_known_as_a_secret(pem: str) -> None:
    secrets = ServiceAccountKey(key=SecretStr(key_file(pem))).secrets()
    assert pem in secrets
    assert key_file(pem) in secrets


# --- JWTs that are the token


class IssuerKey(Credential):
    issuer_id: str
    private_key: SecretStr = Field(json_schema_extra={"multiline": True})
    key_id: str | None = None


async def test_a_jwt_is_made_of_the_declared_claims() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    auth = Jwt(
        claims={"iss": "{issuer_id}", "aud": "acme-{region}"}, headers={"cty": "x"}, model=IssuerKey, lifetime=60
    )
    ctx = make_context({"region": "eu"})
    given = IssuerKey(issuer_id="i-1", private_key=SecretStr(pem_of(key)), key_id="k-1")
    token = await auth.mint(ctx, given)
    text = token.access_token.get_secret_value()
    shown = jwt.decode(text, ECKey.import_key(key), ["ES256"])
    assert (shown.header["kid"], shown.header["alg"], shown.header["cty"]) == ("k-1", "ES256", "x")
    assert (shown.claims["iss"], shown.claims["aud"]) == ("i-1", "acme-eu")
    assert shown.claims["exp"] - shown.claims["iat"] == 60
    assert token.expires_at
    assert auth.credential is IssuerKey


async def test_a_jwt_may_be_signed_by_a_shared_secret() -> None:
    auth = Jwt(claims={"iss": "{key_id}"}, algorithm="HS256")
    token = await auth.mint(make_context(), SigningKey(private_key=SecretStr("s" * 40), key_id="k"))
    shown = jwt.decode(token.access_token.get_secret_value(), OctKey.import_key("s" * 40), ["HS256"])
    assert shown.claims["iss"] == "k"


async def test_a_secret_field_never_becomes_a_claim() -> None:
    auth = Jwt(claims={"iss": "{private_key}"}, algorithm="HS256")
    with pytest.raises(Invalid, match="private_key"):
        await auth.mint(make_context(), SigningKey(private_key=SecretStr("s" * 40)))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    ],
    ids=["rsa", "p256", "p384", "ed25519"],
)
def test_the_algorithm_follows_from_the_key(key: Any, algorithm: str) -> None:
    token = sign_jwt(pem_of(key), {"iss": "x"})
    assert jws.extract_compact(token.encode()).headers()["alg"] == algorithm


@pytest.mark.parametrize("key", ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----", "s" * 40])
def test_what_is_no_private_key_is_refused_in_words(key: str) -> None:
    with pytest.raises(Invalid, match="cannot be read") as refused:
        sign_jwt(key, {"iss": "x"})
    assert "sss" not in everything_in(refused.value)


def test_a_traditional_rsa_key_is_read_too(pem: str) -> None:
    loaded = serialization.load_pem_private_key(pem.encode(), None)
    old = loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    assert "RSA PRIVATE KEY" in old
    assert jwt.decode(sign_jwt(old, {"iss": "x"}), RSAKey.import_key(pem), ["RS256"]).claims == {"iss": "x"}


def test_a_key_in_one_line_of_settings_is_read_too(pem: str) -> None:
    line = pem.replace("\n", "\\n")
    assert "\n" not in line
    assert jwt.decode(sign_jwt(line, {"iss": "x"}), RSAKey.import_key(pem), ["RS256"]).claims == {"iss": "x"}


def test_a_certificate_beside_the_key_is_told_by_its_thumbprint(pem: str) -> None:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tieline")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=1))
    certificate = made.sign(key, hashes.SHA256())
    both = certificate.public_bytes(serialization.Encoding.PEM).decode() + pem
    shown = jwt.decode(client_assertion("app", both, "https://login.example", NOW), RSAKey.import_key(pem), ["PS256"])
    digest = shown.header["x5t#S256"]
    assert isinstance(digest, str)
    assert (len(digest), "kid" in shown.header) == (43, False)
    assert {**shown.claims, "jti": ""} == {
        "iss": "app", "sub": "app", "aud": "https://login.example", "jti": "", "iat": AT, "exp": AT + 300,
    }  # fmt: skip


async def test_assertions_are_never_the_same(bench: Any, acme: Any, pem: str) -> None:
    acme.will(bench.answer({"access_token": "x"}))
    auth = OAuth2(authorize_url="{op}/a", token_url="{op}/t", client_auth="private_key_jwt")
    app = OAuthApp(client_id="app", private_key=SecretStr(pem), key_id="k")
    assertions = {client_assertion("app", pem, "x", NOW, key_id="k") for _ in range(3)}
    assert len(assertions) == 3
    assert auth.app_fields == {"client_id", "private_key"}
    assert app.secrets() == [pem]


# --- ID tokens

ISSUER, CLIENT, NONCE = "https://login.example/t1/v2.0", "client-1", "nonce-1"
CLAIMS = {"iss": ISSUER, "aud": CLIENT, "sub": "anna", "exp": AT + 600, "iat": AT, "nonce": NONCE, "tid": "t1"}


@pytest.fixture(scope="module")
def signer() -> RSAKey:
    return RSAKey.generate_key(2048, parameters={"kid": "k1", "use": "sig"})


def id_token(key: Any, *, alg: str = "RS256", kid: str | None = "k1", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode({"alg": alg, **({"kid": kid} if kid else {})}, claims, key, algorithms=[alg])


def by_shared_secret(body: str, secret: bytes) -> str:
    """The forgery that takes the public key for a shared secret, and hopes that the other side does, too."""
    signed = f"eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0.{body}"
    return f"{signed}.{urlsafe_b64encode(hmac.digest(secret, signed.encode(), 'sha256')).decode().rstrip('=')}"


async def verify(bench: Any, acme: Any, token: Any, *keys: Any) -> dict[str, Any]:
    published = KeySet(list(keys)).as_dict(private=False)
    published["keys"] += [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "kid": "broken"}, 7, {"kty": "new"}]
    acme.will(bench.answer(published))
    ctx = make_context(clock=bench.clock)
    url = f"{acme.url}/keys"
    return await verify_id_token(ctx, token, keys_url=url, issuer=ISSUER, client_id=CLIENT, nonce=NONCE)


async def test_a_sound_id_token_is_believed(bench: Any, acme: Any, signer: RSAKey) -> None:
    assert await verify(bench, acme, id_token(signer), signer) == CLAIMS
    assert await verify(bench, acme, id_token(signer, kid=None), signer) == CLAIMS
    several = id_token(signer, aud=[CLIENT, "other"], azp=CLIENT)
    assert (await verify(bench, acme, several, signer))["azp"] == CLIENT
    curve = ECKey.generate_key("P-256", parameters={"kid": "k2"})
    assert await verify(bench, acme, id_token(curve, alg="ES256", kid="k2"), signer, curve) == CLAIMS


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://login.example/t2/v2.0"},
        {"iss": None},
        {"aud": "client-2"},
        {"aud": None},
        {"aud": ["client-2"]},
        {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"nonce": "nonce-2"},
        {"nonce": None},
        {"exp": AT - 61},
        {"exp": None},
        {"exp": "soon"},
        {"iat": AT + 61},
        {"iat": None},
        {"nbf": AT + 61},
        {"sub": None},
    ],
    ids=str,
)
async def test_an_id_token_with_a_wrong_claim_is_not(
    bench: Any, acme: Any, signer: RSAKey, change: dict[str, Any]
) -> None:
    with pytest.raises(Unauthorised):
        await verify(bench, acme, id_token(signer, **change), signer)


async def test_an_id_token_that_is_not_the_issuers_is_not_believed(bench: Any, acme: Any, signer: RSAKey) -> None:
    other = RSAKey.generate_key(2048, parameters={"kid": "k1"})
    head, body, signature = id_token(signer).split(".")
    unsigned = f"eyJhbGciOiJub25lIn0.{body}."
    forged = [
        id_token(other),
        id_token(signer, kid="k9"),
        id_token(signer, alg="PS256"),
        by_shared_secret(body, signer.as_pem(private=False)),
        unsigned,
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body[:-2]}AA.{signature}",
        "a.b.c",
        "nonsense",
    ]
    for token in forged:
        with pytest.raises(Unauthorised):
            await verify(bench, acme, token, signer)
    for token in (None, 7, "", "x" * 50_001):
        with pytest.raises(Unexpected, match="who signed in"):
            await verify(bench, acme, token, signer)


async def test_two_keys_of_one_name_are_not_chosen_between(bench: Any, acme: Any, signer: RSAKey) -> None:
    other = RSAKey.generate_key(2048, parameters={"kid": "k1"})
    with pytest.raises(Unauthorised, match="does not publish"):
        await verify(bench, acme, id_token(signer), signer, other)
