"""`tieline provider`: write a provider of one's own."""

from __future__ import annotations

import importlib.util
import keyword
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tieline.cli.scaffold import PROVIDER, README
from tieline.cli.session import NounGroup, current
from tieline.cli.show import say, show_json
from tieline.errors import DeclarationError, Invalid, NotFound

if TYPE_CHECKING:
    from tieline.sdk import Provider


@click.group("provider", cls=NounGroup)
def command() -> None:
    """Write a provider of your own."""


@command.command("new")
@click.argument("slug")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to put it in; by default the current one.",
)
@click.option("--name", help="What the service is called; by default from the slug.")
def new(slug: str, into: Path, name: str | None) -> None:
    """Lay out the folder of a provider that loads; then fill in what its API asks."""
    words = _words(slug, name or slug.replace("-", " ").title())
    folder = into / words["variable"]
    if folder.exists():
        raise Invalid(f"{folder} exists already", advice="Choose another slug or folder.")
    text = PROVIDER.safe_substitute(words)
    _check_text(text, folder)
    try:
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f'"""{words["name"]}, a provider for Tieline."""\n', encoding="utf-8")
        (folder / "provider.py").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(README.safe_substitute(words), encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{folder} cannot be written: {error.strerror}") from None
    if current().json:
        show_json({"id": slug, "path": str(folder / "provider.py")})
        return
    say(f"Made {folder}. Fill in {folder / 'provider.py'}, then: tieline provider check {folder}")


@command.command("check")
@click.argument("path_or_slug")
def check(path_or_slug: str) -> None:
    """Load a provider, from a folder, a file or the catalog, and check every rule of its declaration."""
    from tieline.flows.views import provider_row

    current().start_log("error")
    provider = _find(path_or_slug)
    row = provider_row(provider) | {"checks": [one.id for one in provider.checks]}
    if current().json:
        show_json(row)
        return
    say(f"{provider.name} ({provider.slug}) is well declared.")
    for one in row["operations"]:
        say(f"  {one['id']:<24} {', '.join(one['entities'])}; every {one['every_seconds'] // 60} min")
    for name in row["checks"]:
        say(f"  check {name}")


def _words(slug: str, name: str) -> dict[str, str]:
    """The words that a scaffold is filled with; they become Python, so nothing else than words may be among them."""
    variable = slug.replace("-", "_")
    if not (slug.isascii() and variable.isidentifier()) or keyword.iskeyword(variable):
        raise Invalid("A slug is lower case letters and digits, with single hyphens between: acme-hr")
    if not name.isprintable() or set('"\\$') & set(name):
        raise Invalid("The name must be plain text")
    return {"slug": slug, "name": name, "variable": variable}


def _find(path_or_slug: str) -> Provider[Any]:
    from tieline.catalog import load_catalog

    path = Path(path_or_slug)
    if path.exists():
        file = path / "provider.py" if path.is_dir() else path
        return _check_provider(_load(file), file)
    catalog = load_catalog()
    if path_or_slug in catalog.broken:
        raise _why_broken(path_or_slug, catalog.broken[path_or_slug])
    if path_or_slug not in catalog.providers:
        raise NotFound(
            f"There is neither a folder nor a provider {path_or_slug[:60]!r}",
            advice="Name a folder with a provider.py, or one of `tieline providers`.",
        )
    return catalog.providers[path_or_slug]


def _load(file: Path) -> dict[str, Any]:
    """The names that a file declares. Its folder is a package of its own, so that it may import its neighbours."""
    name = f"tieline_checked_{file.parent.resolve().name}"
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])
    if spec is None or spec.loader is None or not file.is_file():
        raise NotFound(f"{file} is not a Python file", advice="Name the folder of a provider, or its provider.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001  an author's mistake, of whatever type, is what this command is there to tell
        raise _cannot_load(error, str(file), home=file.parent) from None
    return vars(module)


def _why_broken(name: str, told: str) -> DeclarationError:
    """Import an installed provider once more: its author may see more than the catalog shows to everybody."""
    from tieline.catalog.find import GROUP

    for entry in entry_points(group=GROUP, name=name):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001  as above
            spec = importlib.util.find_spec(entry.module.partition(".")[0])
            home = Path(spec.origin) if spec and spec.origin else None
            if home and home.name == "__init__.py":
                home = home.parent
            return _cannot_load(error, f"{name} ({entry.value})", home=home)
    return DeclarationError("cannot-load", f"{name}: {told}")


def _cannot_load(error: Exception, what: str, *, home: Path | None) -> DeclarationError:
    """What went wrong, and at which line of what the author wrote: a folder, or a file."""
    place = _place_of(error, home.resolve()) if home else None
    where = f"{place[0]}, line {place[1]}" if place else what
    if isinstance(error, DeclarationError):
        return DeclarationError(error.rule, f"{where}: {error.message.removesuffix(f' [{error.rule}]')}")
    return DeclarationError("cannot-load", f"{where}: {type(error).__name__}: {error}")


def _place_of(error: Exception, home: Path) -> tuple[str, int] | None:
    """The last line there that the error passed through."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return error.filename, error.lineno
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = (at for at in reversed(lines) if home in (file := Path(at[0]).resolve(), *file.parents))
    return next(own, None)


def _check_text(text: str, folder: Path) -> None:
    """Check a scaffold before it is written, so that a bad slug leaves nothing behind."""
    names: dict[str, Any] = {"__name__": "scaffold"}
    exec(compile(text, str(folder / "provider.py"), "exec"), names)  # noqa: S102  our own template
    _check_provider(names, folder)


def _check_provider(names: dict[str, Any], file: Path) -> Provider[Any]:
    from tieline.catalog import compile_catalog, compile_operation
    from tieline.sdk import Provider

    found = {id(one): one for one in names.values() if isinstance(one, Provider)}
    if len(found) != 1:
        raise DeclarationError("not-a-provider", f"{file} declares {len(found)} providers at its top level, not one")
    (provider,) = found.values()
    catalog = compile_catalog([provider], [])
    for operation in provider.operations:
        compile_operation(catalog, provider.slug, operation)
    return provider
