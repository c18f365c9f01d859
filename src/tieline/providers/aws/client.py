"""AWS by its own SDK: botocore (the core of boto3) in threads, cut off from everything that surrounds this process.

botocore by itself looks for credentials, endpoints, regions, proxies and profiles in the environment, in `~/.aws` and at the
metadata service of the machine. Here it is handed the connection's credential and nothing else: a customer's connection must
never read the operator's account. It is imported when it is first used, so that loading the provider stays fast.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tieline.sdk import (
    Context,
    Forbidden,
    NotOffered,
    ProviderError,
    RateLimited,
    Unauthorised,
    Unavailable,
    Unexpected,
)

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.client import BaseClient
    from botocore.config import Config
    from botocore.exceptions import ClientError
    from botocore.loaders import Loader
    from botocore.session import Session

Fetch = Callable[[Any], Awaitable[tuple[list[Any], Any]]]
"""Reads the page at a cursor: its items, and the cursor of the next."""

_DEAD = frozenset({
    "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException", "ExpiredToken", "ExpiredTokenException",
    "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure", "InvalidToken",
})  # fmt: skip
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_NOT_OFFERED = frozenset({"SubscriptionRequiredException", "OptInRequired"})
_BUSY = re.compile(r"Throttl|TooManyRequests|RequestLimitExceeded|RequestThrottled|LimitExceededException")
_GONE = "NoSuchEntity"
_RAISE: Any = object()
_PAUSE = timedelta(minutes=1)  # AWS names no time; botocore has by then tried three times


class AwsClient:
    """AWS as one reading sees it; its clients live as long as it does."""

    def __init__(self, ctx: Context[Any]) -> None:
        self._ctx = ctx
        self._region: str = ctx.options.region
        self._endpoint: str | None = ctx.options.endpoint_url
        if self._endpoint:
            ctx.check_address(self._endpoint)
        self._clients: dict[str, BaseClient] = {}
        self._session: Any = None
        self._key_id = ""
        self._making = Lock()

    async def one(
        self, action: str, part: str, params: Mapping[str, Any] | None = None, *, missing: Any = _RAISE
    ) -> Any:
        """A part of what an action answers; `action` is written as in an IAM policy (`iam:GetUser`).

        `missing` is returned instead of raising when what is asked for is not there (NoSuchEntity).
        """
        try:
            return _part(await self._ask(action, params or {}), part, action)
        except _Gone:
            if missing is _RAISE:
                raise
            return missing

    def pages(self, action: str, items: str, *, by: str = "Marker", params: Mapping[str, Any] | None = None) -> Fetch:
        """What `Context.each` needs to read a paged list: `by` names the token in question and answer alike."""

        async def fetch(cursor: Any) -> tuple[list[Any], Any]:
            answer = await self._ask(action, {**(params or {}), by: cursor})
            following = answer.get(by) or None
            if following is not None and following == cursor:
                raise Unexpected(f"AWS repeated its page token for {action}")
            return _part(answer, items, action), following

        return fetch

    async def whole(self, action: str, items: str, params: Mapping[str, Any]) -> list[Any]:
        """A whole list that belongs to one thing; empty if that thing is gone since it was listed itself."""
        fetch, cursor = self.pages(action, items, params=params), None
        found: list[Any] = []
        try:
            while True:
                page, cursor = await fetch(cursor)
                found += page
                if cursor is None:
                    return found
        except _Gone:
            return []

    def client(self, service: str, keys: Any) -> BaseClient:
        """A service's client that signs with these keys, made when first asked for; blocks. Clients are thread-safe."""
        with self._making:
            if keys.access_key_id != self._key_id:  # a role's keys live for an hour, and the next have another id
                self._clients, self._session, self._key_id = {}, _session(keys), keys.access_key_id
            if service not in self._clients:
                self._clients[service] = self._make(self._session, service)
            return self._clients[service]

    async def _ask(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in params.items() if value is not None}
        return await self._ctx.thread(self._call, await self._ctx.fresh(), action, given)

    def _call(self, keys: Any, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        service, _, operation = action.partition(":")
        try:
            answer = getattr(self.client(service, keys), xform_name(operation))(**params)
        except ClientError as error:
            raise _refusal(error, action, now=self._ctx.now) from None  # its own text may quote what was signed
        except (BotoCoreError, ResponseParserError, KeyError) as error:  # KeyError: how its parser meets another's XML
            raise _trouble(error, action) from None
        return {name: _plain(value) for name, value in answer.items() if name != "ResponseMetadata"}

    def _make(self, session: Session, service: str) -> BaseClient:
        client = session.create_client(
            service,
            endpoint_url=self._endpoint,
            verify=os.environ.get("SSL_CERT_FILE") or True,  # as for every other provider
            config=_config(self._region),
        )
        if self._endpoint:
            client.meta.events.register("before-send", self._judge_addresses)
        return client

    def _judge_addresses(self, request: AWSPreparedRequest, **_about: Any) -> None:
        """Refuse a request to a named endpoint whose name now leads to an address that the operator does not allow."""
        url = urlsplit(request.url)
        try:
            found = socket.getaddrinfo(url.hostname, url.port or url.scheme, type=socket.SOCK_STREAM)
        except OSError:
            return  # botocore will fail in the same way, and say so
        for *_, place in found:
            address, port = str(place[0]), int(place[1])
            host = f"[{address}]" if ":" in address else address
            self._ctx.check_address(f"{url.scheme}://{host}:{port}")


class _Gone(Unexpected):
    """What was asked for is not there."""


@dataclass(frozen=True)
class _Only:
    """Stands where botocore keeps its chain of places to look for credentials: it has these alone."""

    credentials: Any = field(repr=False)

    def load_credentials(self) -> Any:
        """What botocore asks the chain."""
        return self.credentials


def _session(keys: Any) -> Session:
    """A session with these keys, its every setting botocore's default: nothing is read from the environment or from files."""
    from botocore.credentials import Credentials
    from botocore.session import Session

    # botocore logs signed headers and freshly issued keys at DEBUG, whoever set up the logging of this process.
    talkative = logging.getLogger("botocore")
    talkative.setLevel(max(logging.WARNING, talkative.level))
    settings = {name: (None, None, default, as_) for name, (_, _, default, as_) in Session.SESSION_VARIABLES.items()}
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    session = Session(session_vars=settings | files)
    session.register_component("data_loader", _descriptions())
    token = keys.session_token.get_secret_value() if keys.session_token else None
    signing = Credentials(keys.access_key_id, keys.secret_access_key.get_secret_value(), token)
    session.register_component("credential_provider", _Only(signing))
    return session


@cache
def _descriptions() -> Loader:
    """AWS's descriptions of its services, those that come with botocore alone; kept, because parsing IAM's takes a while."""
    from botocore.loaders import Loader

    return Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)


