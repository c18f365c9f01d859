"""Controls: where each requirement of a framework stands, from the standing answers of the checks that are mapped to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from tieline.catalog import Catalog, Control, find_control, load_frameworks
from tieline.errors import NotFound
from tieline.flows.parts import Parts
from tieline.store.entities import count_outcomes
from tieline.store.evidence import latest_by_check

ControlStatus = Literal["supported", "contradicted", "mixed", "no-evidence"]
CONTROL_STATUSES: tuple[ControlStatus, ...] = get_args(ControlStatus)


@dataclass(frozen=True)
class Standing:
    """A control, the checks mapped to it, and how many entities' standing answers speak for it, against it, or neither."""

    control: Control
    checks: tuple[str, ...]
    supporting: int
    contradicting: int
    unknown: int
    last_evidence_at: datetime | None

    @property
    def status(self) -> ControlStatus:
        """What the answers say together; unknown ones say nothing."""
        if self.supporting and self.contradicting:
            return "mixed"
        if self.contradicting:
            return "contradicted"
        return "supported" if self.supporting else "no-evidence"


async def list_controls(
    parts: Parts, org_id: str, *, framework: str | None = None, status: str | None = None
) -> list[Standing]:
    """Where the controls of one framework or all stand, in the standards' order; raises `NotFound` for a framework."""
    frameworks = load_frameworks()
    if framework is not None and framework not in frameworks:
        raise NotFound(f"There is no framework {framework[:60]!r}", advice=f"Frameworks: {', '.join(frameworks)}.")
    chosen = [frameworks[framework]] if framework else frameworks.values()
    standings = await _stand(parts, org_id, [control for one in chosen for control in one.controls])
    return [one for one in standings if status is None or one.status == status]


async def get_control(parts: Parts, org_id: str, control_id: str) -> Standing:
    """Where one control stands; raises `NotFound`."""
    control = find_control(control_id)
    if control is None:
        raise NotFound(f"There is no control {control_id[:60]!r}", advice="Control ids look like soc2:CC6.1.")
    (standing,) = await _stand(parts, org_id, [control])
    return standing


async def _stand(parts: Parts, org_id: str, controls: list[Control]) -> list[Standing]:
    async with parts.db.work(org_id) as work:
        counts = await count_outcomes(work)
        latest = await latest_by_check(work)
    mapped = _checks_by_control(parts.catalog)
    return [_standing(control, mapped.get(control.id, ()), counts, latest) for control in controls]


def _standing(
    control: Control,
    checks: tuple[str, ...],
    counts: Mapping[str, Mapping[str, int]],
    latest: Mapping[str, datetime],
) -> Standing:
    def total(outcome: str) -> int:
        return sum(counts.get(check, {}).get(outcome, 0) for check in checks)

    last = max((latest[check] for check in checks if check in latest), default=None)
    return Standing(control, checks, total("pass"), total("fail"), total("unknown"), last)


def _checks_by_control(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for check in catalog.checks:
        for control in check.controls:
            found[control] = (*found.get(control, ()), check.id)
    return found
