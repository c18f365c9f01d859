"""Runs one operation of a provider without the platform around it, and keeps what it read."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tieline.clock import SystemClock
from tieline.sdk import Context, Entity, Identified, Mapping, Operation, Provider, Record
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.context import Checkpoint
from tieline.sdk.http import Http
from tieline.sdk.mapping import CompiledMapping, Rejected


@dataclass
class Reading:
    """What an operation read: entities by kind and id, how many records each mapping left out, and the checkpoints."""

    entities: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def of(self, kind: type[Entity]) -> dict[str, Any]:
        return self.entities.get(kind.kind, {})

    @property
    def flaws(self) -> list[Any]:
        """Records that did not fit, and ids that came twice."""
        return [*self.rejected, *self.repeated]

    def add(self, entity: Entity) -> None:
        known = self.entities.setdefault(entity.kind, {})
        if entity.external_id in known:
            self.repeated.append(entity.external_id)
        known[entity.external_id] = entity


@dataclass(frozen=True)
class Connected:
    """A provider with options and a credential, talking to whatever is at its address."""

    provider: Provider[Any]
    options: Any
    credential: Any
    http: Http
    signing: Any

    async def identify(self) -> Identified:
        return await self.provider.identity(self._context())

    async def read(self, name: str, *, start: Checkpoint | None = None) -> Reading:
        """Run an operation to its end, or raise what it raises."""
        reading = Reading()
        await self.read_into(reading, name, start=start)
        return reading

    async def read_into(self, reading: Reading, name: str, *, start: Checkpoint | None = None) -> None:
        """Run an operation; what it read before it raised is in the reading."""
        operation = operation_of(self.provider, name)
        mappings = {mapping.variant: mapping.compile() for mapping in operation.into}

        async def turned(checkpoint: Checkpoint) -> None:
            reading.checkpoints.append(checkpoint)

        async for found in operation.read(self._context(start=start, turned=turned)):
            record = found if isinstance(found, Record) else Record(found, None)  # type: ignore[arg-type]  # one mapping has no variant
            _map(reading, mappings[record.variant], record.payload)

    def _context(self, **how: Any) -> Context[Any]:
        policy = AddressPolicy.parse("127.0.0.1")

        async def fresh() -> Any:
            return self.signing

        return Context(
            options=self.options,
            credential=self.credential,
            http=self.http,
            policy=policy,
            clock=SystemClock(),
            fresh=fresh,
            **how,
        )


Connect = Callable[..., AbstractAsyncContextManager[Connected]]


def operation_of(provider: Provider[Any], name: str) -> Operation:
    return next(operation for operation in provider.operations if operation.id == name)


def mapping_of(provider: Provider[Any], name: str, variant: str | None = None) -> CompiledMapping[Any]:
    mapping = operation_of(provider, name).mapping_for(variant)
    assert isinstance(mapping, Mapping)
    return mapping.compile()


def _map(reading: Reading, mapping: CompiledMapping[Any], payload: dict[str, Any]) -> None:
    record = mapping.clean(payload)
    reading.records.append(record)
    entity = mapping.apply(record)
    if isinstance(entity, Rejected):
        reading.rejected.append(entity)
    elif entity is not None:
        reading.add(entity)


def mapped(provider: Provider[Any], operation: str, payload: dict[str, Any], *, variant: str | None = None) -> Any:
    """What a mapping makes of one record, cleaned as in a run."""
    mapping = mapping_of(provider, operation, variant)
    return mapping.apply(mapping.clean(payload))


class Answers(httpx2.AsyncBaseTransport):
    """Gives documented answers that no emulator gives: `answer(request)` is a status, JSON and headers."""

    def __init__(self, answer: Callable[[httpx2.Request], tuple[int, Any, dict[str, str]]]) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        status, body, headers = self._answer(request)
        return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(json.dumps(body).encode()))
