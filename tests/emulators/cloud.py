"""Two clouds' side of keyless access, on the loopback; ours, since no emulator verifies what it is shown.

A token is taken for what its issuer says of itself: the metadata and the keys are fetched over HTTP from the issuer that a pool or a role
trusts, and signature, issuer, audience, subject and times are verified. What is shown instead of a secret is exchanged by the rules
of RFC 8693 for Google Cloud, and at AWS (`AssumeRoleWithWebIdentity`) for a session of the role in moto, which the holder then uses there.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import urlopen

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

Reply = tuple[int, Any]
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"
ACCOUNT = "tieline@acme-project.iam.gserviceaccount.com"
PROJECT = "acme-project"
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


class DistrustError(Exception):
    """A token is not what it should be; the message says why."""


@dataclass(frozen=True)
class Trust:
    """Whom a pool or a role trusts."""

    issuer: str
    subject: str
    audience: str

    def verify(self, token: str) -> None:
        """Raise `DistrustError` unless the token is the subject's, for this audience, by this issuer and of this hour."""
        told = _fetch(f"{self.issuer}/.well-known/openid-configuration")
        if told["issuer"] != self.issuer:
            raise DistrustError("the metadata is another issuer's")
        keys = KeySet.import_key_set(_fetch(told["jwks_uri"]))
        wanted = jwt.JWTClaimsRegistry(
            now=int(time.time()),
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            sub={"essential": True, "value": self.subject},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            if "kid" not in jws.extract_compact(token.encode()).headers():
                raise DistrustError("the token does not name its key")
            wanted.validate(jwt.decode(token, keys, algorithms=["RS256"]).claims)
        except (JoseError, ValueError) as error:
            raise DistrustError(type(error).__name__) from None


@dataclass
class Cloud:
    """The running endpoints: whom they trust, what they refused, and which tokens they gave."""

    url: str
    pools: dict[str, Trust] = field(default_factory=dict)
    roles: dict[str, Trust] = field(default_factory=dict)
    assume: Callable[[str], Mapping[str, Any]] | None = None
    refused: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    federated: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)

    def answer(self, method: str, target: str, bearer: str, body: bytes) -> Reply:
        """Answer one request."""
        path = unquote(urlsplit(target).path)
        self.asked.append(f"{method} {path}")
        if path == "/v1/token":
            return self._exchange(dict(parse_qsl(body.decode())))
        if path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken":
            return self._impersonate(bearer)
        if path == "/" and method == "POST":
            return self._assume(dict(parse_qsl(body.decode())))
        if bearer not in self.tokens:
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}
        found = _GOOGLE.get(path)
        return (404, {"error": {"code": 404}}) if found is None else (200, found)

    def _exchange(self, form: dict[str, str]) -> Reply:
        trust = self.pools.get(form.get("audience", ""))
        asked = (form.get("grant_type"), form.get("subject_token_type"), form.get("requested_token_type"))
        if trust is None or asked != (EXCHANGE, f"{TYPE}jwt", f"{TYPE}access_token"):
            return 400, {"error": "invalid_request"}
        try:
            trust.verify(form.get("subject_token", ""))
        except DistrustError as error:
            self.refused.append(str(error))
            return 400, {"error": "invalid_grant", "error_description": "The subject token is not accepted."}
        given = secrets.token_urlsafe(24)
        self.federated.add(given)
        told = {"access_token": given, "token_type": "Bearer", "expires_in": 3600}
        return 200, told | {"issued_token_type": f"{TYPE}access_token"}

    def _impersonate(self, bearer: str) -> Reply:
        if bearer not in self.federated:
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}
        given = secrets.token_urlsafe(24)
        self.tokens.add(given)
        ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        return 200, {"accessToken": given, "expireTime": ends}

    def _assume(self, form: dict[str, str]) -> Reply:
        action, trust = form.get("Action", ""), self.roles.get(form.get("RoleArn", ""))
        if action != "AssumeRoleWithWebIdentity" or trust is None or self.assume is None:
            return 403, _error("AccessDenied")
        try:
            trust.verify(form.get("WebIdentityToken", ""))
        except DistrustError as error:
            self.refused.append(str(error))
            return 400, _error("InvalidIdentityToken")
        session = self.assume(form["RoleArn"])
        keys = "".join(
            f"<{name}>{session[name]}</{name}>" for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
        )
        ends = f"<Expiration>{session['Expiration'].isoformat().replace('+00:00', 'Z')}</Expiration>"
        result = f"<{action}Result><Credentials>{keys}{ends}</Credentials></{action}Result>"
        return 200, f'<{action}Response xmlns="{_NAMESPACE}">{result}</{action}Response>'


@contextmanager
def running_cloud() -> Iterator[Cloud]:
    """Serve it on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            bearer = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            status, told = cloud.answer(self.command, self.path, bearer, self.rfile.read(length))
            text = (told if isinstance(told, str) else json.dumps(told)).encode()
            self.send_response(status)
            self.send_header("content-type", "text/xml" if isinstance(told, str) else "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815  the name is the library's

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud = Cloud(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _fetch(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def _error(code: str) -> str:
    return (
        f"<ErrorResponse xmlns='{_NAMESPACE}'><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    )


_DATASET = {
    "kind": "bigquery#dataset", "id": f"{PROJECT}:sales", "location": "EU", "creationTime": "1735689600000", "access": [],
    "datasetReference": {"projectId": PROJECT, "datasetId": "sales"},
}  # fmt: skip
_SERVICE_ACCOUNT = {
    "name": f"projects/{PROJECT}/serviceAccounts/{ACCOUNT}", "uniqueId": "1001", "email": ACCOUNT, "displayName": "Tieline",
}  # fmt: skip
_ASKED = [
    "resourcemanager.projects.get", "iam.serviceAccounts.list", "iam.serviceAccountKeys.list", "bigquery.datasets.get",
    "bigquery.tables.list",
]  # fmt: skip
_OWN_PROJECT = {
    "name": "projects/42", "projectId": PROJECT, "displayName": "Acme", "state": "ACTIVE", "createTime": "2025-01-02T03:04:05Z",
}  # fmt: skip
_GOOGLE: dict[str, Any] = {
    f"/bigquery/v2/projects/{PROJECT}/datasets": {"datasets": [_DATASET]},
    f"/bigquery/v2/projects/{PROJECT}/datasets/sales": _DATASET,
    f"/bigquery/v2/projects/{PROJECT}/datasets/sales/tables": {"tables": []},
    f"/v3/projects/{PROJECT}:testIamPermissions": {"permissions": _ASKED},
    f"/v3/projects/{PROJECT}": _OWN_PROJECT,
    "/v3/projects:search": {"projects": [_OWN_PROJECT]},
    f"/v1/projects/{PROJECT}/serviceAccounts": {"accounts": [_SERVICE_ACCOUNT]},
    f"/v1/projects/{PROJECT}/serviceAccounts/{ACCOUNT}/keys": {"keys": []},
}
