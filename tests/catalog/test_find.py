"""Finding what is installed: folders, modules and entry points; what is broken elsewhere stops nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tieline.checks
import tieline.providers
from tieline.catalog import Catalog, load_catalog

GOOD = """
from tieline.sdk import Account, ApiKey, Identity, Provider

PROVIDER = Provider(
    slug="{slug}", name="Elsewhere", category="hr", base_url="https://api.elsewhere.example",
    auth=ApiKey(header="X-Key"), identity=Identity("/me", id="id", name="name"),
)
PROVIDER.listing("people", "/people", into=Account.map(external_id="payload.id"), every="1h")
"""

Install = Callable[..., Catalog]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install modules with an entry point each, and load the catalog: `install(elsewhere=(source, target))`."""

    def do(**modules: tuple[str, str]) -> Catalog:
        info = tmp_path / "elsewhere-1.0.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, (_, target) in modules.items()]
        info.joinpath("entry_points.txt").write_text("\n".join(["[tieline.providers]", *lines]))
        for name, (source, _) in modules.items():
            tmp_path.joinpath(f"tieline_test_{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        load_catalog.cache_clear()
        return load_catalog()

    yield do
    load_catalog.cache_clear()
    for name in [name for name in sys.modules if name.startswith("tieline_test_")]:
        del sys.modules[name]


def modules_of(package: Path) -> set[str]:
    return {path.stem for path in package.iterdir() if path.suffix == ".py" and path.stem != "__init__"}


def test_every_folder_with_a_provider_is_found() -> None:
    (package,) = map(Path, tieline.providers.__path__)
    folders = {path.parent.name.replace("_", "-") for path in package.glob("*/provider.py")}
    assert folders >= {"github", "okta", "aws", "sandbox"}
    assert set(load_catalog().providers) == folders
    assert not load_catalog().broken


def test_every_module_of_checks_gives_its_checks() -> None:
    (package,) = map(Path, tieline.checks.__path__)
    from_modules = {one.predicate.__module__.rpartition(".")[2] for one in load_catalog().checks}
    neutral = [one for one in load_catalog().checks if one.provider is None]
    assert len(neutral) >= 12
    assert modules_of(package) - from_modules <= {"unknowns"}


def test_every_check_that_ships_speaks_for_controls_of_both_frameworks() -> None:
    for one in load_catalog().checks:
        assert {control.partition(":")[0] for control in one.controls} >= {"soc2", "iso27001"}, one.id


def test_the_catalog_is_made_once() -> None:
    assert load_catalog() is load_catalog()


def test_an_installed_provider_is_found_by_its_entry_point(install: Install) -> None:
    catalog = install(
        direct=(GOOD.format(slug="direct"), "tieline_test_direct:PROVIDER"),
        whole=(GOOD.format(slug="whole"), "tieline_test_whole"),
    )
    assert {"direct", "whole", "sandbox"} <= set(catalog.providers)
    assert not catalog.broken


def test_a_broken_provider_is_named_and_stops_no_other(install: Install) -> None:
    catalog = install(
        absent=("", "tieline_test_absent:PROVIDER"),
        bad=(GOOD.format(slug="Bad"), "tieline_test_bad:PROVIDER"),
        clash=(GOOD.format(slug="sandbox"), "tieline_test_clash:PROVIDER"),
        fine=(GOOD.format(slug="fine"), "tieline_test_fine:PROVIDER"),
        raises=("raise RuntimeError('password=hunter2')", "tieline_test_raises:PROVIDER"),
        period=(GOOD.format(slug="period").replace('"1h"', '"hourly"'), "tieline_test_period:PROVIDER"),
        syntax=("def (", "tieline_test_syntax:PROVIDER"),
        text=("PROVIDER = 'none'", "tieline_test_text:PROVIDER"),
    )
    assert {"fine", "sandbox", "github"} <= set(catalog.providers)
    assert {name: why.rpartition("[")[2].rstrip("]") for name, why in catalog.broken.items()} == {
        "absent": "AttributeError",
        "bad": "bad-slug",
        "clash": "duplicate-provider",
        "period": "bad-period",
        "raises": "RuntimeError",
        "syntax": "SyntaxError",
        "text": "not-a-provider",
    }


def test_why_a_provider_is_broken_never_quotes_what_its_module_said(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = install(raises=("raise RuntimeError('password=hunter2')", "tieline_test_raises:PROVIDER"))
    assert catalog.broken == {"raises": "RuntimeError"}
    (line,) = [record for record in caplog.records if record.name == "tieline.catalog.find"]
    assert vars(line)["provider"] == "raises"
    assert "hunter2" not in caplog.text + repr(vars(line))
