"""The mapping lab: a real record beside its mapping, where another filter or field is tried, seen at once, and saved.

A form holds every expression of one's own; an empty one is the provider's. Who may not change the connection sees the same without the form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from tieline.api.body import BadJson, check_json
from tieline.errors import Conflict, Invalid, TielineError
from tieline.flows import lab as flow
from tieline.flows.lab import Choices, Chosen, Place, Tried
from tieline.flows.overrides import Own, read_own
from tieline.flows.sync import request_sync
from tieline.flows.tried import Line, alike_row, filters_of, lines_of, refusal_in_words
from tieline.flows.views import JsonRow
from tieline.stages.assess import read_entity
from tieline.stages.load import label_of
from tieline.stages.trial import Outcome
from tieline.store.connections import get_connection
from tieline.store.entities import StoredEntity
from tieline.store.listing import Paging
from tieline.store.records import group_samples
from tieline.web.data import pairs, plain, tree
from tieline.web.forms import errors_of
from tieline.web.listing import Column, show_list
from tieline.web.page import AdminPage, AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted

router = APIRouter(route_class=ConsoleRoute)

PASTED = "pasted"
_COLUMNS = (
    Column("operation", "operation"),
    Column("kind", "kind"),
    Column("field", "field"),
    Column("reason", "reason"),
    Column("samples", "sampled"),
    Column("rejected in all", "rejected"),
    Column("run", "run_id"),
    Column("records", "record_ids"),
    Column("at", "at"),
)


@dataclass(frozen=True)
class Typed:
    """What the form holds: one's own expressions, which record, and of what it was made.

    `seen` is the record and `seen_variant` the mapping that the form was made for, `stamp` the state of the overrides.
    """

    own: Own
    record: str
    pasted: str
    variant: str | None
    seen: str = ""
    seen_variant: str | None = None
    stamp: str | None = None


@dataclass(frozen=True)
class Shown:
    """What a page of the lab is made of besides its place; `tried` is missing where nothing could be tried."""

    typed: Typed
    chosen: Chosen | None
    tried: Tried | None = None
    error: TielineError | None = None
    problems: Mapping[str, str] | None = None


@router.get("/connections/{connection_id}/mapping/{operation}")
async def show_lab(page: AnyPage, connection_id: str, operation: str) -> Response:
    """Show a record and what the mapping in force makes of it."""
    place = await flow.open_place(page.parts, page.org_id, connection_id, operation)
    choices = await flow.list_choices(page.parts, place)
    query = page.request.query_params
    record, variant = query.get("record") or choices.first or "", query.get("variant") or None
    typed = Typed(Own(), "" if record == PASTED else record, "", variant, seen="" if variant is None else record)
    chosen = await _choose(page, place, typed)
    standing = read_own(place.overrides, chosen.variant if chosen else _first(place))
    typed = replace(typed, own=standing, variant=chosen.variant if chosen else variant)
    return await _show(page, place, choices, await _tried(page, place, typed, chosen))


@router.post("/connections/{connection_id}/mapping/{operation}")
async def try_in_lab(page: AdminPage, connection_id: str, operation: str) -> Response:
    """Try what the form holds."""
    place = await flow.open_place(page.parts, page.org_id, connection_id, operation)
    choices = await flow.list_choices(page.parts, place)
    typed = _read(page, place)
    try:
        chosen = await _choose(page, place, typed)
    except (Invalid, BadJson) as error:
        return await _show(page, place, choices, Shown(typed, None, error=error, problems=errors_of_any(error)))
    if chosen and chosen.variant != typed.seen_variant:  # what was typed was for another mapping
        typed = replace(typed, own=read_own(place.overrides, chosen.variant), variant=chosen.variant)
    return await _show(page, place, choices, await _tried(page, place, typed, chosen))


@router.post("/connections/{connection_id}/mapping/{operation}/save")
async def save_from_lab(page: AdminPage, connection_id: str, operation: str) -> Response:
    """Put what the form holds in force."""
    place = await flow.open_place(page.parts, page.org_id, connection_id, operation)
    typed = _read(page, place)
    try:
        await flow.save_mapping(page.parts, place, typed.variant, typed.own, stamp=typed.stamp)
    except (Invalid, Conflict) as error:
        return await _refuse(page, place, typed, error)
    told = "It is saved. The next run maps every record anew."
    if page.form.get("sync"):
        try:
            await request_sync(page.parts, page.org_id, connection_id, operation=operation)
            told = "It is saved, and a run is asked for: it maps every record anew."
        except Conflict as error:
            told = f"It is saved, but no run began: {error.message}."
    return page.go(_path(place, typed), told)


@router.post("/connections/{connection_id}/mapping/{operation}/undo")
async def undo_in_lab(page: AdminPage, connection_id: str, operation: str) -> Response:
    """Take the organization's own expressions away: the provider's are in force again."""
    place = await flow.open_place(page.parts, page.org_id, connection_id, operation)
    typed = _read(page, place)
    try:
        await flow.save_mapping(page.parts, place, typed.variant, Own(), stamp=typed.stamp)
    except Conflict as error:
        return await _refuse(page, place, typed, error)
    return page.go(_path(place, typed), "Yours is gone. The provider's mapping holds from the next run on.")


@router.get("/connections/{connection_id}/rejections")
async def show_rejected_alike(page: AnyPage, connection_id: str) -> Response:
    """Show what the newest run of each operation could not map, by field and reason."""
    async with page.parts.db.work(page.org_id) as work:
        connection = await get_connection(work, connection_id)
        found = [alike_row(one) for one in await group_samples(work, connection_id)]
    provider = page.parts.catalog.providers.get(connection.provider)

    async def fetch(_: Mapping[str, str | None], __: Paging) -> JsonRow:
        return {"items": found, "next": None}

    return await show_list(
        page,
        "pages/rejected_alike.html",
        title="Rejected records",
        filters=(),
        columns=_COLUMNS,
        fetch=fetch,
        api=f"/v1/connections/{connection_id}/rejections",
        connection=connection,
        titles={one.id: one.title for one in provider.operations} if provider else {},
    )


def errors_of_any(error: TielineError) -> Mapping[str, str]:
    """What an error says, by field; what is no JSON is the record's."""
    return errors_of(error) if isinstance(error, Invalid) else {"record": error.message}


