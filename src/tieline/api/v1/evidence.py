"""Evidence: dated, hashed statements for or against controls, with where they came from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from tieline.api.body import Given, JsonBody
from tieline.api.caller import Auditor, Member, PartsOf
from tieline.api.describe import documented
from tieline.api.idempotency import once
from tieline.api.schemas import (
    ConnectionId,
    ExternalId,
    Filter,
    Moment,
    Page,
    Paged,
    ProviderSlug,
    Row,
    answer,
    check_in_query,
    cursor_of,
    id_in_path,
    id_in_query,
    id_of,
    provider_in_query,
    text_in_query,
    time_of,
)
from tieline.flows.materialize import materialize
from tieline.flows.pack import open_pack
from tieline.flows.views import evidence_detail, evidence_row, listing
from tieline.store import evidence as store

router = APIRouter(tags=["evidence"])
Id = Annotated[str, id_in_path("evid", "The statement.")]


class Evidence(Row):
    """A dated, hashed, immutable statement."""

    id: str = id_of("evid", "The statement.")
    provider: ProviderSlug
    kind: str = Field(description="The entity's kind.", examples=["account"])
    external_id: ExternalId
    connection_id: ConnectionId
    status: Literal["supports", "contradicts"] = Field(description="What it says of its controls.")
    run_id: str = id_of("run", "The run that it came from.")
    entity_id: str = id_of("ent", "The entity that it is about.")
    check: str = Field(description="The check.", examples=["mfa-enabled"])
    controls: list[str] = Field(description="The controls that it is about.", examples=[["soc2:CC6.1"]])
    statement: str = Field(description="It in words.", examples=["A second factor: holds for ada@larkfield.example"])
    observed_at: str = time_of("When it was so.")
    hash: str = Field(description="SHA-256 over the canonical form of `content`, in hex.", examples=["9f86d081…"])


class Provenance(Row):
    """Where a run's evidence comes from."""

    id: str = id_of("prov", "The provenance.")
    run_id: str = id_of("run", "The run.")
    content: dict[str, Any] = Field(description="Account, operation, query, scope.", examples=[{"provider": "okta"}])
    hash: str = Field(description="SHA-256 over the canonical form of `content`, in hex.", examples=["60303ae2…"])


class Verified(Row):
    """Whether what is stored still matches its hashes."""

    content: bool = Field(description="The statement matches its hash.", examples=[True])
    provenance: bool = Field(
        description="The provenance matches its hash, and is the one that the statement names.", examples=[True]
    )


class EvidenceDetail(Evidence):
    """A statement with what is hashed, where it came from, and whether both still match."""

    content: dict[str, Any] = Field(description="What is hashed.", examples=[{"stance": "supports"}])
    provenance: Provenance | None = Field(description="Where it came from.")
    verified: Verified = Field(description="Whether the hashes match.")


class EvidenceFilter(Filter):
    """Which statements are asked for."""

    control: str | None = text_in_query("Only those about this control.", "soc2:CC6.1", r"^[a-z0-9]+:[A-Za-z0-9.-]+$")
    framework: str | None = text_in_query("Only those about this framework.", "soc2", r"^[a-z][a-z0-9]*$", most=40)
    check: str | None = check_in_query()
    connection_id: str | None = id_in_query("conn", "Only those of this connection.")
    provider: str | None = provider_in_query()
    entity_id: str | None = id_in_query("ent", "Only those of this entity.")
    status: Literal["supports", "contradicts"] | None = Field(
        default=None, description="Only those that say so.", examples=["contradicts"]
    )
    before: Moment | None = Field(
        default=None, description="Only those observed before.", examples=["2026-10-01T00:00:00Z"]
    )

    def wanted(self) -> dict[str, Any]:
        """The filters under the names of the columns."""
        named = {"check_id": self.check, "stance": self.status}
        return named | {
            name: getattr(self, name) for name in ("control", "framework", "connection_id", "provider", "entity_id")
        }


class EvidenceQuery(EvidenceFilter, Paged):
    """Which statements to list."""

    cursor: str | None = cursor_of("evid")


class PackQuery(EvidenceFilter):
    """Which statements a pack is to hold."""


class Materialize(Given):
    """What to judge anew."""

    connection_id: str | None = Field(
        default=None,
        description="One connection; all if left out.",
        max_length=60,
        examples=["conn_01k0c4m2w8eyv9x3f5t7h1n6qp"],
    )


class Materialized(Row):
    """What judging anew changed."""

    connections: int = Field(description="Connections looked at.", examples=[2])
    entities: int = Field(description="Entities judged.", examples=[2650])
    evidence: int = Field(description="Statements written.", examples=[0])
    findings_opened: int = Field(description="Findings opened or reopened.", examples=[0])
    findings_resolved: int = Field(description="Findings resolved.", examples=[0])


def _described_as_zip(described: dict[str, Any]) -> dict[str, Any]:
    """A route's description whose good answer is a zip."""
    schema = {"type": "string", "format": "binary"}
    zipped = {
        "description": "A zip with `statements.txt`, `provenances.txt`, `summary.csv`, `index.html`, `manifest.json` and `verify.py`.",
        "content": {"application/zip": {"schema": schema}},
    }
    described["responses"][200] = zipped
    return described | {"response_class": Response}


@router.get("/evidence", **documented(Page[Evidence], query=EvidenceQuery))
async def list_evidence(parts: PartsOf, caller: Auditor, query: Annotated[EvidenceQuery, Query()]) -> Response:
    """List statements, newest first."""
    async with parts.db.work(caller.org_id) as work:
        found = await store.list_evidence(work, query.paging, **query.wanted(), before=query.before)
    return answer(listing(found, evidence_row))


@router.get("/evidence/pack", **_described_as_zip(documented(None, query=PackQuery, absent=True)))
async def export_pack(parts: PartsOf, caller: Auditor, query: Annotated[PackQuery, Query()]) -> Response:
    """Take statements along as a zip that verifies offline, at most 100,000, the newest; the audit log says that you took it."""
    pack = await open_pack(parts, caller.org_id, query.wanted(), before=query.before)
    headers = {"Content-Disposition": f'attachment; filename="evidence-{parts.clock.now():%Y-%m-%d}.zip"'}
    return StreamingResponse(pack, headers=headers, media_type="application/zip")


@router.get("/evidence/{evidence_id}", **documented(EvidenceDetail, absent=True))
async def get_evidence(parts: PartsOf, caller: Auditor, evidence_id: Id) -> Response:
    """Show one statement, where it came from, and whether both still match their hashes."""
    async with parts.db.work(caller.org_id) as work:
        found = await store.get_evidence(work, evidence_id)
        return answer(evidence_detail(found, await store.get_provenance(work, found.run_id)))


@router.post(
    "/evidence/materialize",
    **documented(Materialized, body=Materialize, body_optional=True, absent=True, conflicts=True, repeatable=True),
)
@once
async def materialize_evidence(
    parts: PartsOf,
    caller: Member,
    body: Annotated[Materialize, Depends(JsonBody(Materialize, optional=True))],
) -> Response:
    """Judge what is stored anew by the checks as they are now; where nothing changed, nothing is written."""
    return answer(await materialize(parts, caller.org_id, connection_id=body.connection_id))
