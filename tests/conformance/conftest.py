"""A small provider in a folder of its own that keeps every rule, to be broken in one place at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tieline.sdk.testing import find_subject, run_suite
from tieline.sdk.testing.fixtures import write_json

PROVIDER = '''
"""Acme: its people, for tests."""

from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from tieline.sdk import Account, ApiKey, Context, Cursor, Forbidden, Group, Identity, Options, Policy, Provider, Unauthorised, Unavailable


class AcmeOptions(Options):
    """Which site."""

    site: str = Field(title="Site", description="The acme of acme.example.com.")


acme: Provider[AcmeOptions] = Provider(
    slug="acme",
    name="Acme",
    category="hr",
    description="People and policies.",
    base_url="https://{site}.example.com/v1",
    options=AcmeOptions,
    auth=ApiKey(header="X-Api-Key", help="Acme → Settings → New key"),
    identity=Identity("/me", id="account.id", name="account.name"),
)

PAGES = Cursor("after", at="next")


@acme.sync(
    Account.map(external_id="payload.id", email="payload.mail", display_name="payload.name"),
    every="6h",
)
async def people(ctx: Context[AcmeOptions]) -> AsyncIterator[Any]:
    """People."""
    async for person in ctx.pages("/people", pages=PAGES, items="data"):
        yield person


@acme.sync(
    Policy.map(external_id="payload.id", name="payload.name", type="'mfa'", mfa_required="payload.required"),
    every="6h",
)
async def policies(ctx: Context[AcmeOptions]) -> AsyncIterator[Any]:
    """Policies."""
    for policy in (await ctx.get("/policies"))["data"]:
        yield policy


@acme.check(Policy, severity="high", controls=["soc2:CC6.1"])
def mfa_is_required(policy: Policy) -> bool | None:
    """A second factor is required.

    Settings → Security → Require.
    """
    return policy.mfa_required
'''

CASE = {
    "options": {"site": "acme"},
    "credential": {"api_key": "acme_madeUpKeyOfNobody0001"},
    "account": {"id": "a-1", "name": "Acme"},
}
ANSWERS: list[dict[str, Any]] = [
    {"ask": "GET /me", "body": {"account": {"id": "a-1", "name": "Acme"}, "key": "acme_madeUpKeyOfNobody0001"}},
    {"ask": "GET /people", "body": {"data": [{"id": "1", "mail": "ada@example.com", "name": "Ada"}], "next": "two"}},
    {
        "ask": "GET /people?after=two",
        "body": {"data": [{"id": "2", "mail": "ben@example.com", "name": "Ben"}], "next": None},
    },
    {"ask": "GET /policies", "body": {"data": [{"id": "p1", "name": "All", "required": True}]}},
]
ENTITIES = {
    "people": [
        {"kind": "account", "external_id": "1", "email": "ada@example.com", "display_name": "Ada", "type": "person"},
        {"kind": "account", "external_id": "2", "email": "ben@example.com", "display_name": "Ben", "type": "person"},
    ],
    "policies": [{"kind": "policy", "external_id": "p1", "name": "All", "type": "mfa", "mfa_required": True}],
}
CHECKS = [
    {
        "check": "acme.mfa-is-required",
        "outcome": "fail",
        "entity": {"external_id": "p2", "name": "None", "type": "mfa", "mfa_required": False},
    }
]
LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="9"/></svg>\n'
README = "# Acme\n\n" + "It reads people and policies with a read-only key made under Settings. " * 4


class Acme:
    """The folder, and ways to spoil what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "fixtures").mkdir(parents=True)
        (folder / "provider.py").write_text(PROVIDER)
        (folder / "README.md").write_text(README)
        (folder / "logo.svg").write_text(LOGO)
        for name, content in (("case", CASE), ("answers", ANSWERS), ("entities", ENTITIES), ("checks", CHECKS)):
            write_json(folder / "fixtures" / f"{name}.json", content)

    def code(self, before: str, after: str) -> None:
        """Replace a part of the provider."""
        file = self.folder / "provider.py"
        assert before in file.read_text()
        file.write_text(file.read_text().replace(before, after))

    def fixture(self, name: str, change: Callable[[Any], Any]) -> None:
        """Change a fixture; `change` returns the new content, or `None` if it changed the old."""
        file = self.folder / "fixtures" / f"{name}.json"
        content = json.loads(file.read_text())
        changed = change(content)
        write_json(file, content if changed is None else changed)

    def faults(self) -> dict[str, str]:
        """What the suite has against it, by rule."""
        verdicts = asyncio.run(run_suite(find_subject(self.folder)))
        return {one.rule: one.fault for one in verdicts if one.fault}


@pytest.fixture
def acme(tmp_path: Path) -> Acme:
    """A provider that conforms."""
    return Acme(tmp_path / "acme")
