"""Reading: run a provider's test call and operations on recorded answers, with all around it that the platform would give it."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2

from tieline.clock import SetClock
from tieline.errors import ProviderError
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import AuthContext, Grant, Mints, OAuthApp, make_send
from tieline.sdk.context import Checkpoint, Context, Record
from tieline.sdk.entities import Entity
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget
from tieline.sdk.mapping import CompiledMapping, Rejected
from tieline.sdk.provider import Identified, Operation, Provider
from tieline.sdk.testing.canaries import hatch, plain_secrets, secrets_in, swap
from tieline.sdk.testing.fixtures import Case, NotConforming, Recorded
from tieline.sdk.testing.replay import Replay, Reply
from tieline.sdk.testing.server import serving

Spoil = Callable[[str, httpx2.Request], Reply | None]
_EXTERNAL_ID = "tieline-example"


@dataclass
class Reading:
    """What one operation gave: records, entities, rejections and checkpoints in order, and the error that ended it."""

    records: list[Any] = field(default_factory=list)
    entities: list[Entity] = field(default_factory=list)
    rejected: list[tuple[str | None, Rejected]] = field(default_factory=list)
    variants: set[str | None] = field(default_factory=set)
    checkpoints: list[tuple[Checkpoint, int]] = field(default_factory=list)
    """Each with the number of entities that had been read by then."""
    error: BaseException | None = None
    identified: Identified | None = None
    asked: list[str] = field(default_factory=list)
    unforeseen: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list, repr=False)
    lookout: list[str] = field(default_factory=list, repr=False)
    """The secrets that must be nowhere in it."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The entities as JSON, sorted, each once: of one that came twice the later counts, as in a run."""
        latest = {(one.kind, one.external_id): one for one in self.entities}
        return [row_of(latest[key]) for key in sorted(latest)]

    def told(self) -> str:
        """All that a reading gives off, as one text: what is stored, what is logged, and what an error says."""
        parts = [*self.log, repr(self.records), repr(self.entities), repr(self.rejected), repr(self.identified)]
        parts += [json.dumps(record, default=repr) for record in self.records]
        parts += [json.dumps(self.rows, default=repr), repr(self.checkpoints)]
        if self.error is not None:
            parts += ["".join(traceback.format_exception(self.error)), repr(self.error)]
            parts += [repr(getattr(self.error, "details", "")), str(getattr(self.error, "what_to_do", ""))]
        return "\n".join(parts)


