"""Checks, frameworks and controls: the rules, the requirements that they speak for, and where those stand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from tieline.api.caller import Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import (
    Day,
    Filter,
    Page,
    Row,
    Severity,
    answer,
    kind_in_query,
    provider_in_query,
    text_in_query,
    time_of,
)
from tieline.catalog import load_frameworks
from tieline.flows import controls as flow
from tieline.flows.catalog_views import check_row, control_row, framework_row
from tieline.flows.controls import ControlStatus

router = APIRouter(tags=["controls"])


class Check(Row):
    """A rule over one kind of entity."""

    id: str = Field(description="Its stable name.", examples=["mfa-enabled"])
    provider: str | None = Field(description="The one provider that it is for; null for all.", examples=[None])
    kind: str = Field(description="The kind of entity that it judges.", examples=["account"])
    severity: str = Field(description="How bad a failure is.", examples=["high"])
    title: str = Field(description="What should hold.", examples=["People sign in with a second factor"])
    fix: str = Field(description="What to do where it does not.", examples=["Require a second factor."])
    controls: list[str] = Field(description="The controls that it speaks for.", examples=[["soc2:CC6.1"]])


class Family(Row):
    """A group of controls."""

    id: str = Field(description="Its id in the framework.", examples=["CC6"])
    name: str = Field(description="Its name.", examples=["Logical and physical access"])


class Framework(Row):
    """A standard in one edition."""

    id: str = Field(description="Its slug.", examples=["soc2"])
    name: str = Field(description="Its name.", examples=["SOC 2"])
    edition: str = Field(description="Its edition.", examples=["2017, revised 2022"])
    families: list[Family] = Field(description="Its families.")
    controls: int = Field(description="How many controls it has.", examples=[61])


class Control(Row):
    """A requirement of a framework, and where it stands."""

    id: str = Field(description="Framework and number.", examples=["soc2:CC6.1"])
    framework: str = Field(description="The framework.", examples=["soc2"])
    family: str = Field(description="The family.", examples=["CC6"])
    title: str = Field(description="Its title.", examples=["Access is restricted"])
    asks: str = Field(description="What an auditor wants to see.", examples=["Show who can reach what, and why."])
    status: ControlStatus = Field(description="What the standing answers say together.", examples=["supported"])
    supporting: int = Field(description="Answers that speak for it.", examples=[240])
    contradicting: int = Field(description="Answers that speak against it.", examples=[0])
    unknown: int | None = Field(
        description="Answers that cannot be known; null as of a day, since they are never stated.", examples=[3]
    )
    checks: list[str] = Field(description="The checks mapped to it.", examples=[["mfa-enabled"]])
    last_evidence_at: str | None = time_of("When it last got evidence.")


class CheckQuery(Filter):
    """Which checks to list."""

    provider: str | None = provider_in_query()
    kind: str | None = kind_in_query()
    severity: Severity | None = Field(default=None, description="Only those that are so bad.", examples=["high"])


_AS_OF = Field(
    default=None,
    description="Where they stood at the end of this day in UTC, by the evidence that there was then; 422 for a day that is to come "
    "or before the first evidence. Today is as it stands by the evidence alone.",
    examples=["2026-10-01"],
)


class ControlQuery(Filter):
    """Which controls to list."""

    framework: str | None = text_in_query("Only those of this framework.", "soc2", r"^[a-z][a-z0-9]*$", most=40)
    status: ControlStatus | None = Field(default=None, description="Only those that stand so.", examples=["mixed"])
    as_of: Day | None = _AS_OF


class ControlAsOf(Filter):
    """As of when to look at a control."""

    as_of: Day | None = _AS_OF


@router.get("/checks", **documented(Page[Check], query=CheckQuery), tags=["checks"])
async def list_checks(parts: PartsOf, _caller: Auditor, query: Annotated[CheckQuery, Query()]) -> Response:
    """List the checks; those for all providers are listed for each provider too."""
    found = [
        check_row(one)
        for one in parts.catalog.checks
        if query.provider in {None, one.provider or query.provider}
        and query.kind in {None, one.kind}
        and query.severity in {None, one.severity}
    ]
    return answer({"items": found, "next": None})


@router.get("/checks/{check_id}", **documented(Check, absent=True), tags=["checks"])
async def get_check(
    parts: PartsOf, _caller: Auditor, check_id: Annotated[str, Path(description="The check.", examples=["mfa-enabled"])]
) -> Response:
    """Show one check."""
    return answer(check_row(parts.catalog.check(check_id)))


@router.get("/frameworks", **documented(Page[Framework]), tags=["frameworks"])
async def list_frameworks(_caller: Auditor) -> Response:
    """List the frameworks that evidence is kept for."""
    return answer({"items": [framework_row(one) for one in load_frameworks().values()], "next": None})


@router.get("/frameworks/{slug}", **documented(Framework, absent=True), tags=["frameworks"])
async def get_framework(
    _caller: Auditor, slug: Annotated[str, Path(description="The framework.", examples=["soc2"])]
) -> Response:
    """Show one framework."""
    return answer(framework_row(flow.find_framework(slug)))


@router.get("/controls", **documented(Page[Control], query=ControlQuery, absent=True))
async def list_controls(parts: PartsOf, caller: Auditor, query: Annotated[ControlQuery, Query()]) -> Response:
    """List controls in the standards' order, with where each stands, or stood at the end of a day."""
    standings = await flow.list_controls(
        parts, caller.org_id, framework=query.framework, status=query.status, as_of=query.as_of
    )
    return answer({"items": [control_row(one) for one in standings], "next": None})


@router.get("/controls/{control_id}", **documented(Control, query=ControlAsOf, absent=True))
async def get_control(
    parts: PartsOf,
    caller: Auditor,
    control_id: Annotated[str, Path(description="The control.", examples=["soc2:CC6.1"])],
    query: Annotated[ControlAsOf, Query()],
) -> Response:
    """Show one control and where it stands, or stood at the end of a day."""
    return answer(control_row(await flow.get_control(parts, caller.org_id, control_id, as_of=query.as_of)))
