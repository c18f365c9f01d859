"""Every page of the console, found by itself: its headers, who may see it, whose it is, and what hostile data does to it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from html.parser import HTMLParser
from typing import Any, cast
from uuid import uuid4

import httpx2
import pytest
from fastapi.routing import APIRoute
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.access.roles import ROLES
from tieline.flows.parts import Parts
from tieline.ids import new_id
from tieline.store.connections import update_connection
from tieline.store.passkeys import Passkey, add_passkey
from tieline.web.app import NOUNS
from tieline.web.route import POLICY, ConsoleRoute

OPEN = {
    "show_sign_in", "open_link", "use_link", "go_to_provider", "come_back", "begin_passkey", "use_passkey", "choose_theme", "serve_file", "switch_organization",
}  # fmt: skip
"""Routes for whoever comes."""
ROLE_OF = {
    "show_home": "auditor",
    "sign_out": "auditor",
    "show_search": "auditor",
    "show_access": "auditor",
    "show_sessions": "auditor",
    "end": "auditor",
    "end_others": "auditor",
    "show_passkeys": "auditor",
    "begin_adding_passkey": "auditor",
    "add_passkey": "auditor",
    "remove_passkey": "auditor",
    "show_api_keys": "admin",
    "show_oauth_apps": "admin",
    "show_oauth_app": "admin",
    "set_oauth_app": "admin",
    "remove_oauth_app": "admin",
    "invite": "admin",
    "make_link": "admin",
    "change_role": "admin",
    "remove": "admin",
    "create_key": "admin",
    "revoke_key": "admin",
    "show_controls": "auditor",
    "show_control": "auditor",
    "show_all_evidence": "auditor",
    "show_evidence": "auditor",
    "judge_anew": "admin",
    "export_pack": "auditor",
    "show_findings": "auditor",
    "show_finding": "auditor",
    "mute_finding": "member",
    "unmute_finding": "member",
    "assign_finding": "member",
    "mute_findings": "member",
    "unmute_findings": "member",
    "assign_findings": "member",
    "show_runs": "auditor",
    "show_run": "auditor",
    "follow_run": "auditor",
    "show_rejections": "auditor",
    "cancel_run": "member",
    "retry_run": "member",
    "release_run": "member",
    "show_entities": "auditor",
    "show_entity": "auditor",
    "show_operator": "operator",
    "rewrap_values": "operator",
    "show_audit": "auditor",
    "verify_audit": "auditor",
    "show_catalogue": "auditor",
    "show_provider": "auditor",
    "show_connect": "admin",
    "connect_account": "admin",
    "show_connections": "auditor",
    "show_connection": "auditor",
    "follow_connection": "auditor",
    "change_owner": "admin",
    "change_operation": "admin",
    "show_rotation": "admin",
    "rotate_credential": "admin",
    "try_credential": "admin",
    "pause_connection": "admin",
    "resume_connection": "admin",
    "sync_connection": "member",
    "roll_back_credential": "admin",
    "switch_connection": "admin",
    "change_connection": "admin",
    "disconnect_connection": "admin",
    "show_lab": "auditor",
    "try_in_lab": "admin",
    "save_from_lab": "admin",
    "undo_in_lab": "admin",
    "show_rejected_alike": "auditor",
}
"""The least role that each other route is for; a route without a row here fails the first test."""
FIELDS: dict[str, dict[str, str]] = {"change_role": {"role": "auditor"}}
"""What a form must hold so that it is refused for whose it is, and not for what it lacks."""
SHARED = {"slug", "check_id", "control_id", "framework", "operation"}
"""Path parameters that name what belongs to no organization."""
NOT_IN_SCENE = {"passkey_id": "pass_01k0c4m2w8eyv9x3f5t7h1n6qp", "session_id": "sess_01k0c4m2w8eyv9x3f5t7h1n6qp"}
NOW = datetime(2026, 11, 20, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{7*7}}&"


def all_routes() -> list[APIRoute]:
    found = [route for noun in NOUNS for route in noun.router.routes]
    assert all(isinstance(one, ConsoleRoute) for one in found)
    return cast("list[APIRoute]", found)


ROUTES = [one for one in all_routes() if one.name not in OPEN]


def method_of(route: APIRoute) -> str:
    (method,) = route.methods
    return method


def path_of(route: APIRoute, ids: dict[str, str]) -> str:
    return route.path.format(**(NOT_IN_SCENE | ids))


class Looks(HTMLParser):
    """What must not be in a page: script and style in place, handlers, addresses elsewhere; and what must be there once."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.forms: list[dict[str, str | None]] = []
        self.tokens = 0
        self.drawing = False

    def handle_endtag(self, tag: str) -> None:
        self.drawing = self.drawing and tag != "svg"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.drawing = tag == "svg" or self.drawing
        self.seen += [] if self.drawing and tag == "title" else [tag]  # of a part of a drawing, not of the page
        self.ids += [given["id"] or ""] if "id" in given else []
        self.wrong += [f"{tag} {name}" for name in given if name.startswith(("on", "style", "hx-on"))]
        self.wrong += (
            [tag] if tag in {"style", "iframe", "object", "base"} or (tag == "script" and "src" not in given) else []
        )
        for name in ("href", "src", "action"):
            if (given.get(name) or "").startswith(("http:", "//", "javascript:", "data:")):
                self.wrong.append(f"{tag} {name}={given[name]}")
        if tag == "form":
            self.forms.append(given)
        self.tokens += tag == "input" and given.get("name") == "csrf"