def _config(region: str) -> Config:
    from botocore.config import Config

    return Config(
        region_name=region,
        connect_timeout=10,
        read_timeout=60,
        retries={"total_max_attempts": 3, "mode": "standard"},
        proxies={},  # an empty mapping, unlike None, keeps botocore from asking the environment
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # the stubs lag behind
        user_agent="Tieline",
    )


def _refusal(error: ClientError, action: str, *, now: datetime) -> ProviderError:
    """Our error for AWS's answer; it names AWS's error code and the action, never AWS's text."""
    code, text = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    told = f"{action} ({code})"
    if code == "RequestTimeTooSkewed" or (code in _DEAD and re.search(r"Signature (expired|not yet current)", text)):
        return Unexpected(f"AWS says that the clock of this machine is wrong: {told}")
    if code == _GONE:
        return _Gone(f"AWS has not what was asked for: {told}")
    if code in _DEAD:
        return Unauthorised(f"AWS refused the credential: {told}")
    if code in _NOT_OFFERED or (code == "InvalidAccessException" and "not subscribed" in text):
        return NotOffered(f"AWS does not offer this to the account: {told}")
    if code in _DENIED or code == "InvalidAccessException":
        return Forbidden(f"AWS does not allow {told}", scope=action)
    if _BUSY.search(code):
        return RateLimited(f"AWS asks to slow down: {told}", until=now + _PAUSE)
    if status >= 500:
        return Unavailable(f"AWS failed: {told}")
    return Unexpected(f"AWS refused {told}")


def _trouble(error: Exception, action: str) -> ProviderError:
    """Our error for what went wrong on this side of the answer; botocore's text holds URLs, so only its name is told."""
    from botocore.exceptions import ConnectionError as NotConnected
    from botocore.exceptions import HTTPClientError

    told = f"{action} ({type(error).__name__})"
    if isinstance(error, (NotConnected, HTTPClientError)):
        return Unavailable(f"AWS could not be reached for {told}")
    return Unexpected(f"AWS could not be asked for {told}")


def _part(answer: Mapping[str, Any], part: str, action: str) -> Any:
    """What must be in an answer: an absent list would otherwise read as an empty one."""
    if part not in answer:
        raise Unexpected(f"AWS answered {action} without {part}")
    return answer[part]


def _plain(value: Any) -> Any:
    """The same as JSON: botocore gives times as `datetime`."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
