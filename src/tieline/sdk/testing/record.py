"""Recording: run a provider against its real vendor once, and write what was asked and answered as fixtures, scrubbed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httpx2
from pydantic import SecretStr

from tieline.clock import SystemClock
from tieline.errors import Invalid, NotOffered
from tieline.sdk.addresses import AddressPolicy, GuardedTransport
from tieline.sdk.answers import read_body
from tieline.sdk.provider import Operation
from tieline.sdk.testing.fixtures import Case, Recorded, Told, write_json
from tieline.sdk.testing.opening import ContextMaker, Way
from tieline.sdk.testing.reading import Connected
from tieline.sdk.testing.scrub import Scrubber, normal_words, vocabulary_of
from tieline.sdk.testing.subject import Subject

MOST_REQUESTS = 300
_OF_TRANSFER = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_MOST_BYTES = 4 * 1024 * 1024
_TOLD_HEADERS = re.compile(r"link|x-(?:next-|prev-)?page|x-total(?:-pages)?|x-per-page|x-oauth-scopes", re.IGNORECASE)


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, as they were."""

    method: str
    url: str
    sent: bytes = field(repr=False)
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass
class Recorder(httpx2.AsyncBaseTransport):
    """Asks the vendor and keeps every exchange, each once."""

    transport: httpx2.AsyncBaseTransport
    exchanges: dict[tuple[str, str, bytes], Exchange] = field(default_factory=dict, repr=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on; raises `Invalid` when the account turns out too large for fixtures."""
        if len(self.exchanges) >= MOST_REQUESTS:
            raise Invalid(
                f"More than {MOST_REQUESTS} requests were made: this account is too large to record",
                advice="Record from a test account with a few of each thing.",
            )
        sent = await request.aread()
        response = await self.transport.handle_async_request(request)
        body = await read_body(response, most=_MOST_BYTES)
        await response.aclose()
        key = (request.method, str(request.url), sent)
        self.exchanges[key] = Exchange(*key, response.status_code, dict(response.headers.items()), body)
        headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _OF_TRANSFER]
        return httpx2.Response(response.status_code, headers=headers, stream=httpx2.ByteStream(body))

    async def aclose(self) -> None:
        """Close its connections."""
        await self.transport.aclose()


@dataclass(frozen=True)
class Made:
    """What a recording wrote, and what its author must look at."""

    files: list[Path]
    answers: int
    entities: dict[str, int]
    faults: list[str]


async def record(
    subject: Subject, *, slot: str | None, options: dict[str, Any], credential: Any, policy: AddressPolicy
) -> Made:
    """Read the account once and write the fixtures; raises `Invalid` or the vendor's `ProviderError`.

    The written answers are then read by the provider, so that whatever scrubbing broke is told.
    """
    provider = subject.provider
    parsed = provider.options.model_validate(options)
    way = Way(provider, slot, parsed, credential, None, _Patient(), policy)
    recorder = Recorder(GuardedTransport(policy))
    signer = await way.mint(recorder)
    async with way.open(signer, recorder) as context:
        await provider.identity(context(None, None))
        if not recorder.exchanges:
            raise Invalid(
                f"{provider.name} speaks by its vendor's SDK, which cannot be recorded",
                advice='Write the answers by hand, with "replay": "server" in case.json.',
            )
        for operation in provider.operations:
            await _read(operation, context)
    case, scrubber = _scrubbed_case(subject, way, signer, slot, options)
    base_url = way.tools(None).url(provider.base_url)
    answers = [_written(one, base_url, scrubber, recorder) for one in recorder.exchanges.values()]
    return await _write(subject, case, answers)


async def _read(operation: Operation, context: ContextMaker) -> None:
    reading = cast("Any", operation.read(context(None, None)))
    try:
        async with aclosing(reading):
            async for _ in reading:
                pass
    except NotOffered:
        return


def _scrubbed_case(
    subject: Subject, way: Way, signer: Any, slot: str | None, options: dict[str, Any]
) -> tuple[Case, Scrubber]:
    given = {name: getattr(way.credential, name) for name in type(way.credential).model_fields}
    plain = [*way.credential.secrets(), *signer.secrets()]
    secret = {value: f"made-up-secret-{number:04}" for number, value in enumerate(dict.fromkeys(plain)) if value}
    named = [subject.provider.base_url, *subject.provider.hosts.values(), *subject.provider.origins]
    hosts = {urlsplit(one).netloc for one in named if "{" not in urlsplit(one).netloc}
    words = vocabulary_of(subject.folder) | normal_words() | {subject.provider.slug, subject.provider.name}
    scrubber = Scrubber(words, secret=secret, hosts=hosts)
    made = {
        name: secret[value.get_secret_value()]
        if isinstance(value, SecretStr)
        else scrubber.json(_plain(value), name=name)
        for name, value in given.items()
        if value is not None
    }
    case = Case(
        slot=slot,
        options=scrubber.json(options),
        credential=made,
        account=Told(id="?", name="?"),
        now=way.clock.now().replace(microsecond=0),
    )
    return case, scrubber


def _written(one: Exchange, base_url: str, scrubber: Scrubber, recorder: Recorder) -> dict[str, Any]:
    """An exchange as it stands in `answers.json`; what was sent is written where the address alone does not tell it apart."""
    url = scrubber.url(one.url)
    base = scrubber.url(base_url).rstrip("/")
    ask = url.removeprefix(base) if url.startswith((base + "/", base + "?")) else url
    row: dict[str, Any] = {"ask": f"{one.method} {ask}", "status": one.status}
    told = {name.lower(): scrubber.text(value) for name, value in one.headers.items() if _TOLD_HEADERS.fullmatch(name)}
    if told:
        row["headers"] = told
    try:
        row["body"] = scrubber.json(json.loads(one.body)) if one.body.strip() else None
    except ValueError:
        row["text"] = scrubber.text(one.body.decode("utf-8", "replace"))
        row.setdefault("headers", {})["content-type"] = one.headers.get("content-type", "text/plain")
    alike = [key for key in recorder.exchanges if key[:2] == (one.method, one.url)]
    if len(alike) > 1:
        row["send"] = scrubber.json(_sent(one.sent))
    return row


async def _write(subject: Subject, case: Case, answers: list[dict[str, Any]]) -> Made:
    folder = subject.folder / "fixtures"
    connected = Connected.of(subject.provider, case, [Recorded.model_validate(one) for one in answers])
    faults, found = [], {}
    identity = await connected.identify()
    if identity.identified is None:
        faults.append(f"identity: {(identity.unforeseen or [str(identity.error)])[0]}")
    else:
        told = {"id": identity.identified.id, "name": identity.identified.name}
        case = case.model_copy(update={"account": Told(**told)})
    for operation in subject.provider.operations:
        reading = await connected.read(operation)
        found[operation.id] = reading.rows
        if isinstance(reading.error, NotOffered):
            case = case.model_copy(update={"errors": case.errors | {operation.id: "NotOffered"}})
        elif reading.error or reading.unforeseen:
            faults.append(f"{operation.id}: {(reading.unforeseen or [str(reading.error)])[0]}")
        faults += [f"{operation.id}: a record is rejected: {one}" for _, one in reading.rejected[:1]]
    files = {
        "case.json": case.model_dump(mode="json", exclude_defaults=True),
        "answers.json": answers,
        "entities.json": found,
    }
    for name, content in files.items():
        write_json(folder / name, content)
    return Made(
        [folder / name for name in files], len(answers), {name: len(rows) for name, rows in found.items()}, faults
    )


def _sent(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError:
        return dict(parse_qsl(body.decode("utf-8", "replace")))


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else list(value) if isinstance(value, tuple) else value


class _Patient(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
