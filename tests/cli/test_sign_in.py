"""Connecting by signing in at the provider, and the apps that this takes, by the command."""

from __future__ import annotations

import re
import socket
from typing import Any

import httpx2
import pytest
from tests.consent import address_in, form_in

SECRET = "the-client's-own-secret"
APP = {"TIELINE_OAUTH_ASANA_CLIENT_ID": "the-client", "TIELINE_OAUTH_ASANA_CLIENT_SECRET": SECRET}


def get(url: str, cookie: str = "") -> httpx2.Response:
    """An answer, whatever its status; no redirect is followed."""
    return httpx2.get(url, headers={"Cookie": cookie}, trust_env=False, timeout=30)


@pytest.fixture
def public() -> str:
    """An address of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def test_the_command_answers_the_browser_itself_and_tells_the_outcome(tieline: Any, public: str) -> None:
    command = tieline.start("connect", "asana", "--by", "oauth2", "--json", TIELINE_PUBLIC_URL=public, **APP)
    try:
        walk(command, public)
    except BaseException:
        command.kill()  # it would wait ten minutes
        raise


def walk(command: Any, public: str) -> None:
    """Go through what the command shows, and decline."""
    shown = command.until(lambda text: "/v1/oauth/begin/" in text, "stderr")
    (address,) = re.findall(rf"{public}/v1/oauth/begin/\S+", shown)
    asked = get(address)
    assert "command line" in asked.text
    cookie = asked.headers["set-cookie"].split(";")[0]
    answer = form_in(asked.text) | {"answer": "continue"}
    sent = httpx2.post(address, data=answer, headers={"Cookie": cookie}, trust_env=False, timeout=30)
    there = address_in(sent.text)
    assert there.split("?")[0] == "https://app.asana.com/-/oauth_authorize"
    (state,) = re.findall(r"state=([^&]+)", there)
    page = get(f"{public}/v1/oauth/callback/asana?error=access_denied&state={state}", cookie)
    assert page.status_code == 422
    ended = command.wait()
    assert (ended.code, ended.out) == (1, "")
    assert ended.error["slug"] == "sign-in-declined"
    assert state not in ended.err
    assert SECRET not in ended.err


def test_without_an_app_the_command_says_what_to_do(tieline: Any) -> None:
    ended = tieline("connect", "asana", "--by", "oauth2", "--json")
    assert (ended.code, ended.error["slug"]) == (1, "invalid")
    assert "no OAuth app" in ended.error["message"]
    assert "oauth-apps set" in ended.error["advice"]
    ended = tieline("connect", "asana", "--by", "oauth2", "--credential", "x=y")
    assert ended.code == 2
    assert "no credential to give" in ended.err


def test_an_app_is_set_shown_and_removed(tieline: Any) -> None:
    given = ("--credential", "client_id=the-client", "--credential", "client_secret=-")
    made = tieline("oauth-apps", "set", "asana", *given, stdin=SECRET + "\n")
    assert made.code == 0, made.err
    assert "/v1/oauth/callback/asana" in made.out
    (row,) = tieline("oauth-apps", "--json").json["items"]
    assert (row["provider"], row["client_id"], row["fields"]) == ("asana", "the-client", ["client_id", "client_secret"])
    ways = tieline("oauth-apps", "availability", "--json").json["items"]
    assert {one["source"] for one in ways if one["provider"] == "asana"} == {"organization"}
    assert SECRET not in made.out + made.err + tieline("oauth-apps", "list").out
    refused = tieline("oauth-apps", "set", "asana", "--credential", f"client_secret={SECRET}", "--json")
    assert refused.code == 2
    assert SECRET not in refused.err
    assert tieline("oauth-apps", "remove", "asana", "--yes").code == 0
    assert tieline("oauth-apps", "--json").json["items"] == []


def test_the_settings_show_the_operators_app_without_its_secret(tieline: Any) -> None:
    shown = tieline("settings", **APP).out
    assert "TIELINE_OAUTH_ASANA_CLIENT_ID=the-client" in shown
    assert "TIELINE_OAUTH_ASANA_CLIENT_SECRET=****" in shown
    assert SECRET not in shown


def test_an_app_for_a_provider_that_there_is_not_stops_the_start(tieline: Any) -> None:
    ended = tieline("connections", "--json", TIELINE_OAUTH_ASANNA_CLIENT_ID="x")
    assert (ended.code, ended.error["slug"]) == (4, "setup")
    assert ended.error["advice"] == "Did you mean TIELINE_OAUTH_ASANA_…?"
