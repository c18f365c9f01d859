"""`tieline connect-sessions`: a link is made and shown once, looked at, and cancelled."""

from __future__ import annotations

import re
from typing import Any

LINK = re.compile(r"http://127\.0\.0\.1:\d+/connect-session/([\w-]{86})")


def test_a_session_is_made_shown_and_cancelled(tieline: Any) -> None:
    made = tieline(
        "connect-sessions", "create", "--provider", "sandbox", "--origin", "https://app.example", "--locale", "de"
    )
    assert made.code == 0, made.err
    link = LINK.fullmatch(made.out.strip())
    assert link
    (session_id,) = re.findall(r"cs_\w{26}", made.err)
    shown = tieline("connect-sessions", "show", session_id, "--json")
    assert (shown.json["status"], shown.json["providers"], shown.json["locale"]) == ("open", ["sandbox"], "de")
    assert link[1] not in shown.out + shown.err + made.err
    assert tieline("connect-sessions", "cancel", session_id, "--json").json["status"] == "cancelled"
    assert tieline("connect-sessions", "create", "--origin", "https://*.example").code == 1