@dataclass(frozen=True)
class Connected:
    """One case of a provider with canaries in the place of its secrets."""

    provider: Provider[Any]
    case: Case
    answers: list[Recorded] = field(repr=False)
    _mappings: dict[str, dict[str | None, CompiledMapping[Any]]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, provider: Provider[Any], case: Case, answers: list[Recorded]) -> Connected:
        """Put canaries into the credential, the app and the answers."""
        auth = provider.mode(case.slot)
        secret = plain_secrets(auth.credential, case.credential) + plain_secrets(OAuthApp, case.app or {})
        swapped = {one: hatch(number, one) for number, one in enumerate(dict.fromkeys(secret)) if one}
        given = {"credential": swap(case.credential, swapped), "app": swap(case.app, swapped)}
        replaced = [Recorded.model_validate(swap(one.model_dump(), swapped)) for one in answers]
        return cls(provider, case.model_copy(update=given), replaced)

    async def identify(self, spoil: Spoil | None = None, used: set[int] | None = None) -> Reading:
        """Make the test call; what it raises is in the reading."""

        async def call(context: ContextMaker, reading: Reading) -> None:
            reading.identified = await self.provider.identity(context(None, None))

        return await self._run(call, spoil, used)

    async def read(
        self,
        operation: Operation,
        spoil: Spoil | None = None,
        used: set[int] | None = None,
        *,
        start: Checkpoint | None = None,
    ) -> Reading:
        """Run an operation, from its start or from a checkpoint; what it raises is in the reading."""
        options = self._options().model_dump(mode="json")
        mappings = self._compiled(operation)

        async def call(context: ContextMaker, reading: Reading) -> None:
            async def turned(checkpoint: Checkpoint) -> None:
                kept = Checkpoint(**json.loads(json.dumps(vars(checkpoint))))  # it is stored as JSON
                reading.checkpoints.append((kept, len(reading.entities)))

            async for found in operation.read(context(start, turned)):
                payload, variant = (found.payload, found.variant) if isinstance(found, Record) else (found, None)
                if variant not in mappings or not isinstance(payload, dict):
                    shape = f"a {type(payload).__name__} of the variant {variant!r}"
                    raise NotConforming(f"{operation.id} yields {shape}, which no mapping takes")
                record = mappings[variant].clean(payload)
                reading.records.append(record)
                made = mappings[variant].apply(record, variant=variant, options=options)
                if isinstance(made, Rejected):
                    reading.rejected.append((variant, made))
                elif made is not None:
                    reading.variants.add(variant)
                    reading.entities.append(made)

        return await self._run(call, spoil, used)

    def _compiled(self, operation: Operation) -> dict[str | None, CompiledMapping[Any]]:
        if operation.id not in self._mappings:
            self._mappings[operation.id] = {mapping.variant: mapping.compile() for mapping in operation.into}
        return self._mappings[operation.id]

    def _options(self, address: str = "https://replay.example.com") -> Any:
        return self.provider.options(**swap(self.case.options, {"{replay}": address}))

    async def _run(self, call: Call, spoil: Spoil | None, used: set[int] | None) -> Reading:
        reading = Reading()
        with _listening(reading.log):
            async with self._open(reading, spoil, used) as context:
                try:
                    async with asyncio.timeout(30):
                        await call(context, reading)
                except Exception as error:  # noqa: BLE001  whatever comes is what the rules are about
                    reading.error = error
        return reading

    @asynccontextmanager
    async def _open(
        self, reading: Reading, spoil: Spoil | None, used: set[int] | None
    ) -> AsyncIterator[ContextMaker]:
        """The replay and everything between it and the provider's code."""
        case, provider, clock = self.case, self.provider, _Hands(self.case.now)
        auth = provider.mode(case.slot)
        credential = auth.credential.model_validate(case.credential)
        policy = AddressPolicy.parse("127.0.0.1")
        on_server = case.replay == "server"
        replay = Replay(self.answers, "", spoil=spoil or (lambda _ask, _request: None), used=used if used is not None else set())
        async with serving(replay) if on_server else nullcontext("https://replay.example.com") as address:
            options = self._options(address)
            places = _places(provider, options, credential)
            tools = AuthContext(
                provider=provider.name,
                places=places,
                clock=clock,
                send=make_send(policy, clock, provider.name, transport=replay),
                identity_token=_identity_token,
                external_id=_EXTERNAL_ID,
                app=OAuthApp.model_validate(case.app) if case.app else None,
            )
            base_url = address if on_server else tools.url(provider.base_url)
            reading.lookout += secrets_in(credential) + secrets_in(tools.app)
            replay.begin(base_url, frozenset(credential.secrets()))
            signer: Any = credential
            if isinstance(auth, Mints):
                replay.pause()  # failures are put before the API, not before the token endpoint
                signer = await auth.mint(tools, credential)
                replay.resume()
                reading.lookout += secrets_in(signer)

            async def sign(request: httpx2.Request) -> None:
                auth.sign(request, signer)

            async def fresh() -> Any:
                return signer

            async with Http(
                base_url=tools.url(provider.base_url),
                provider=provider.name,
                policy=policy,
                budget=LocalBudget(clock, sleep=clock.sleep),
                clock=clock,
                sign=sign,
                secrets=[*credential.secrets(), *signer.secrets()],
                headers=provider.headers,
                origins=[tools.url(one) for one in provider.origins],
                rate=provider.rate,
                transport=replay,
                sleep=clock.sleep,
            ) as http:

                def context(start: Checkpoint | None, turned: Any) -> Context[Any]:
                    return Context(
                        options=options,
                        credential=credential,
                        fresh=fresh,
                        hosts={name: places[name] for name in provider.hosts},
                        http=http,
                        policy=policy,
                        clock=clock,
                        start=start,
                        turned=turned,
                    )

                yield context
        reading.asked, reading.unforeseen = replay.asked, replay.unforeseen


ContextMaker = Callable[[Checkpoint | None, Any], Context[Any]]
Call = Callable[[ContextMaker, Reading], Awaitable[None]]


def row_of(entity: Entity) -> dict[str, Any]:
    """An entity as it stands in `entities.json`: what has no value is left out."""
    return {"kind": entity.kind, **entity.model_dump(mode="json", exclude_none=True)}


def why(error: BaseException | None) -> str:
    """An error in a line, with what the operator would see of the exchange's place."""
    if error is None:
        return "no error"
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, ProviderError | AssertionError) else f"{name} ({error})"


class _Hands(SetClock):
    """A clock that moves when somebody sleeps, and at once."""

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class _Listener(logging.Handler):
    """Keeps every log record, with all that was attached to it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{record.getMessage()} {vars(record)!r}")


class _listening:  # noqa: N801  a context manager, used as `with`
    """Hears the loggers of the provider and of the SDK at DEBUG, for as long as it lasts."""

    def __init__(self, lines: list[str]) -> None:
        self._handler = _Listener(lines)
        self._levels: list[tuple[logging.Logger, int]] = []

    def __enter__(self) -> None:
        root, own = logging.getLogger(), logging.getLogger("tieline")
        self._levels = [(one, one.level) for one in (root, own)]
        root.addHandler(self._handler)
        for one, _ in self._levels:
            one.setLevel(logging.DEBUG)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self._handler)
        for one, level in self._levels:
            one.setLevel(level)


def _places(provider: Provider[Any], options: Any, credential: Any) -> dict[str, str]:
    """The values of placeholders: the vendor's hosts, what the token answer told, then the options."""
    given = {name: str(value) for name, value in options.model_dump(mode="json").items() if value is not None}
    return {**provider.hosts, **(credential.details if isinstance(credential, Grant) else {}), **given}


async def _identity_token(audience: str) -> str:
    return f"identity-token-for-{audience}"
