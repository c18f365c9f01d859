"""Leaks that such programs are known for: each is looked for by itself."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
import uvicorn
from pydantic import SecretStr
from tests.canaries import hatch
from tests.leaks.careless import Careless
from tests.leaks.house import House, living, provider
from tests.leaks.watching import Watch, new_pem, process_arguments
from tests.tracing import shown, tracing

from tieline.errors import TielineError, VaultError
from tieline.flows.authorize import Begun, Onward, Wish
from tieline.flows.carried import Carried
from tieline.flows.credentials import Held
from tieline.flows.imports import Row
from tieline.flows.tickets import Fit
from tieline.sdk import Credential, Grant, OAuthApp, PersonalToken
from tieline.sdk.auth import Ask, AwsSession, Back
from tieline.sdk.auth.client_auth import ClientProof
from tieline.sdk.auth.oauth2 import OAuth2
from tieline.settings import describe_settings, read_settings
from tieline.telemetry import expose
from tieline.vault import LocalKeyRing, Place, ServiceSettings, Vault, compose_keys
from tieline.vault.gcp_token import ServiceAccount

PLACE = Place("org_a", "conn_a", "token", 1)
ARN = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-4333-8444-555555555555"


def secret(watch: Watch, kind: str) -> str:
    """A new secret, known to the watch."""
    watch.canaries.append(made := hatch(kind, after="/+&%"))
    return made.text


@pytest.fixture
async def house(fresh_database_url: str, ring: LocalKeyRing, watch: Watch, careless: Careless) -> AsyncIterator[House]:
    way = OAuth2(authorize_url="https://a.example/auth", token_url="https://a.example/token")
    async with living(fresh_database_url, ring, watch, careless, providers=[provider("acme", way)]) as made:
        yield made


async def test_the_access_log_of_a_hosts_own_server_shows_nothing_of_a_sign_in(house: House, watch: Watch) -> None:
    """Mounted in a host, Tieline is served with whatever log that has; uvicorn's shows paths and queries."""
    shown, server = io.StringIO(), uvicorn.Server(uvicorn.Config(house.app, port=0, log_level="debug", lifespan="off"))
    handler, access = logging.StreamHandler(shown), logging.getLogger("uvicorn.access")
    before = [logging.getLogger(name).handlers[:] for name in ("uvicorn", "uvicorn.access")]
    access.handlers[:], logging.getLogger("uvicorn").handlers[:] = [handler], [handler]
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    (port,) = {one.getsockname()[1] for one in server.servers[0].sockets}
    url = f"http://127.0.0.1:{port}/v1/oauth"
    async with httpx2.AsyncClient(trust_env=False) as client:
        for path in (
            f"begin/{secret(watch, 'signed ticket')}",
            f"callback/acme?code={secret(watch, 'authorization code')}&state={secret(watch, 'state')}",
        ):
            answer = await client.get(f"{url}/{path}")
            watch.note("answer", f"{answer.headers!r} {answer.text}")
    server.should_exit = True
    with suppress(asyncio.CancelledError):
        await serving
    logging.getLogger("uvicorn").handlers[:], access.handlers[:] = before
    assert "/v1/oauth/callback/acme" in shown.getvalue()
    watch.note("uvicorn's log", shown.getvalue())


async def test_what_is_traced_of_a_sign_in_holds_nothing_of_what_came_with_it(house: House, watch: Watch) -> None:
    """A framework that traces by itself tells paths and queries; the watch looks through all spans when the test ends."""
    watch.canaries.append(ticket := hatch("signed ticket"))
    with tracing() as kept:
        for path in (
            f"/v1/oauth/begin/{ticket.text}",
            f"/v1/oauth/callback/acme?code={secret(watch, 'authorization code')}&state={secret(watch, 'state')}",
            "/no/such/path",
        ):
            await house.browser().get(path)
        await house.ask("POST", "/v1/connections", json={"provider": secret(watch, "provider")})
    spans = kept.get_finished_spans()
    assert {"GET /v1/oauth/begin/{ticket}", "GET none"} <= {one.name for one in spans}
    watch.note("spans", [shown(one) for one in spans])
    watch.note("metrics", expose().decode())


def test_a_stored_credential_that_no_longer_fits_its_form_is_not_quoted(watch: Watch) -> None:
    """The provider of today may have another form than the one that a credential was stored with."""
    stored = json.dumps({"token": secret(watch, "token"), "client_secret": secret(watch, "client secret")})
    models: tuple[type[Credential], ...] = (PersonalToken(field="key").credential, Grant, OAuthApp, AwsSession)
    for model in models:
        for text in (stored, stored[:-9], json.dumps([stored])):
            with pytest.raises(ValueError) as failed:  # noqa: PT011  pydantic's, whatever it says
                model.model_validate_json(text)
            watch.note_error(model.__name__, failed.value)


