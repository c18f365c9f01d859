"""Controls: where each requirement of a framework stands, from the standing answers of the checks that are mapped to it.

As of a day, it is where the control stood at the end of that day (in UTC) by the evidence that there was: of each check about each
entity the newest statement, if it was not stale by then. This is what could be known on that day, and not what is known of that
day now: a check counts for the controls that it named then, whatever it is mapped to today, and nothing that was found out later
changes it. What could not be known was never stated, so of a past day nobody can say how many answers were unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

from tieline.catalog import Catalog, Control, Framework, find_control, load_frameworks
from tieline.errors import Invalid, NotFound
from tieline.flows.parts import Parts
from tieline.stages.assess import FRESH_FOR
from tieline.store.evidence import Stood, first_observed, latest_by_check, stood_before
from tieline.store.tallies import count_outcomes

STANDS_FOR = FRESH_FOR + timedelta(days=1)
"""How long a statement speaks: what is read at least daily and still so is stated anew within that time."""

ControlStatus = Literal["supported", "contradicted", "mixed", "no-evidence"]
CONTROL_STATUSES: tuple[ControlStatus, ...] = get_args(ControlStatus)


@dataclass(frozen=True)
class Standing:
    """A control, the checks mapped to it, and how many entities' standing answers speak for it, against it, or neither.

    Of a past day `checks` are those that had spoken, and `unknown` is `None`.
    """

    control: Control
    checks: tuple[str, ...]
    supporting: int
    contradicting: int
    unknown: int | None
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
    parts: Parts,
    org_id: str,
    *,
    framework: str | None = None,
    status: str | None = None,
    as_of: date | None = None,
) -> list[Standing]:
    """Where the controls of one framework or all stand, or stood, in the standards' order.

    Raises `NotFound` for a framework, and `Invalid` for a day that is to come or of which there is no evidence.
    """
    chosen = [find_framework(framework)] if framework else load_frameworks().values()
    controls = [control for one in chosen for control in one.controls]
    standings = await (_stood(parts, org_id, controls, as_of) if as_of else _stand(parts, org_id, controls))
    return [one for one in standings if status is None or one.status == status]


async def get_control(parts: Parts, org_id: str, control_id: str, *, as_of: date | None = None) -> Standing:
    """Where one control stands, or stood; raises `NotFound`, and `Invalid` as `list_controls` does."""
    control = find_control(control_id)
    if control is None:
        raise NotFound(f"There is no control {control_id[:60]!r}", advice="Control ids look like soc2:CC6.1.")
    (standing,) = await (_stood(parts, org_id, [control], as_of) if as_of else _stand(parts, org_id, [control]))
    return standing


def find_framework(slug: str) -> Framework:
    """A framework by its slug; raises `NotFound`."""
    frameworks = load_frameworks()
    if slug not in frameworks:
        raise NotFound(f"There is no framework {slug[:60]!r}", advice=f"Frameworks: {', '.join(frameworks)}.")
    return frameworks[slug]


def end_of(day: date) -> datetime:
    """When a day is over, in UTC; raises `Invalid` for the last day of all."""
    try:
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    except OverflowError:
        raise _no_such_day(f"{day} is too far away", "is too far away") from None


async def _stand(parts: Parts, org_id: str, controls: Sequence[Control]) -> list[Standing]:
    async with parts.db.work(org_id) as work:
        counts = await count_outcomes(work)
        latest = await latest_by_check(work)
    mapped = _checks_by_control(parts.catalog)
    return [_standing(control, mapped.get(control.id, ()), counts, latest) for control in controls]


async def _stood(parts: Parts, org_id: str, controls: Sequence[Control], day: date) -> list[Standing]:
    if day > parts.clock.now().astimezone(UTC).date():
        raise _no_such_day(f"{day} is still to come", "is still to come")
    before = end_of(day)
    async with parts.db.work(org_id) as work:
        first = await first_observed(work)
        if first is None or first >= before:
            began = f"The first is of {first.astimezone(UTC):%Y-%m-%d}." if first else "There is none yet."
            raise _no_such_day(f"There was no evidence yet on {day}", "is before the first evidence", advice=began)
        only = controls[0].id if len(controls) == 1 else None
        stood = await stood_before(work, before=before, since=before - STANDS_FOR, control=only)
    return [_standing_then(control, [one for one in stood if control.id in one.controls]) for control in controls]


def _no_such_day(message: str, problem: str, *, advice: str = "Choose a day that is past.") -> Invalid:
    return Invalid(message, advice=advice, fields=[{"field": "query.as_of", "problem": problem}])


def _standing_then(control: Control, stood: Sequence[Stood]) -> Standing:
    def total(stance: str) -> int:
        return sum(one.entities for one in stood if one.stance == stance)

    checks = tuple(dict.fromkeys(one.check_id for one in stood))
    last = max((one.last_at for one in stood), default=None)
    return Standing(control, checks, total("supports"), total("contradicts"), None, last)


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
