"""`tieline provider`: write a provider of one's own."""

from __future__ import annotations

import importlib.util
import keyword
import traceback
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tieline.cli.exits import FAILED
from tieline.cli.scaffold import BESIDE, PROVIDER
from tieline.cli.session import NounGroup, current, run_async
from tieline.cli.show import say, show_json
from tieline.errors import DeclarationError, Invalid, NotFound

if TYPE_CHECKING:
    from tieline.catalog.grade import Grade
    from tieline.sdk import Provider
    from tieline.sdk.testing import Verdict
    from tieline.sdk.testing.record import Made


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
    """Lay out the folder of a provider that loads and conforms; then fill in what its API asks."""
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
        (folder / "fixtures").mkdir()
        for file, content in BESIDE.items():
            (folder / file).write_text(content.safe_substitute(words), encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{folder} cannot be written: {error.strerror}") from None
    if current().json:
        show_json({"id": slug, "path": str(folder / "provider.py")})
        return
    say(f"Made {folder}. Fill in {folder / 'provider.py'}, then: tieline provider check {folder}")


@command.command("check")
@click.argument("path_or_slug")
@click.option(
    "--prove", is_flag=True, help="If every rule is kept, note so beside the fixtures: its grade depends on it."
)
def check(path_or_slug: str, prove: bool) -> None:
    """Check every rule of a provider's declaration; if it has fixtures, prove by them that it conforms.

    It is found in a folder, a file or the catalog.
    """
    from tieline.catalog import load_catalog
    from tieline.catalog.grade import grade_of, write_proof
    from tieline.flows.catalog_views import provider_row

    current().start_log("error")
    provider, folder = _find(path_or_slug)
    verdicts = _prove(provider, folder)
    kept = [one.rule for one in verdicts if one.fault is None]
    if prove and folder and verdicts and len(kept) == len(verdicts):
        write_proof(folder, kept)
    neutral = [one for one in load_catalog().checks if one.provider is None]
    grade = grade_of(provider, neutral, folder)
    row = provider_row(provider, neutral) | {"checks": [one.id for one in provider.checks], "grade": grade.name}
    if current().json:
        show_json(row | {"rules": [asdict(one) for one in verdicts], "lacks": list(grade.lacks)})
    else:
        _say_declared(row)
        _say_proven(verdicts, grade, folder)
    if len(kept) < len(verdicts):
        click.get_current_context().exit(FAILED)


@command.command("record")
@click.argument("path_or_slug")
@click.option("--by", metavar="SLOT", help="The way to authenticate, if not the recommended one.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="A choice that is no secret.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    metavar="NAME=-|@FILE",
    help="A field of the credential: from standard input (several: a line each) or a file.",
)
@click.option("--force", is_flag=True, help="Write over the fixtures that are there.")
def record(
    path_or_slug: str, by: str | None, options: tuple[str, ...], credentials: tuple[str, ...], force: bool
) -> None:
    """Read an account once and write what was asked and answered as fixtures, with stand-ins for all that tells of whom.

    Use a test account with a few of each thing, and read what was written before you commit it.
    """
    from pydantic import ValidationError

    from tieline.cli.given import read_credential, read_options
    from tieline.sdk.testing import Subject
    from tieline.sdk.testing.record import record as make

    current().start_log("error")
    provider, folder = _find(path_or_slug)
    if folder is None:
        raise Invalid(f"{provider.slug} is nowhere on disk to write to", advice="Name the folder of its provider.py.")
    if (folder / "fixtures").exists() and not force:
        raise Invalid(f"{folder / 'fixtures'} exists already", advice="Give --force to write over it.")
    auth = provider.mode(by)
    chosen, given = read_options(provider, options), read_credential(auth, credentials)
    try:
        credential = auth.credential.model_validate(given)
        provider.options.model_validate(chosen)
    except ValidationError as error:
        fields = sorted({str(one["loc"][0]) for one in error.errors() if one["loc"]})
        raise Invalid(f"These fields are missing or wrong: {', '.join(fields)}") from None
    policy = current().read_settings().address_policy
    made = run_async(
        make(Subject(provider, folder), slot=auth.slot, options=chosen, credential=credential, policy=policy)
    )
    if current().json:
        show_json({"files": [str(one) for one in made.files], "answers": made.answers, "entities": made.entities,
                   "faults": made.faults})  # fmt: skip
    else:
        _say_recorded(made)
    if made.faults:
        click.get_current_context().exit(FAILED)


def _prove(provider: Provider[Any], folder: Path | None) -> list[Verdict]:
    from tieline.sdk.testing import Subject, run_suite

    if folder is None or not (folder / "fixtures").exists():
        return []
    return run_async(run_suite(Subject(provider, folder)))


def _say_declared(row: dict[str, Any]) -> None:
    say(f"{row['name']} ({row['id']}) is well declared.")
    for one in row["operations"]:
        say(f"  {one['id']:<24} {', '.join(one['entities'])}; every {one['every_seconds'] // 60} min")
    for name in row["checks"]:
        say(f"  check {name}")


def _say_proven(verdicts: list[Verdict], grade: Grade, folder: Path | None) -> None:
    if not verdicts:
        say(f"It has no fixtures{f' in {folder}' if folder else ''}, so nothing is proven: tieline provider record")
        return
    for one in verdicts:
        say(
            f"  {'kept  ' if one.fault is None else 'BROKEN'}  {one.says}"
            + (f"\n          {one.fault}" if one.fault else "")
        )
    say(f"Grade: {grade.name or 'none'}" + (f"; the next lacks {'; '.join(grade.lacks)}" if grade.lacks else ""))


def _say_recorded(made: Made) -> None:
    say(f"Wrote {made.answers} answers: " + ", ".join(f"{count} {name}" for name, count in made.entities.items()))
    for file in made.files:
        say(f"  {file}")
    say(
        "Read them before you commit: names of fields are kept, as are single letters, numbers below 10,000, dates, and words that "
        "the provider's own source or the normalised kinds know. Cut long lists down to two short pages."
    )
    for fault in made.faults:
        say(f"  does not replay: {fault}")


def _words(slug: str, name: str) -> dict[str, str]:
    """The words that a scaffold is filled with; they become Python, so nothing else than words may be among them."""
    variable = slug.replace("-", "_")
    if not (slug.isascii() and variable.isidentifier()) or keyword.iskeyword(variable):
        raise Invalid("A slug is lower case letters and digits, with single hyphens between: acme-hr")
    if not name.isprintable() or set('"\\$') & set(name):
        raise Invalid("The name must be plain text")
    return {"slug": slug, "name": name, "variable": variable}


def _find(path_or_slug: str) -> tuple[Provider[Any], Path | None]:
    """A provider, and the folder that it is in."""
    from tieline.catalog import load_catalog
    from tieline.catalog.grade import find_folder

    path = Path(path_or_slug)
    if path.exists():
        file = path / "provider.py" if path.is_dir() else path
        return _check_provider(_load(file), file), file.parent
    catalog = load_catalog()
    if path_or_slug in catalog.broken:
        raise _why_broken(path_or_slug, catalog.broken[path_or_slug])
    if path_or_slug not in catalog.providers:
        raise NotFound(
            f"There is neither a folder nor a provider {path_or_slug[:60]!r}",
            advice="Name a folder with a provider.py, or one of `tieline providers`.",
        )
    return catalog.providers[path_or_slug], find_folder(catalog.providers[path_or_slug])


def _load(file: Path) -> dict[str, Any]:
    """The names that a file declares."""
    from tieline.sdk.testing.subject import import_file

    if not file.is_file() or file.suffix != ".py":
        raise NotFound(f"{file} is not a Python file", advice="Name the folder of a provider, or its provider.py.")
    try:
        return vars(import_file(file))
    except Exception as error:  # noqa: BLE001  an author's mistake, of whatever type, is what this command is there to tell
        raise _cannot_load(error, str(file), home=file.parent) from None


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
