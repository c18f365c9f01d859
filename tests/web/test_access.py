"""Access: members, sessions and API keys, as people see and change them."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.members import make_member_link
from tieline.flows.parts import Parts
from tieline.flows.sign_in import sign_in_by_link

AGENT = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"


async def another(browser: Browser, parts: Parts, org_id: str) -> str:
    """The cookie of a second session of the browser's member."""
    made = await make_member_link(parts, org_id, browser.member_id or "")
    return (await sign_in_by_link(parts, made.link.token, user_agent=AGENT)).cookie


async def rows(browser: Browser, path: str) -> list[dict[str, str]]:
    answer = await browser.get(path, format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_one_signs_out_everywhere_else_and_stays_here(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser, other = await sign_in(scene.org_id, "auditor"), await sign_in(scene.org_id, "auditor")
    assert "Sign out everywhere else" not in (await browser.get("/access/sessions")).text
    cookies = [await another(browser, parts, scene.org_id) for _ in range(2)]
    page = await browser.get("/access/sessions")
    assert "Firefox on Linux" in page.text
    assert page.text.count("This one") == 1
    assert (await browser.post("/access/sessions/end-others")).status_code == 303
    assert "2 other sessions" in (await browser.get("/access/sessions")).text
    for cookie in cookies:
        browser_before = browser.client.cookies["tieline_session"]
        browser.client.cookies.set("tieline_session", cookie, domain="tieline.test")
        assert (await browser.get("/access")).status_code == 303
        browser.client.cookies.set("tieline_session", browser_before, domain="tieline.test")
    assert (await browser.get("/access")).status_code == 200
    assert (await other.get("/access")).status_code == 200, "others stay signed in"


async def test_a_member_sees_their_own_sessions_and_an_admin_everybodys(sign_in: Signs, scene: Scene) -> None:
    member, admin = await sign_in(scene.org_id, "member"), await sign_in(scene.org_id, "admin")
    assert {one["member"] for one in await rows(member, "/access/sessions")} == {member.member_id}
    assert {member.member_id, admin.member_id} <= {one["member"] for one in await rows(admin, "/access/sessions")}


async def test_lists_are_given_as_csv_without_anything_secret(sign_in: Signs, scene: Scene) -> None:
    admin = await sign_in(scene.org_id, "admin")
    made = await admin.post("/access/api-keys", name="=export", role="auditor")
    (key,) = re.findall(r"tl_[A-Za-z0-9]{12}_[A-Za-z0-9]{32}", made.text)
    for path in ("/access", "/access/sessions", "/access/passkeys", "/access/api-keys"):
        text = (await admin.get(path, format="csv")).text
        assert key not in text
        assert key[16:] not in text
    assert "'=export" in [one["name"] for one in await rows(admin, "/access/api-keys")]
    assert admin.member_id in [one["id"] for one in await rows(admin, "/access")]


async def test_a_key_ends_on_the_day_that_was_given(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    admin = await sign_in(scene.org_id, "admin")
    day = f"{parts.clock.now() + timedelta(days=30):%Y-%m-%d}"
    made = await admin.post("/access/api-keys", name="nightly export", role="auditor", ends=day)
    assert made.status_code == 200
    assert re.search(r"tl_[A-Za-z0-9]{12}_[A-Za-z0-9]{32}", made.text)
    (row,) = [one for one in await rows(admin, "/access/api-keys") if one["name"] == "nightly export"]
    assert row["ends"].startswith(day)
    page = (await admin.get("/access/api-keys")).text
    assert "nightly export" in page
    assert not re.search(r"tl_[A-Za-z0-9]{12}_[A-Za-z0-9]{32}", page), "it is shown once"


async def test_a_wrong_field_is_told_beside_it(sign_in: Signs, scene: Scene) -> None:
    admin = await sign_in(scene.org_id, "admin")
    for field, value, told in (
        ("ends", "2001-01-01", "is in the past"),
        ("ends", "soon", "Is not a day"),
        ("name", "x" * 201, "at most 200 characters"),
        ("role", "emperor", "Choose a role"),
    ):
        answer = await admin.post("/access/api-keys", **{"name": "kept as it was", "role": "auditor", field: value})
        assert answer.status_code == 422
        assert told in answer.text
        assert field == "name" or 'value="kept as it was"' in answer.text


async def test_a_removed_key_is_listed_after_those_that_work(sign_in: Signs, scene: Scene) -> None:
    admin = await sign_in(scene.org_id, "admin")
    for name in ("to be revoked", "to stay"):
        await admin.post("/access/api-keys", name=name, role="auditor")
    page = (await admin.get("/access/api-keys")).text
    key_id = re.search(r"to stay.*?to be revoked.*?/access/api-keys/(key_\w+)/revoke", page, re.DOTALL)
    assert key_id, "the newest comes first"
    assert (await admin.post(f"/access/api-keys/{key_id[1]}/revoke")).headers["location"] == "/access/api-keys"
    page = (await admin.get("/access/api-keys")).text
    assert page.index("to stay") < page.index("to be revoked", page.index('aria-labelledby="keys"'))
    assert f"{key_id[1]}/revoke" not in page