def test_settings_that_are_refused_or_shown_keep_their_secrets(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = new_pem()
    watch.add_key("OAuth app private key", pem)
    token, password = secret(watch, "KMS token"), secret(watch, "database password")
    good = {
        "TIELINE_TRANSIT_TOKEN": token, "TIELINE_DATABASE_URL": f"postgresql://t:{password}@127.0.0.1/none",
        "TIELINE_OAUTH_ACME_CLIENT_ID": "c", "TIELINE_OAUTH_ACME_PRIVATE_KEY": pem, "TIELINE_OAUTH_ACME_CLIENT_SECRET": secret(watch, "OAuth client secret"),
    }  # fmt: skip
    bad = [
        {"TIELINE_OAUTH_ACME_CLIENT_SECRET": token * 400}, {"TIELINE_OAUTH_ACME_PRIVATE_KEY": pem * 20}, {"TIELINE_OAUTH_ACME_SLUG": token},
        {"TIELINE_PUBLIC_URL": f"https://t:{hatch_token(watch)}@x.example"}, {"TIELINE_WORKER_SLOTS": token}, {"TIELINE_LOG_LEVEL": token},
        {"TIELINE_TRANSIT_TOKEN_FILE": f"/nowhere/{token}"}, {"TIELINE_RETURN_ORIGINS": token},
    ]  # fmt: skip
    for name, value in good.items():
        monkeypatch.setenv(name, value)
    settings = read_settings()
    watch.note_objects("settings", [settings, settings.oauth_apps, *settings.oauth_apps.values()])
    watch.note("settings as they are shown", describe_settings(settings))
    for one in bad:
        with monkeypatch.context() as more:
            for name, value in one.items():
                more.setenv(name, value)
            with pytest.raises(TielineError) as refused:
                read_settings()
        watch.note_error(str(list(one)), refused.value)


def test_no_object_that_holds_a_secret_prints_it(watch: Watch) -> None:
    def new() -> str:
        return secret(watch, "held")

    grant = Grant(access_token=SecretStr(new()), refresh_token=SecretStr(new()))
    app = OAuthApp(client_id="c", client_secret=SecretStr(new()), private_key=SecretStr(new()))
    watch.note_objects("objects", [
        grant, app, Held(PersonalToken(), grant), Ask("https://a.example", new(), "challenge", new()),
        Back({"code": new()}, "https://a.example", new(), new()), Fit("acme", "https://a.example", new()), Onward(new(), new()),
        Carried({}, None, verifier=new(), nonce=new()), Begun(None, new()), Row(1, {"credential": new()}),  # type: ignore[arg-type]
        ClientProof({"client_secret": new()}, {"authorization": new()}, (new(),)), ServiceSettings(transit_token=new()),
        ServiceAccount("a@b.example", "https://a.example", new(), "1"), Wish("acme"),
        AwsSession(access_key_id="A", secret_access_key=SecretStr(new()), session_token=SecretStr(new())),
    ])  # fmt: skip


@pytest.mark.parametrize("mode", ["quoted", "403", "html"])
@pytest.mark.parametrize("service", ["transit", "aws-kms", "gcp-kms"])
async def test_no_failure_of_a_key_service_shows_its_token_or_a_data_key(
    watch: Watch,
    careless: Careless,
    ring: LocalKeyRing,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    service: str,
    mode: str,
) -> None:
    """Encrypting, each service is sent the data key in plain, and logs of AWS's SDK would show it."""
    pem, account = new_pem(), {"type": "service_account", "client_email": "a@b.example", "private_key_id": "1"}
    watch.add_key("service account key", pem)
    (tmp_path / "key.json").write_text(
        json.dumps(account | {"private_key": pem, "token_uri": f"{careless.url}/oauth/token"})
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret(watch, "AWS secret key"))
    monkeypatch.setenv("AWS_SESSION_TOKEN", secret(watch, "AWS session token"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    names = {
        "transit": f"transit:{careless.url}/v1/key", "aws-kms": f"aws-kms:{ARN}",
        "gcp-kms": "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k",
    }  # fmt: skip
    settings = ServiceSettings(
        names[service], transit_token=hatch_token(watch) if service == "transit" else None, aws_endpoint=careless.url,
        gcp_endpoint=careless.url, gcp_credentials=tmp_path / "key.json",
    )  # fmt: skip
    careless.modes |= {"": mode, "v1": mode}
    keys = compose_keys(ring, settings)
    vault = Vault(keys)
    with pytest.raises(VaultError) as failed:
        await vault.seal(secret(watch, "token").encode(), PLACE)
    await keys.close()
    for heard in careless.heard:
        for plain in _plain_keys(heard.partition("\r\n\r\n")[2]):
            watch.add("data key", b64decode(plain)[:32])
    assert careless.heard
    assert service == "gcp-kms" or "data key" in watch.kinds
    watch.note_error(f"{service}, {mode}", failed.value)
    watch.note_objects("vault", [vault, keys, settings])
    watch.note("arguments of processes", process_arguments())


def hatch_token(watch: Watch) -> str:
    """A token as it goes into a header."""
    watch.canaries.append(made := hatch("KMS token", before="hvs."))
    return made.text


def _plain_keys(body: str) -> list[str]:
    """The data keys in a request to a key service."""
    try:
        asked = json.loads(body)
    except ValueError:
        return []
    items = [asked, *asked.get("batch_input", [])]
    return [item[name] for item in items for name in ("plaintext", "Plaintext") if name in item]
