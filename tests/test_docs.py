"""The documentation says what is true: every setting and error is in it, and its examples work."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tieline.connect.app
import tieline.web.app  # noqa: F401  so that every error is defined
from tieline.catalog import compile_catalog
from tieline.errors import TielineError
from tieline.sdk import Account, Provider
from tieline.settings import Settings, variable_of
from tieline.telemetry import instruments
from tieline.telemetry.instruments import Counter, Gauge, Histogram, Named

ROOT = Path(__file__).parent.parent
INSTRUMENTS = [one for one in vars(instruments).values() if isinstance(one, Named)]


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/operating.md").read_text()

    for name, field in Settings.model_fields.items():
        assert f"| `{variable_of(name)}` |" in page
        assert field.description in page


def test_every_error_is_documented() -> None:
    page = (ROOT / "docs/errors.md").read_text()

    for error in errors(TielineError):
        assert f"| `{error.slug}` | {error.status} |" in page
        assert error.advice in page


def test_the_provider_in_the_readme_loads() -> None:
    (example,) = [block for block in blocks("README.md") if "listing(" in block]
    names: dict[str, object] = {}
    exec(example, names)
    provider = names["acme"]

    assert isinstance(provider, Provider)
    assert len(example.splitlines()) <= 30
    assert compile_catalog([provider], []).provider("acme") is provider


def test_the_mapping_in_the_guide_compiles() -> None:
    (example,) = blocks("docs/mappings.md")
    mapping = eval(example, {"Account": Account})
    record = {
        "id": 2**53 + 1,
        "type": "employee",
        "first_name": "Ada",
        "last_name": "Byron",
        "suspended": True,
        "work_email": None,
    }
    account = mapping.compile().apply(record)

    assert mapping.faults() == []
    assert (account.external_id, account.status, account.email) == ("9007199254740993", "suspended", None)


def test_every_metric_is_documented_with_its_labels_and_no_other() -> None:
    page = (ROOT / "docs/observability.md").read_text()
    rows = dict(re.findall(r"^\| `(tieline_\w+)` \| ((?:`\w+`(?:, )?)*) ?\|", page, re.MULTILINE))

    assert {name: re.findall(r"\w+", labels) for name, labels in rows.items()} == {
        exposed(one)[0]: list(one.labels) for one in INSTRUMENTS
    }


@pytest.mark.parametrize("file", ["deploy/grafana/tieline.json", "deploy/prometheus/alerts.yml"])
def test_dashboard_and_alerts_name_metrics_and_labels_that_there_are(file: str) -> None:
    text = (ROOT / file).read_text().replace('\\"', '"')
    there = {name: one for one in INSTRUMENTS for name in exposed(one)}
    named = set(re.findall(r"\btieline_\w+", text)) - {"tieline_platform_"}
    used = re.findall(r"(tieline_\w+)\{([^}]*)\}", text)

    assert len(named) > 10
    assert named <= there.keys()
    assert set(re.findall(r"\bprocess_\w+", text)) <= {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    for name, given in used:
        for label, values in re.findall(r'(\w+)[!=~]+"([^"]*)"', given):
            known = there[name].labels.get(label)
            assert known or label == "job", (name, label)
            if known and known.values:
                assert set(values.split("|")) <= known.values, (name, label, values)


def test_the_dashboard_shows_every_metric_that_is_no_detail_of_another() -> None:
    text = (ROOT / "deploy/grafana/tieline.json").read_text()
    board = json.loads(text)

    assert [one.name for one in INSTRUMENTS if not any(name in text for name in exposed(one))] == [
        "disk.size",
        "platform.up",
    ]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["targets"] and panel["description"] for panel in board["panels"] if panel["type"] != "row")


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_fits_one_screen_and_names_what_was_rejected(page: Path) -> None:
    text = page.read_text()

    assert len(text.splitlines()) <= 40
    assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences", "Rejected"))


def exposed(one: Named) -> list[str]:
    """The names under which Prometheus has an instrument, the documented one first."""
    match one:
        case Counter() | Gauge(grows=True):
            return [f"{one.in_prometheus}_total"]
        case Histogram():
            return [one.in_prometheus, *(f"{one.in_prometheus}_{end}" for end in ("bucket", "count", "sum"))]
    return [one.in_prometheus]


def blocks(page: str) -> list[str]:
    """The Python examples of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[:1]


def errors(kind: type[TielineError]) -> Iterator[type[TielineError]]:
    """An error and all below it."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__.startswith("tieline."):
            yield from errors(below)