def _read(page: Page, place: Place) -> Typed:
    form = page.form
    variant = form.get("variant") or _first(place)
    names = place.mapping(variant).entity.model_fields
    fields = {name: form.get(f"field.{name}").strip() for name in names}
    own = Own(form.get("filter").strip() or None, {name: one for name, one in fields.items() if one})
    seen_variant = form.get("seen_variant") or _first(place)
    seen, stamp = form.get("seen"), form.get("stamp") or None
    return Typed(own, form.get("record"), form.get("pasted"), variant, seen, seen_variant, stamp)


def _first(place: Place) -> str | None:
    return place.operation.into[0].variant


async def _choose(page: Page, place: Place, typed: Typed) -> Chosen | None:
    """The record that is looked at; `None` where there is none."""
    if typed.record == PASTED:
        content = typed.pasted.encode()
        check_json(content)
        return flow.give_record(place, orjson.loads(content), typed.variant)
    if not typed.record:
        return None
    variant = typed.variant if typed.record == typed.seen else None  # of another record it is told by the record
    return await flow.choose_record(page.parts, place, typed.record, variant)


async def _tried(page: Page, place: Place, typed: Typed, chosen: Chosen | None) -> Shown:
    if chosen is None:
        return Shown(typed, None)
    compare = flow.MOST_COMPARED if typed.own != read_own(place.overrides, chosen.variant) else 0
    try:
        return Shown(typed, chosen, await flow.try_mapping(page.parts, place, chosen, typed.own, others=compare))
    except (Invalid, Conflict) as error:
        problems = errors_of_any(error)
        fields = {name: one for name, one in typed.own.fields.items() if name not in problems}
        rest = Own(None if "filter" in problems else typed.own.filter, fields)
        tried = await flow.try_mapping(page.parts, place, chosen, rest) if rest != typed.own else None
        return Shown(typed, chosen, tried, error, problems)


async def _refuse(page: Page, place: Place, typed: Typed, error: TielineError) -> Response:
    """The form as it was sent, with what is wrong; it stands on the overrides as they are now."""
    choices = await flow.list_choices(page.parts, place)
    chosen = await _choose(page, place, typed)
    return await _show(page, place, choices, Shown(typed, chosen, None, error, errors_of_any(error)))


