"""What `tieline provider new` writes: a provider that loads, with the places to fill in."""

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

What it reads, which permissions that needs, and where a person makes the credential.

    tieline provider check $variable

To install it, lay this beside the folder as `pyproject.toml` and run `pip install .`; `tieline providers` then lists it:

    [project]
    name = "tieline-$slug"
    version = "0.1.0"
    dependencies = ["tieline"]

    [project.entry-points."tieline.providers"]
    $slug = "$variable.provider:$variable"
""")
