"""The outcomes that a provider's own checks have been seen to give, over the entities it reads and the examples beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from tieline.sdk.checks import Check, Related
from tieline.sdk.entities import Entity
from tieline.sdk.testing.fixtures import Example, NotConforming
from tieline.sdk.testing.subject import Subject


async def outcomes_seen(subject: Subject) -> dict[str, set[str]]:
    """By check id; raises `NotConforming` for an example whose outcome is another than it says."""
    seen: dict[str, set[str]] = defaultdict(set)
    checks = {check.id: check for check in subject.provider.checks}
    now = next(iter(subject.fixtures.cases.values())).now
    for name in subject.fixtures.cases:
        found = [
            one for operation in subject.provider.operations for one in (await subject.whole(name, operation)).entities
        ]
        for check in checks.values():
            for entity in (one for one in found if one.kind == check.kind):
                judged = check.judge(entity, now=now, related=_related(check, entity, found))
                seen[check.id].add(judged.outcome if judged else "")
    for example in subject.fixtures.examples:
        if example.check not in checks:
            raise NotConforming(f"checks.json: {subject.provider.slug} has no check {example.check!r}")
        check = checks[example.check]
        related = {
            name: Related([_build(one, check.related[name][0]) for one in rows], complete=True)
            for name, rows in example.related.items()
        }
        empty = {name: Related[Any]((), complete=True) for name in check.related}
        judged = check.judge(_build(example.entity, check.kind), now=now, related=empty | related)
        outcome = judged.outcome if judged else "does not apply"
        if outcome != example.outcome:
            raise NotConforming(f"checks.json: {_tell(example)} gives {outcome}, not {example.outcome}")
        seen[check.id].add(outcome)
    return seen


def _related(check: Check, entity: Entity, found: Sequence[Entity]) -> dict[str, Related[Any]]:
    return {
        name: Related(
            [one for one in found if one.kind == kind and getattr(one, link) == entity.external_id], complete=True
        )
        for name, (kind, link) in check.related.items()
    }


def _build(row: dict[str, Any], kind: str) -> Entity:
    """An entity from its JSON; `kind` need not be written down, as the check says it."""
    given = {name: value for name, value in row.items() if name != "kind"}
    (model,) = (one for one in Entity.__subclasses__() if one.kind == kind)
    try:
        return model.model_validate_json(orjson.dumps(given))
    except ValidationError as error:
        raise NotConforming(f"checks.json: {row} is no {kind}: {error}") from None


def _tell(example: Example) -> str:
    return f"{example.check} over {example.entity.get('external_id')!r}"
