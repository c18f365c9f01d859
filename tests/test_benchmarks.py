"""The benchmarks, which the suite does not run: that they still find what they measure."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path for path in BENCHMARKS.glob("*.py") if "from rig" in path.read_text())


@pytest.fixture(autouse=True)
def within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts put these in front themselves when they are run."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / "provider")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_finds_what_it_imports(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location(f"benchmark_{script.stem}", script)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look it up
    spec.loader.exec_module(module)


def test_every_stage_that_the_profile_tells_of_is_there() -> None:
    from rig.stages import STAGES, resolved

    missing = [
        path for path in STAGES.values() if not hasattr(resolved(path.rpartition(".")[0]), path.rpartition(".")[2])
    ]
    assert not missing


def test_the_record_that_is_read_becomes_an_entity_of_its_provider() -> None:
    import bench_findings
    import orjson
    from rig import findings

    mapping = bench_findings.findings.into[0].compile()
    for number in range(0, 400, 7):
        made = mapping.apply(orjson.loads(findings.encoded(number, 3)), variant=None, options={})
        assert made
        assert made.external_id.startswith(f"fnd-{number:08x}")
        assert made.title.endswith("(revision 3)")
