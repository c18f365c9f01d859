"""Members by the command, and the first start of the server: the link it shows makes whoever opens it the first member."""

from __future__ import annotations

import re
import signal
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, build_opener

import pytest

LINK = re.compile(r"http://127\.0\.0\.1:\d+/sign-in/link/[\w=-]{64}")


def browser() -> OpenerDirector:
    """A browser without script that keeps cookies and follows where it is sent."""
    return build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))


def test_the_first_start_shows_a_link_that_makes_the_first_member_once(commands: Any, fresh_database_url: str) -> None:
    settings = {"TIELINE_DATABASE_URL": fresh_database_url}
    serving = commands.start("serve", "--port", "0", "--role", "api", **settings)
    link = LINK.search(serving.until(lambda text: LINK.search(text) is not None))[0]
    base, _, token = link.partition("/sign-in/link/")
    anna = browser()
    with anna.open(link, timeout=30) as opened:
        assert "You are the first here" in opened.read().decode()
    form = urlencode({"token": token, "email": "anna@example.com", "name": "Anna"}).encode()
    with anna.open(f"{base}/sign-in/link", form, timeout=30) as home:
        assert home.url == f"{base}/"
        assert "Anna" in home.read().decode()
    with pytest.raises(HTTPError, match="410"):
        browser().open(f"{base}/sign-in/link", form, timeout=30)
    serving.kill(signal.SIGTERM)
    ended = serving.wait()
    assert ended.code == 0
    assert token not in ended.err, "the log shows no link"
    listed = commands("members", "--json", **settings).json["items"]
    assert [(one["email"], one["role"], one["status"]) for one in listed] == [
        ("anna@example.com", "operator", "active")
    ]
    again = commands.start("serve", "--port", "0", "--role", "api", **settings)
    said = again.until(lambda text: "Ctrl-C ends it" in text)
    again.kill(signal.SIGTERM)
    assert not LINK.search(said + again.wait().out)


def test_members_are_invited_listed_linked_and_removed(tieline: Any) -> None:
    invited = tieline("members", "invite", "Bo@Example.com", "--name", "Bo", "--role", "admin")
    assert invited.code == 0, invited.err
    assert LINK.fullmatch(invited.out.strip())
    assert "bo@example.com" in invited.err
    linked = tieline("members", "link", "bo@example.com", "--json").json
    assert LINK.fullmatch(linked["url"])
    assert linked["status"] == "invited"
    assert "Bo" in tieline("members").out
    assert tieline("members", "invite", "bo@example.com").code == 1
    assert tieline("members", "remove", linked["id"]).code == 0
    assert tieline("members", "--json").json["items"] == []
    assert "There is no member" in tieline("members", "link", "bo@example.com").err
    actions = {one["action"] for one in tieline("audit", "--json").json["items"]}
    assert {"member.invited", "member.link_made", "member.removed"} <= actions


def test_what_is_no_address_is_refused(tieline: Any) -> None:
    ended = tieline("members", "invite", "nobody", "--json")
    assert ended.code == 1
    assert ended.error["slug"] == "invalid"
