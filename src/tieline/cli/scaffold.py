"""What `tieline provider new` writes: a provider that loads and conforms, with the places to fill in."""

from __future__ import annotations

from string import Template
from typing import Final

PROVIDER: Final = Template('''\
"""$name: its people, read with an API key."""

from tieline.sdk import Account, ApiKey, Cursor, Identity, Options, Provider

$variable: Provider[Options] = Provider(
    slug="$slug",
    name="$name",
    category="other",
    description="People and whether they are active.",
    base_url="https://api.$slug.example/v1",
    auth=ApiKey(header="Authorization", prefix="Bearer ", help="$name → Settings → API → New read-only key"),
    # The test call: it proves the credential, and says whose account it opens.
    identity=Identity("/me", id="account.id", name="account.name"),
)

people = $variable.listing(
    "people",
    "/people",
    items="data",  # the list within the answer, by dotted name
    pages=Cursor("after", at="paging.next"),
    every="6h",
    # Each field is a CEL expression over `payload`, one record as the API sent it.
    into=Account.map(
        external_id="string(payload.id)",
        email="payload.email",
        display_name="payload.name",
        status="payload.active ? 'active' : 'inactive'",
    ),
)
''')

README: Final = Template("""\
# $name

What it reads, which permissions that needs, and where a person makes the credential. Say also what it cannot tell, and what a
person must do at $name after disconnecting.

    tieline provider check $variable            every rule, proven by the fixtures
    tieline provider record $variable           write fixtures from a test account's real answers
    pytest $variable                            the same rules, as tests

To install it, lay this beside the folder as `pyproject.toml` and run `pip install .`; `tieline providers` then lists it:

    [project]
    name = "tieline-$slug"
    version = "0.1.0"
    dependencies = ["tieline"]

    [project.entry-points."tieline.providers"]
    $slug = "$variable.provider:$variable"
""")

TEST: Final = Template('''\
"""$name keeps every rule of a provider."""

from pathlib import Path

from tieline.sdk.testing import conformance

test_conformance = conformance(Path(__file__).parent)
''')

LOGO: Final = Template("""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
  <rect width="32" height="32" rx="6" fill="#3a5a78"/>
  <circle cx="16" cy="16" r="7" fill="#fff"/>
</svg>
""")

CASE: Final = Template("""\
{
  "credential": {
    "api_key": "made-up-key-of-nobody-0001"
  },
  "account": {
    "id": "1001",
    "name": "Example Company"
  }
}
""")

ANSWERS: Final = Template("""\
[
  {
    "ask": "GET /me",
    "body": {"account": {"id": "1001", "name": "Example Company"}}
  },
  {
    "ask": "GET /people",
    "body": {
      "data": [{"id": 1, "email": "ada@example.com", "name": "Ada Example", "active": true}],
      "paging": {"next": "page-2"}
    }
  },
  {
    "ask": "GET /people?after=page-2",
    "body": {
      "data": [{"id": 2, "email": "ben@example.com", "name": "Ben Example", "active": false}],
      "paging": {"next": null}
    }
  }
]
""")

ENTITIES: Final = Template("""\
{
  "people": [
    {
      "kind": "account",
      "external_id": "1",
      "email": "ada@example.com",
      "display_name": "Ada Example",
      "type": "person",
      "status": "active",
      "active": true
    },
    {
      "kind": "account",
      "external_id": "2",
      "email": "ben@example.com",
      "display_name": "Ben Example",
      "type": "person",
      "status": "inactive",
      "active": false
    }
  ]
}
""")

BESIDE: Final = {
    "README.md": README,
    "logo.svg": LOGO,
    "test_conformance.py": TEST,
    "fixtures/case.json": CASE,
    "fixtures/answers.json": ANSWERS,
    "fixtures/entities.json": ENTITIES,
}
"""What lies beside `provider.py`: enough that every rule is kept from the first minute."""
