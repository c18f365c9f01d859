"""The other side of every connection, as careless as can be.

It gives back each request that it gets, headers and all, as it came, decoded and escaped, in its own headers and in HTML, JSON and XML
bodies, with every status; and it loses what it was about to give in answers that nobody can read. It plays an API, a token endpoint,
GitHub's for apps and AWS's token service, or stands before a real OpenID server.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import httpx2
from tests.canaries import hatch
from tests.leaks.watching import Watch
from tests.sdk.conftest import raw

AWS = {
    "Action=GetCallerIdentity": "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/t</Arn>"
    "<UserId>AIDA</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
    "Action=ListAccountAliases": "<ListAccountAliasesResponse><ListAccountAliasesResult><IsTruncated>false</IsTruncated>"
    "<AccountAliases/></ListAccountAliasesResult></ListAccountAliasesResponse>",
}  # fmt: skip
STATUSES = {"401": 401, "403": 403, "404": 404, "418": 418, "429": 429, "500": 500}
MODES = ("good", *STATUSES, "html", "shape", "truncated", "redirect", "hang up")
TOKEN_MODES = ("quoted", "as a code", "with a 200", "half", "bound", "carried off", *MODES[1:-1])
"""How a token endpoint may fail besides: it quotes what it was sent, or spoils what it gives."""

HEARD = {
    "client_assertion": "client assertion", "assertion": "service account assertion", "subject_token": "identity token",
    "WebIdentityToken": "identity token", "code_verifier": "PKCE verifier", "code": "authorization code",
    "refresh_token": "refresh token", "client_secret": "client secret",
}  # fmt: skip
"""Fields of forms that are secrets, as which kind."""

FORWARDED = {"me": "/me", "token": "/token", "revoke": "/token/revocation", "jwks": "/jwks"}
"""Where what is asked of us is found at the real server."""


@dataclass
class Careless:
    """Answers by the first part of the path, which names the account; `modes` says how, for an account or a part of it (`acme/token`).

    Accounts that begin with `oidc` are those of the OpenID server `behind`.
    """

    watch: Watch = field(repr=False)
    url: str = ""
    behind: str = ""
    modes: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    _client: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(trust_env=False), repr=False)

    async def close(self) -> None:
        """Ask the real server no more."""
        await self._client.aclose()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the connection ends."""
        self.tasks.append(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0
                )
                body = (await reader.readexactly(length)).decode("latin-1")
                self._listen(head, body)
                answer = await self.answer(head, body)
                if answer is None:
                    break
                if answer == b"":
                    await asyncio.sleep(60)
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def answer(self, head: str, body: str) -> bytes | None:
        """An answer; `None` hangs up, nothing is silence."""
        target = head.split(" ")[1]
        account, _, what = urlsplit(target).path[1:].partition("/")
        mode = self.modes.get(f"{account}/{what}") or self.modes.get(account, "good")
        if mode == "good":
            return await self._good(account, what, head, body)
        if mode in {"hang up", "silence"}:
            return None if mode == "hang up" else b""
        return self._spoilt(mode, account, head, body) or self._repeated(mode, account, head, body)

    def _repeated(self, mode: str, account: str, head: str, body: str) -> bytes:
        """The request, given back."""
        echo = _echo(head, body)
        told = {"x_echo": echo, "retry_after": "60", "x_request_id": echo[-60:]}
        if mode in STATUSES:
            told["www_authenticate"] = f'Bearer realm="{echo[:300]}"'
            return raw(f"<html><b>{escape(echo)}</b><i>{echo}</i>".encode(), STATUSES[mode], "text/html", **told)
        if mode == "html":
            return raw(f"<html>{echo}".encode(), 200, "text/html", **told)
        if mode == "redirect":
            on = f"{self.url}/{account}/elsewhere?{echo.replace(' ', '+')[:900]}"
            return raw(b"", 302, "text/html", location=on, **told)
        whole = json.dumps({"error": echo, "headers": [echo], "token": echo}).encode()
        return raw(whole if mode == "shape" else whole[:-9], 200, **told)

    def _spoilt(self, mode: str, account: str, head: str, body: str) -> bytes | None:
        """What only token endpoints do."""
        echo = _echo(head, body)
        fresh = {one: self.hatch(one.replace("_", " ")) for one in ("access_token", "refresh_token", "id_token")}
        secret = next((value for name, value in parse_qsl(body) if name in HEARD), "nothing_was_sent")
        told = {
            "quoted": (400, {"error": "invalid_grant", "error_description": f'"{secret}" is unknown. {echo}', **fresh}),
            "as a code": (400, {"error": secret, "error_description": f"<b>{escape(secret)}</b>"}),
            "with a 200": (200, {"ok": False, "error": "invalid_client", "errorSummary": secret, **fresh}),
            "half": (200, {**fresh, "access_token": [fresh["access_token"]], "token": 5, "expires_at": 5}),
            "bound": (200, {**fresh, "token_type": "DPoP", "token": fresh["access_token"] + "\n"}),
        }
        if mode == "carried off":
            on = f"{self.url}/{account}/elsewhere#access_token={fresh['access_token']}&code={secret}"
            return raw(json.dumps(fresh).encode(), 302, location=on, link=f'<{on}>; rel="next"')
        return raw(json.dumps(told[mode][1]).encode(), told[mode][0]) if mode in told else None

    async def _good(self, account: str, what: str, head: str, body: str) -> bytes:
        if account.startswith("oidc") and what in FORWARDED:
            return await self._forward(FORWARDED[what], head, body)
        for action, xml in AWS.items():
            if action in body:
                return raw(xml.encode(), 200, "text/xml")
        if "Action=AssumeRole" in body:
            return raw(self._session().encode(), 200, "text/xml")
        return raw(json.dumps(self._played(account, what)).encode())

    def _played(self, account: str, what: str) -> Any:
        soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        if what in {"me", "who"}:
            return {"id": account, "name": f"Account {account}"}
        if what == "token":
            return {"access_token": self.hatch("minted token"), "token_type": "Bearer", "expires_in": 3600}
        if what == "impersonate":
            return {"accessToken": self.hatch("minted token"), "expireTime": soon}
        if what.endswith("access_tokens"):
            return {"token": self.hatch("installation token"), "expires_at": soon, "permissions": {"members": "read"}}
        if what == "user/installations":
            return {"installations": [{"id": 123, "account": {"login": account, "id": 7, "type": "Organization"}}]}
        if what.startswith("user/memberships"):
            return {"state": "active", "role": "admin"}
        return [{"id": "1", "email": "a@b.example", "mfa": False}, {"id": "5", "email": 5}]

    def _session(self) -> str:
        """A session of a role."""
        secret, token = self.hatch("AWS secret key", length=28), self.hatch("AWS session token")
        return (
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>"
            f"<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>"
            f"<Expiration>{(datetime.now(UTC) + timedelta(hours=1)).isoformat()}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )

    async def _forward(self, path: str, head: str, body: str) -> bytes:
        """What the real server says; the tokens that it gives are secrets from now on."""
        kept = {
            name: value for name, value in _headers(head).items() if name in {"authorization", "content-type", "accept"}
        }
        method = head.split(" ", maxsplit=1)[0]
        answer = await self._client.request(method, self.behind + path, headers=kept, content=body.encode("latin-1"))
        with suppress(ValueError, AttributeError):
            told: Mapping[str, Any] = answer.json()
            refreshed = "grant_type=refresh_token" in body
            for name in ("access_token", "refresh_token", "id_token"):
                if isinstance(told.get(name), str):
                    kind = name.replace("_", " ")
                    self.watch.add(f"rotated {kind}" if refreshed and kind == "refresh token" else kind, told[name])
        return raw(answer.content, answer.status_code, answer.headers.get("content-type", "application/json"))

    def hatch(self, kind: str, **form: Any) -> str:
        """A new secret of ours."""
        made = hatch(kind, **form)
        self.watch.canaries.append(made)
        return made.text

    def _listen(self, head: str, body: str) -> None:
        """Remember what was sent: of others' secrets we learn here."""
        self.heard.append(head + body + _decoded(head))
        form = dict(parse_qsl(body)) if "urlencoded" in head else {}
        for name in HEARD.keys() & form.keys():
            self.watch.add(HEARD[name], form[name])
        scheme, _, value = _headers(head).get("authorization", "").partition(" ")
        if scheme == "Bearer" and value.count(".") == 2:
            self.watch.add("JWT that signs", value)


def _headers(head: str) -> dict[str, str]:
    lines = (line.partition(":") for line in head.split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in lines}


def _decoded(head: str) -> str:
    """What a server logs that looks into basic authentication."""
    scheme, _, value = _headers(head).get("authorization", "").partition(" ")
    return base64.b64decode(value).decode("latin-1") if scheme == "Basic" else ""


def _echo(head: str, body: str) -> str:
    """The request in one line: as it came, and decoded."""
    sent = head + body
    return " ".join(f"{sent} {unquote_plus(sent)} {unquote_plus(_decoded(head))}".split())
