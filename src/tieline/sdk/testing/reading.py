"""Reading: run a provider's test call and operations on recorded answers, with all around it that the platform would give it."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2

from tieline.clock import SetClock
from tieline.errors import ProviderError
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import OAuthApp
from tieline.sdk.context import Checkpoint, Record
from tieline.sdk.entities import Entity
from tieline.sdk.mapping import CompiledMapping, Rejected
from tieline.sdk.provider import Identified, Operation, Provider
from tieline.sdk.testing.canaries import hatch, plain_secrets, secrets_in, swap, with_keys
from tieline.sdk.testing.fixtures import Case, NotConforming, Recorded
from tieline.sdk.testing.listening import listening
from tieline.sdk.testing.opening import ContextMaker, Way
from tieline.sdk.testing.replay import Replay, Reply
from tieline.sdk.testing.server import serving

Spoil = Callable[[str, httpx2.Request], Reply | None]
Call = Callable[[ContextMaker, "Reading"], Awaitable[None]]
NOWHERE = "https://replay.example.com"
"""What stands for the address of a server that is not needed."""


@dataclass
class Reading:
    """What one operation gave: what it yielded, as records and as entities, and the error that ended it; all in order."""

    yielded: list[Any] = field(default_factory=list, repr=False)
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
        case = case.model_copy(update={"credential": with_keys(case.credential), "app": with_keys(case.app)})
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
        options = self.provider.options(**swap(self.case.options, {"{replay}": NOWHERE})).model_dump(mode="json")
        mappings = self._compiled(operation)

        async def call(context: ContextMaker, reading: Reading) -> None:
            async def turned(checkpoint: Checkpoint) -> None:
                kept = Checkpoint(**json.loads(json.dumps(vars(checkpoint))))  # it is stored as JSON
                reading.checkpoints.append((kept, len(reading.entities)))

            async for found in operation.read(context(start, turned)):
                reading.yielded.append(found)
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

    async def _run(self, call: Call, spoil: Spoil | None, used: set[int] | None) -> Reading:
        reading = Reading()
        replay = Replay(
            self.answers, spoil=spoil or (lambda _ask, _request: None), used=set() if used is None else used
        )
        served = serving(replay) if self.case.replay == "server" else nullcontext(NOWHERE)
        with listening() as reading.log:
            try:
                async with asyncio.timeout(30), served as address:
                    await self._answer(call, reading, replay, address)
            except Exception as error:  # noqa: BLE001  whatever comes is what the rules are about
                reading.error = error
        reading.asked, reading.unforeseen = replay.asked, replay.unforeseen
        return reading

    async def _answer(self, call: Call, reading: Reading, replay: Replay, address: str) -> None:
        """Run with the answers of a replay, which is also a server at this address for who needs one."""
        case, auth = self.case, self.provider.mode(self.case.slot)
        way = Way(
            provider=self.provider,
            slot=case.slot,
            options=self.provider.options(**swap(case.options, {"{replay}": address})),
            credential=auth.credential.model_validate(case.credential),
            app=OAuthApp.model_validate(case.app) if case.app else None,
            clock=_Hands(case.now),
            policy=AddressPolicy.parse("127.0.0.1"),
        )
        reading.lookout += secrets_in(way.credential) + secrets_in(way.app)
        base_url = way.tools(replay).url(self.provider.base_url) if address == NOWHERE else address
        replay.begin(base_url, frozenset(way.credential.secrets()))
        with replay.undisturbed():  # failures are put before the API, not before the token endpoint
            signer = await way.mint(replay)
        reading.lookout += secrets_in(signer)
        async with way.open(signer, replay) as context:
            await call(context, reading)


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
