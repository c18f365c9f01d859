"""`tieline settings`: what can be set, and what is in force."""

from __future__ import annotations

import click

from tieline.cli.session import Command, current
from tieline.cli.show import plain, say, show_json

_SOURCES = {"default": "default", "file": "from a file", "command": "given by this command"}


@click.command("settings", cls=Command)
def command() -> None:
    """Show every setting: its value in force, and what it means. Secrets are masked."""
    session = current()
    rows = session.describe_settings(session.read_settings())
    if session.json:
        show_json({"items": rows, "next": None})
        return
    for row in rows:
        say(
            f"{row['name']}={plain(row['value'])}"
            + ("" if row["source"] == "environment" else f"  ({_SOURCES[row['source']]})")
        )
        say(f"  {row['about']}")
    say("\nA secret may stand in a file: TIELINE_DATABASE_URL_FILE, TIELINE_OAUTH_GITHUB_PRIVATE_KEY_FILE name one.")