async def _show(page: Page, place: Place, choices: Choices, shown: Shown) -> Response:
    typed, chosen, tried = shown.typed, shown.chosen, shown.tried
    variant = chosen.variant if chosen else typed.variant or _first(place)
    standing = read_own(place.overrides, variant)
    nothing = Outcome("left_out")
    basis = tried or Tried(place, chosen or Chosen({}, variant), typed.own, standing, nothing, nothing)
    connection, operation = place.connection, place.operation
    lines = lines_of(basis)
    path = f"/connections/{connection.id}/mapping/{operation.id}"
    return page.show(
        "pages/lab.html",
        status=shown.error.status if shown.error and "hx-request" not in page.request.headers else 200,
        title=f"Mapping lab: {operation.title}",
        api=ApiCall(f"/v1{path.replace('/mapping/', '/operations/')}/try", method="POST"),
        path=path,
        place=place,
        typed=typed,
        chosen=chosen,
        branches=tree(chosen.record) if chosen else (),
        choices=choices,
        name_of=_name_of,
        tried=tried,
        verdict=_verdict(tried) if tried else None,
        filters=filters_of(basis),
        lines=lines,
        idle=[one for one in lines if _is_idle(one, typed, shown.problems or {})],
        standing=standing,
        stamp=place.stamp,
        variant=variant,
        entity_kind=basis.mapping.entity.kind,
        variants=[one.variant for one in operation.into if one.variant],
        gave=_gave,
        refused=refusal_in_words,
        plain=plain,
        pairs=pairs,
        error=shown.error,
        problems={name: _briefly(one) for name, one in (shown.problems or {}).items()},
    )


def _briefly(problem: str) -> str:
    """What is wrong with an expression, without all that the parser would have taken instead."""
    return problem.partition(" expecting {")[0]


def _is_idle(line: Line, typed: Typed, problems: Mapping[str, str]) -> bool:
    """Whether a field is of no interest: nobody maps it, it has no value, and nothing is wrong with it."""
    spoken = line.expression or line.problem or line.becomes is not None or line.changed or line.required
    return not spoken and line.field not in typed.own.fields and line.field not in problems


def _path(place: Place, typed: Typed) -> str:
    """Back to the same record."""
    path = f"/connections/{place.connection.id}/mapping/{place.operation.id}"
    return f"{path}?record={typed.record}" if typed.record.startswith(("ent_", "rej_")) else path


def _name_of(entity: StoredEntity) -> str:
    """How a person knows an entity."""
    return label_of(read_entity(entity.kind, entity.data))


def _gave(line: Line, tried: Tried) -> tuple[str, str]:
    """What a line gave, in words, and its tone: of an entity its very field, otherwise what the expression gave by itself."""
    told = line.told
    if told and told.state == "error":
        return told.error or "", "bad"
    if tried.outcome.state == "kept" and line.becomes is not None:
        return plain(line.becomes), "good"
    if told is None or told.state == "none":
        return ("no value", "quiet") if line.expression else ("not mapped", "quiet")
    return ("a value too long to be shown", "quiet") if told.state == "long" else (plain(told.value), "")


def _verdict(tried: Tried) -> tuple[str, str, str]:
    """What became of the record: a tone, a word, and what it means."""
    outcome, kind = tried.outcome, tried.mapping.entity.kind.replace("_", " ")
    if outcome.state == "left_out":
        return "quiet", "Left out", "A filter answers false, so a run passes over this record."
    if outcome.state == "rejected":
        return "bad", "Rejected", f"No {kind} can be made of it: {refusal_in_words(outcome.field, outcome.reason)}."
    changes = len(flow.differing(tried.before, outcome))
    if tried.before.state != "kept":
        return "good", "Kept", f"It becomes {_a(kind)}. By the mapping in force it is {_WORDS[tried.before.state]}."
    if changes:
        return "good", "Kept", f"It becomes {_a(kind)}; {counted(changes, 'field')} would change."
    return "good", "Kept", f"It becomes {_a(kind)}, the same as by the mapping in force."


_WORDS = {"left_out": "left out", "rejected": "rejected"}


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
