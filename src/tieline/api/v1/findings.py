"""Findings: what is wrong, since when, whose it is, and who has silenced it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from tieline.api.body import Given, JsonBody, Nothing
from tieline.api.caller import Auditor, Member, PartsOf
from tieline.api.describe import documented
from tieline.api.idempotency import once
from tieline.api.schemas import (
    MEMBER,
    SLUG,
    ConnectionId,
    ExternalId,
    Filter,
    Limit,
    Moment,
    Page,
    Paged,
    ProviderSlug,
    Row,
    Severity,
    answer,
    check_in_query,
    cursor_of,
    id_in_path,
    id_in_query,
    id_of,
    kind_in_query,
    provider_in_query,
    text_in_query,
    time_of,
)
from tieline.errors import Invalid
from tieline.flows import findings as flow
from tieline.flows.findings import MOST_AT_ONCE, Chosen, Done
from tieline.flows.views import finding_event_row, finding_row, group_row, listing
from tieline.sdk.entities import KINDS
from tieline.store import findings as store
from tieline.store.connections import NOBODY
from tieline.store.finding_groups import MOST_GROUPS, By, group_findings

router = APIRouter(tags=["findings"])
Id = Annotated[str, id_in_path("find", "The finding.")]


class Finding(Row):
    """The standing answer of a check that has failed for an entity."""

    id: str = id_of("find", "The finding.")
    provider: ProviderSlug
    kind: str = Field(description="The entity's kind.", examples=["account"])
    external_id: ExternalId
    connection_id: ConnectionId
    status: str = Field(description="`open`, `muted` or `resolved`.", examples=["open"])
    entity_id: str = id_of("ent", "The entity.")
    subject: str = Field(description="The entity's name for people.", examples=["ada@larkfield.example"])
    owner: str | None = id_of("mem", "The member who looks after it.")
    check: str = Field(description="The check.", examples=["mfa-enabled"])
    severity: str = Field(description="How bad it is.", examples=["high"])
    title: str = Field(description="What should hold.", examples=["People sign in with a second factor"])
    values: dict[str, Any] = Field(description="The fields that decided.", examples=[{"mfa": False}])
    opened_at: str = time_of("When it was opened.")
    changed_at: str = time_of("When it last changed.")
    resolved_at: str | None = time_of("When it was resolved.")
    reopened: int = Field(description="How often it came back.", examples=[0])
    muted_reason: str | None = Field(description="Why it is muted.", examples=[None])
    muted_until: str | None = time_of("Until when it is muted; null for good.")


class FindingEvent(Row):
    """One thing that happened to a finding."""

    id: str = id_of("fev", "The event.")
    finding_id: str = id_of("find", "The finding.")
    event: str = Field(description="What happened.", examples=["opened"])
    at: str = time_of("When.")
    run_id: str | None = id_of("run", "The run that found it so.")
    actor: str | None = id_of("key", "Who did it.")
    note: str | None = Field(description="Why.", examples=[None])
    values: dict[str, Any] = Field(description="The fields that decided.", examples=[{"mfa": False}])


class Group(Row):
    """Findings that have something in common."""

    key: dict[str, str | None] = Field(
        description="What they have in common, by the names of the filters that lead to them.",
        examples=[{"check": "mfa-enabled"}],
    )
    title: str | None = Field(
        description="What should hold, if it is the same for all.", examples=["People sign in with a second factor"]
    )
    severity: str = Field(description="How bad the worst of them is.", examples=["high"])
    open: int = Field(description="How many are open.", examples=[12])
    muted: int = Field(description="How many are muted.", examples=[1])
    resolved: int = Field(description="How many are resolved.", examples=[30])
    entities: int = Field(description="How many entities they are about.", examples=[43])
    oldest: str | None = time_of("When the first of the open ones was opened.")


_STATUS = Field(default=None, description="Only those in this state.", examples=["open"])
_SEVERITY = Field(default=None, description="Only those that are so bad.", examples=["high"])
_SUBJECT = "Only those about what people know by this name, at whatever provider."
_BEFORE = Field(default=None, description="Only those opened before.", examples=["2026-01-31T00:00:00Z"])
_OWNER = f"^({NOBODY}|{MEMBER})$"


class FindingFilter(Filter):
    """Which findings are asked for."""

    status: Literal["open", "muted", "resolved"] | None = _STATUS
    severity: Severity | None = _SEVERITY
    check: str | None = check_in_query()
    connection_id: str | None = id_in_query("conn", "Only those of this connection.")
    provider: str | None = provider_in_query()
    entity_id: str | None = id_in_query("ent", "Only those of this entity.")
    kind: str | None = kind_in_query()
    subject: str | None = text_in_query(_SUBJECT, "ada@larkfield.example", r"^[^\x00]*$", most=1000)
    owner: str | None = text_in_query(f"Only those that this member looks after, or `{NOBODY}`.", NOBODY, _OWNER)
    opened_before: Moment | None = _BEFORE


class FindingQuery(FindingFilter, Paged):
    """Which findings to list."""

    cursor: str | None = cursor_of("find")


class GroupQuery(FindingFilter):
    """How to group which findings."""

    by: By = Field(default="check", description="What those of a group have in common.", examples=["owner"])
    limit: Limit = Field(default=200, ge=1, le=MOST_GROUPS, description="How many groups at most.", examples=[200])


class Filters(Given):
    """All findings that match; what is left out narrows nothing."""

    status: Literal["open", "muted", "resolved"] | None = _STATUS
    severity: Severity | None = _SEVERITY
    check: str | None = Field(
        default=None, description="Only what this check says.", max_length=120, examples=["mfa-enabled"]
    )
    connection_id: str | None = Field(
        default=None, description="Only those of this connection.", max_length=60, examples=[None]
    )
    provider: str | None = Field(
        default=None, description="Only those of this provider.", pattern=SLUG, max_length=60, examples=["okta"]
    )
    entity_id: str | None = Field(
        default=None, description="Only those of this entity.", max_length=60, examples=[None]
    )
    kind: str | None = Field(
        default=None, description="Only those of this kind.", pattern=f"^({'|'.join(KINDS)})$", examples=["account"]
    )
    subject: str | None = Field(default=None, description=_SUBJECT, max_length=1000, examples=["ada@larkfield.example"])
    owner: str | None = Field(default=None, description="A member, or `nobody`.", pattern=_OWNER, examples=[NOBODY])
    opened_before: Moment | None = _BEFORE


class Many(Given):
    """Which findings: some by id, or all that match a filter."""

    findings: list[str] | None = Field(
        default=None,
        description="Their ids.",
        min_length=1,
        max_length=MOST_AT_ONCE,
        examples=[["find_01k0c4m2w8eyv9x3f5t7h1n6qp"]],
    )
    filter: Filters | None = Field(default=None, description=f"Or what they match, at most {MOST_AT_ONCE:,}.")

    def chosen(self) -> Chosen:
        """What is meant; raises `Invalid` unless it is said in just one of the two ways."""
        if (self.findings is None) == (self.filter is None):
            problem = {"field": "body.findings", "problem": "give either `findings` or `filter`"}
            raise Invalid("Say which findings, in one way", advice="Give their ids, or a filter.", fields=[problem])
        return Chosen(self.findings or (), _named(self.filter.model_dump()) if self.filter else None)


class Mute(Given):
    """Why a finding is silenced, and for how long."""

    reason: str = Field(description="Why.", min_length=1, max_length=1000, examples=["Accepted until the move to SSO"])
    until: Moment | None = Field(
        default=None, description="Until when; for good if left out.", examples=["2031-01-31T12:00:00Z"]
    )


class MuteMany(Mute, Many):
    """Which findings are silenced, why, and for how long."""


_OWNS = f"The member who is to look after it, or `{NOBODY}`."


class Assign(Given):
    """Whose it is to be."""

    owner: str = Field(description=_OWNS, pattern=_OWNER, examples=["mem_01k0c4m2w8eyv9x3f5t7h1n6qp"])


class AssignMany(Assign, Many):
    """Which findings, and whose they are to be."""


class Changed(Row):
    """What was done to many findings."""

    changed: int = Field(description="Findings that were changed.", examples=[12])
    left: int = Field(description="Findings that it does not concern, left as they are.", examples=[0])


_POST: dict[str, Any] = {"absent": True, "conflicts": True, "repeatable": True}


@router.get("/findings", **documented(Page[Finding], query=FindingQuery))
async def list_findings(parts: PartsOf, caller: Auditor, query: Annotated[FindingQuery, Query()]) -> Response:
    """List findings, newest first, of any status unless one is named."""
    wanted = _named(query.model_dump(exclude={"cursor", "limit"}))
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await store.list_findings(work, query.paging, **wanted), finding_row))


@router.get("/findings/groups", **documented(Page[Group], query=GroupQuery))
async def list_finding_groups(parts: PartsOf, caller: Auditor, query: Annotated[GroupQuery, Query()]) -> Response:
    """Count findings in groups, the worst first; all groups are on one page, up to `limit`."""
    wanted = _named(query.model_dump(exclude={"by", "limit"}))
    async with parts.db.work(caller.org_id) as work:
        found, _ = await group_findings(work, query.by, most=query.limit, **wanted)
    return answer({"items": [group_row(one) for one in found], "next": None})


@router.get("/findings/{finding_id}", **documented(Finding, absent=True))
async def get_finding(parts: PartsOf, caller: Auditor, finding_id: Id) -> Response:
    """Show one finding."""
    async with parts.db.work(caller.org_id) as work:
        return answer(finding_row(await store.get_finding(work, finding_id)))


@router.get("/findings/{finding_id}/history", **documented(Page[FindingEvent], absent=True))
async def show_finding_history(parts: PartsOf, caller: Auditor, finding_id: Id) -> Response:
    """Show what happened to a finding, oldest first."""
    async with parts.db.work(caller.org_id) as work:
        events = await store.list_events(work, finding_id)
    return answer({"items": [finding_event_row(one) for one in events], "next": None})


@router.post("/findings/{finding_id}/mute", **documented(Finding, **_POST, body=Mute))
@once
async def mute_finding(
    parts: PartsOf,
    caller: Member,
    finding_id: Id,
    body: Annotated[Mute, Depends(JsonBody(Mute))],
) -> Response:
    """Silence an open finding, until a time or for good."""
    muted = await flow.mute(parts, caller.org_id, finding_id, reason=body.reason, until=body.until, actor=caller.actor)
    return answer(finding_row(muted))


@router.post("/findings/{finding_id}/unmute", **documented(Finding, **_POST, body=Nothing, body_optional=True))
@once
async def unmute_finding(
    parts: PartsOf,
    caller: Member,
    finding_id: Id,
    _body: Annotated[Nothing, Depends(JsonBody(Nothing, optional=True))],
) -> Response:
    """Open a muted finding again."""
    return answer(finding_row(await flow.unmute(parts, caller.org_id, finding_id, actor=caller.actor)))


@router.post("/findings/{finding_id}/assign", **documented(Finding, **_POST, body=Assign))
@once
async def assign_finding(
    parts: PartsOf,
    caller: Member,
    finding_id: Id,
    body: Annotated[Assign, Depends(JsonBody(Assign))],
) -> Response:
    """Give a finding to a member, or to nobody."""
    given = await flow.assign(parts, caller.org_id, finding_id, owner=body.owner, actor=caller.actor)
    return answer(finding_row(given))


@router.post("/findings/mute", **documented(Changed, **_POST, body=MuteMany))
@once
async def mute_findings(
    parts: PartsOf, caller: Member, body: Annotated[MuteMany, Depends(JsonBody(MuteMany))]
) -> Response:
    """Silence many findings at once; those that are resolved are left as they are."""
    about: dict[str, Any] = {"reason": body.reason, "until": body.until, "actor": caller.actor}
    return _told(await flow.mute_many(parts, caller.org_id, body.chosen(), **about))


@router.post("/findings/unmute", **documented(Changed, **_POST, body=Many))
@once
async def unmute_findings(parts: PartsOf, caller: Member, body: Annotated[Many, Depends(JsonBody(Many))]) -> Response:
    """Open many muted findings again at once; those that are not muted are left as they are."""
    return _told(await flow.unmute_many(parts, caller.org_id, body.chosen(), actor=caller.actor))


@router.post("/findings/assign", **documented(Changed, **_POST, body=AssignMany))
@once
async def assign_findings(
    parts: PartsOf, caller: Member, body: Annotated[AssignMany, Depends(JsonBody(AssignMany))]
) -> Response:
    """Give many findings at once to a member, or to nobody."""
    done = await flow.assign_many(parts, caller.org_id, body.chosen(), owner=body.owner, actor=caller.actor)
    return _told(done)


def _named(filters: dict[str, Any]) -> dict[str, Any]:
    """Filters under the names of the columns."""
    return {"check_id" if name == "check" else name: value for name, value in filters.items()}


def _told(done: Done) -> Response:
    return answer({"changed": len(done.changed), "left": done.left})