def look(text: str) -> Looks:
    parser = Looks()
    parser.feed(text)
    parser.close()
    return parser


def check_page(answer: httpx2.Response) -> Looks:
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    seen = look(answer.text)
    assert seen.wrong == []
    assert seen.seen.count("h1") == seen.seen.count("main") == seen.seen.count("title") == 1
    assert len(seen.ids) == len(set(seen.ids)), [one for one in seen.ids if seen.ids.count(one) > 1]
    needing = [
        one
        for one in seen.forms
        if one.get("method") == "post"
        and not str(one["action"]).endswith(("/theme", "/sign-in/link", "/sign-in/passkey"))
    ]
    assert seen.tokens >= len(needing)
    return seen


def test_every_route_has_a_row() -> None:
    assert sorted(ROLE_OF) == sorted(one.name for one in ROUTES)


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert POLICY.startswith("default-src 'none'")


async def test_every_page_is_strict_html_for_those_who_may_see_it(browsers: dict[str, Browser], scene: Scene) -> None:
    for route in ROUTES:
        if method_of(route) != "GET":
            continue
        for role, browser in browsers.items():
            answer = await browser.get(path_of(route, scene.ids))
            reaches = ROLES.index(role) >= ROLES.index(ROLE_OF[route.name])  # type: ignore[arg-type]
            assert answer.status_code == (200 if reaches else 403), (route.path, role)
            if answer.headers["content-type"].startswith("text/html"):
                check_page(answer)


async def test_pages_for_nobody_in_particular_are_strict_too(stranger: Browser) -> None:
    for path, status in (("/sign-in", 200), ("/nowhere", 404), ("/sign-in/link/x", 410), ("/sign-in/sso", 404)):
        answer = await stranger.get(path)
        assert answer.status_code == status
        check_page(answer)


async def test_no_page_shows_anything_to_who_is_not_signed_in(stranger: Browser, scene: Scene) -> None:
    for route in ROUTES:
        answer = await stranger.client.request(method_of(route), path_of(route, scene.ids), data={})
        assert (answer.status_code, answer.text) == (303, ""), route.path
        assert answer.headers["location"].startswith("/sign-in")


async def test_what_changes_something_is_refused_to_roles_that_do_not_reach(
    browsers: dict[str, Browser], scene: Scene
) -> None:
    for route in ROUTES:
        for role, browser in browsers.items():
            if method_of(route) == "POST" and ROLES.index(role) < ROLES.index(ROLE_OF[route.name]):  # type: ignore[arg-type]
                answer = await browser.post(path_of(route, scene.ids), name="x", role="auditor")
                assert answer.status_code == 403, (route.path, role)
                assert "Ask an owner or admin" in answer.text


