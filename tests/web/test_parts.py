"""The console's parts by themselves: forms from schemas, CSV, charts and words."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr
from starlette.datastructures import QueryParams

from tieline.access.tokens import new_token, org_of
from tieline.errors import Invalid
from tieline.flows.sheet import cell
from tieline.ids import new_id
from tieline.store.listing import Paging
from tieline.web import charts
from tieline.web.flash import read_flash, write_flash
from tieline.web.form import Form
from tieline.web.forms import errors_of, fields_of, read_values
from tieline.web.icons import NAMES, icon, mark
from tieline.web.listing import Column, Filter, answer_csv, read_asked
from tieline.web.returns import local_path
from tieline.web.templating import _environment
from tieline.web.words import TONES, ago, browser, counted, when

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOSTILE = "<b>\"'&{{7*7}}"


class Options(BaseModel):
    """A model with every kind of field."""

    region: Literal["eu", "us"] = Field(description="Where the account is.", examples=["eu"])
    key: SecretStr = Field(title="API key", json_schema_extra={"pattern": r"^sk_[a-z]+$"})
    pem: Annotated[SecretStr | None, Field(json_schema_extra={"multiline": True})] = None
    days: int = Field(default=30, ge=1, le=365)
    archived: bool = True
    names: list[str] = []
    note: str | None = Field(default=None, max_length=20)


SCHEMA = Options.model_json_schema()


def render(**given: Any) -> str:
    template = '{% from "parts/form.html" import fields %}{{ fields(made) }}'
    return _environment().from_string(template).render(made=fields_of(SCHEMA, **given))


def form(**fields: Any) -> Form:
    return Form({name: value if isinstance(value, list) else [value] for name, value in fields.items()})


def test_every_kind_of_field_is_rendered_with_its_label_help_and_example() -> None:
    kinds = {one.name: one.kind for one in fields_of(SCHEMA)}
    assert kinds == {
        "region": "choice", "key": "secret", "pem": "secret-lines", "days": "number", "archived": "boolean", "names": "list", "note": "text",
    }  # fmt: skip
    shown = render()
    assert re.search(r'<label for="field-key">API key</label>', shown)
    assert 'type="password"' in shown
    assert "Where the account is. For example <code>eu</code>" in shown
    assert 'min="1" max="365"' in shown
    assert 'pattern="sk_[a-z]+"' in shown
    assert 'maxlength="20"' in shown
    assert re.search(r'id="field-archived" name="archived" value="true" checked', shown)


def test_what_was_sent_becomes_what_the_model_reads() -> None:
    sent = form(region="eu", key=" sk_abc ", pem="-----BEGIN\r\nx\r\n", days="7", names="a\r\n\r\n b ", note="")
    values = read_values(SCHEMA, sent)
    assert values == {
        "region": "eu",
        "key": "sk_abc",
        "pem": "-----BEGIN\nx\n",
        "days": 7,
        "archived": False,
        "names": ["a", "b"],
    }
    assert Options.model_validate(values).days == 7
    assert read_values(SCHEMA, form(days="many"))["days"] == "many"


def test_two_forms_on_a_page_are_kept_apart_by_their_prefix() -> None:
    assert [one.name for one in fields_of(SCHEMA, prefix="options.")][:2] == ["options.region", "options.key"]
    sent = Form({"options.days": ["7"], "days": ["8"]})
    assert read_values(SCHEMA, sent, prefix="options.")["days"] == 7


def test_a_secret_is_never_rendered_again() -> None:
    shown = render(values={"key": "sk_topsecret", "pem": "PEMSECRET", "note": "kept"})
    assert "topsecret" not in shown
    assert "PEMSECRET" not in shown
    assert 'value="kept"' in shown


def test_what_is_wrong_is_told_beside_its_field() -> None:
    error = Invalid(
        "x",
        fields=[
            {"field": "options.days", "problem": "input should be less than 365"},
            {"field": "name", "problem": "y"},
        ],
    )
    problems = errors_of(error)
    assert problems == {"days": "Input should be less than 365", "name": "Y"}
    shown = render(problems=problems)
    assert 'aria-invalid="true" aria-describedby="field-days-problem"' in shown
    assert 'id="field-days-problem"' in shown


def test_what_a_person_typed_is_text() -> None:
    assert HOSTILE not in render(values={"note": HOSTILE})


@given(st.text())
def test_no_cell_is_taken_for_a_formula_and_none_breaks_its_row(text: str) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow([cell(text), "end"])
    assert not written.getvalue().lstrip('"').startswith(("=", "+", "-", "@", "\t", "\r"))
    if "\0" not in text:
        assert next(csv.reader(io.StringIO(written.getvalue(), newline=""))) == [cell(text), "end"]


async def test_csv_has_every_page_of_rows_and_dotted_columns() -> None:
    asked: list[str | None] = []

    async def fetch(paging: Paging) -> dict[str, Any]:
        asked.append(paging.cursor)
        rows = [{"id": str(len(asked)), "counts": {"records": len(asked)}, "extra": ["x"]}]
        return {"items": rows, "next": "more" if len(asked) < 3 else None}

    columns = (
        Column("Id", "id"),
        Column("Records", "counts.records"),
        Column("Gone", "a.b.c"),
        Column("Extra", "extra"),
    )
    answer: Any = answer_csv("All runs", columns, fetch)
    text = "".join([one async for one in answer.body_iterator])
    assert text.splitlines() == ["Id,Records,Gone,Extra", '1,1,,"[""x""]"', '2,2,,"[""x""]"', '3,3,,"[""x""]"']
    assert asked == [None, "more", "more"]
    assert answer.headers["content-disposition"] == 'attachment; filename="all-runs.csv"'


def test_filters_are_read_from_the_address_and_unknown_choices_refused() -> None:
    filters = (Filter("status", "State", [("open", "Open")]), Filter("q", "Search"))
    asked = read_asked(QueryParams("status=open&q=&cursor=c&format=csv&other=1"), filters)
    assert (asked.values, asked.set, asked.cursor, asked.as_csv) == (
        {"status": "open", "q": None},
        {"status": "open"},
        "c",
        True,
    )
    assert (
        asked.api("/v1/findings")
        .command("https://t.example")
        .endswith("'https://t.example/v1/findings?status=open&cursor=c'")
    )
    with pytest.raises(Invalid, match="no such choice"):
        read_asked(QueryParams("status=shut"), filters)
    with pytest.raises(Invalid, match="cannot be looked for"):
        read_asked(QueryParams("q=a%00b"), filters)


@pytest.mark.parametrize(
    "drawn",
    [
        charts.pairs(HOSTILE, [charts.Pair(HOSTILE, 3, 0), charts.Pair("b", 0, 2)], up=HOSTILE, down="Resolved"),
        charts.bars(HOSTILE, [(HOSTILE, 4)] * 30, of=HOSTILE),
        charts.bars("Nothing", [], of="x"),
        charts.stack(HOSTILE, [charts.Share(HOSTILE, 3, "good"), charts.Share("b", 0, "bad")]),
        charts.sparkline(HOSTILE, [1, 1, 1]),
        charts.columns(HOSTILE, [HOSTILE, "b"], [charts.Layer(HOSTILE, "solid", [3, 0])], more=[(HOSTILE, ["1", "2"])]),
    ],
    ids=["pairs", "bars", "empty", "stack", "sparkline", "columns"],
)
def test_a_chart_is_well_formed_says_what_it_is_and_holds_no_markup_of_others(drawn: Any) -> None:
    tree = ET.fromstring(str(drawn))
    pictures = [tree] if tree.tag == "svg" else tree.findall(".//svg")
    pictures = [one for one in pictures if one.get("aria-hidden") != "true"]
    assert pictures
    assert all(one.get("role") == "img" and one.get("aria-label") for one in pictures)
    assert not tree.findall(".//b")
    assert not [one for one in tree.iter() if "style" in one.attrib]


def test_a_charts_table_says_every_number() -> None:
    tree = ET.fromstring(
        str(charts.pairs("Week", [charts.Pair("Mon", 3, 1), charts.Pair("Tue", 0, 2)], up="Opened", down="Resolved"))
    )
    assert [[one.text for one in row] for row in tree.findall(".//tbody/tr")] == [["Mon", "3", "1"], ["Tue", "0", "2"]]
    assert charts.sparkline("One", [1]) == ""


def test_the_layers_of_columns_differ_by_pattern_and_the_table_has_those_that_are_there() -> None:
    layers = [
        charts.Layer("read", "solid", [90, 0]),
        charts.Layer("held", "lined", [0, 0]),
        charts.Layer("failed", "crossed", [1, 2]),
    ]
    tree = ET.fromstring(str(charts.columns("Runs", ["Mon", "Tue"], layers, more=[("Took", ["4 s", "–"])])))
    drawn = [(one.get("fill"), float(one.get("height", 0))) for one in tree.findall("./svg/g/rect")]
    assert [look for look, _ in drawn] == ["url(#look-solid)", "url(#look-crossed)", "url(#look-crossed)"]
    assert all(high >= 3 for _, high in drawn), "what there is little of is seen all the same"
    assert {one.get("id") for one in tree.findall(".//pattern")} == {f"look-{look}" for look in charts.LOOKS}
    assert [one.text for one in tree.findall("./svg/g/title")] == ["Mon: 90 read, 1 failed", "Tue: 2 failed"]
    assert [[one.text for one in row] for row in tree.findall(".//tr")] == [
        [None, "Read", "Failed", "Took"], ["Mon", "90", "1", "4 s"], ["Tue", "0", "2", "–"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gap", "told"),
    [
        (0, "in a moment"),
        (59, "in a moment"),
        (60, "in 1 minute"),
        (-3600, "1 hour ago"),
        (-7300, "2 hours ago"),
        (-90_000, "1 day ago"),
        (-5, "just now"),
    ],
)
def test_times_are_told_in_their_largest_unit(gap: int, told: str) -> None:
    assert ago(NOW + timedelta(seconds=gap), NOW) == (told if gap else "just now")


def test_a_time_shows_the_exact_one_too() -> None:
    shown = when("2026-11-20T11:00:00.000000Z", NOW)
    assert shown == '<time datetime="2026-11-20T11:00:00+00:00" title="2026-11-20 11:00:00 UTC">1 hour ago</time>'
    assert when(None, NOW, "not yet") == '<span class="quiet">not yet</span>'


def test_numbers_and_browsers_in_words() -> None:
    assert (counted(1, "entity", "entities"), counted(12_000, "run")) == ("1 entity", "12\u202f000 runs")
    assert browser("Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/140.0") == "Firefox on Windows"
    assert browser("") == "A browser"


def test_every_tone_has_an_icon_and_marks_escape_names() -> None:
    assert {*TONES.values(), "quiet"} <= NAMES
    assert "<b>" not in mark("x", "<b>old")
    assert "<b>" not in icon("good", "<b>")


@given(st.text(max_size=60), st.text(max_size=80))
def test_a_flash_is_read_only_if_it_was_written_here(told: str, forged: str) -> None:
    key = b"k" * 32
    told = told.encode(errors="ignore").decode()
    written = write_flash(key, told)
    assert read_flash(key, written) == told
    assert read_flash(b"x" * 32, written) is None
    assert forged == written or read_flash(key, forged) is None


@given(st.text(max_size=80))
def test_whatever_is_taken_for_a_path_stays_on_this_host(given_path: str) -> None:
    path = local_path(given_path)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert path.isprintable()
    assert " " not in path


def test_a_token_says_its_organization_and_nothing_else_is_one() -> None:
    org_id = new_id("org")
    assert org_of(new_token(org_id)) == org_id
    assert new_token(org_id) != new_token(org_id)
    assert [org_of(one) for one in ("", "x", "é" * 64, "=" * 64, "A" * 63)] == [None] * 5