async def test_what_belongs_to_another_organization_is_not_found(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    other = await sign_in(scene.other_org_id, "operator")
    own = await sign_in(scene.org_id, "admin")
    session = re.search(r"/access/sessions/(sess_\w+)/end", (await own.get("/access/sessions")).text)
    assert session
    passkey = Passkey(new_id("pass"), scene.org_id, own.member_id or "", "Phone", uuid4().bytes, b"", 0, [], False, NOW)
    async with parts.db.work(scene.org_id) as work:
        await add_passkey(work, passkey)
    ids = scene.ids | {"session_id": session[1], "passkey_id": passkey.id}

    def told(answer: Any, used: dict[str, str]) -> str:
        text = re.sub(r"[0-9a-f]{64}", "TOKEN", answer.text)
        for one in used.values():
            text = text.replace(one, "ID")
        return text

    for route in ROUTES:
        owned = set(re.findall(r"{(\w+)}", route.path)) - SHARED
        if not owned:
            continue
        fields = FIELDS.get(route.name, {})
        send = other.get if method_of(route) == "GET" else partial(other.post, **fields)
        absent = NOT_IN_SCENE | scene.ids | scene.absent
        foreign, unknown = await send(path_of(route, ids)), await send(path_of(route, absent))
        malformed = await send(path_of(route, ids | dict.fromkeys(owned, "..nonsense")))
        assert foreign.status_code == unknown.status_code == malformed.status_code == 404, route.path
        assert told(foreign, ids) == told(unknown, absent), route.path


async def test_another_organizations_pages_hold_nothing_of_this_one(sign_in: Signs, scene: Scene) -> None:
    other = await sign_in(scene.other_org_id, "operator")
    for route in ROUTES:
        if method_of(route) == "GET" and "{" not in route.path and ROLE_OF[route.name] != "operator":
            text = (await other.get(route.path)).text
            assert not [one for name, one in scene.ids.items() if name not in {*SHARED, "ticket"} and one in text], (
                route.path
            )


async def test_what_a_provider_sends_is_text_and_nothing_more(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "admin")
    async with parts.db.work(scene.org_id) as work:
        values = {"name": HOSTILE, "account_name": HOSTILE, "status": "error", "status_message": HOSTILE}
        await update_connection(work, scene.ids["connection_id"], now=parts.clock.now(), **values)
    try:
        shown = 0
        for route in ROUTES:
            if method_of(route) == "GET" and ROLE_OF[route.name] != "operator":
                answer = await browser.get(path_of(route, scene.ids))
                if answer.headers["content-type"].startswith("text/html"):
                    assert "<script>alert" not in answer.text
                    assert "<img src=x" not in answer.text
                    check_page(answer)
                    shown += "&lt;script&gt;alert(1)" in answer.text
        assert shown
    finally:
        async with parts.db.work(scene.org_id) as work:
            values = {"name": "Sandbox", "account_name": "Sandbox", "status": "active", "status_message": None}
            await update_connection(work, scene.ids["connection_id"], now=parts.clock.now(), **values)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_the_api_answers_problems_whoever_asks(stranger: Browser, accept: str) -> None:
    for path, status in (("/v1/nowhere", 404), ("/v1/runs", 401)):
        answer = await stranger.client.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (await stranger.client.delete("/v1/runs")).status_code == 405


async def test_files_are_kept_for_good_under_names_of_their_content(stranger: Browser) -> None:
    page = (await stranger.get("/sign-in")).text
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(files) == 4
    for file in files:
        answer = await stranger.client.get(file)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-encoding"] == "gzip"
    assert (await stranger.client.get("/static/console.css")).status_code == 404
    assert (await stranger.client.get("/static/..%2fapp.py")).status_code == 404


async def test_a_failure_on_our_side_is_a_page_with_the_requests_number(
    sign_in: Signs, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    monkeypatch.setattr("tieline.web.pages.home.look_over", None)
    answer = await browser.get("/")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "TypeError" not in answer.text
    check_page(answer)


async def test_the_theme_is_the_browsers_choice_and_needs_no_script(stranger: Browser) -> None:
    assert "data-theme" not in (await stranger.get("/sign-in")).text
    answer = await stranger.post("/theme", theme="dark", next="/sign-in")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert '<html lang="en" data-theme="dark">' in (await stranger.get("/sign-in")).text
    await stranger.post("/theme", theme='"><script>')
    assert "data-theme" not in (await stranger.get("/sign-in")).text
