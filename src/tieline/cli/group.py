"""The root of the command: its commands by topic, each imported when it is called and not before."""

from __future__ import annotations

import importlib

import click

from tieline.cli import exits
from tieline.cli.session import shared_options

TOPICS: dict[str, dict[str, str]] = {
    "Begin": {
        "demo": "See the whole product on an invented company, with no account anywhere.",
        "serve": "Run the console, the API and the workers; --role splits them over machines.",
        "worker": "Run the workers alone.",
    },
    "Connect and read": {
        "providers": "What can be connected, and what that needs.",
        "connect": "Connect an account and queue its first syncs.",
        "connect-sessions": "Links by which a person connects an account: list, create, show, cancel.",
        "oauth-apps": "Your OAuth apps at the providers: list, set, remove, availability.",
        "connections": "The connected accounts: list, test, pause, rotate, disconnect …",
        "sync": "Read a connection now, or all of them; --wait shows the progress.",
        "runs": "What ran and what became of it: list, cancel, retry, release …",
    },
    "Look": {
        "entities": "What was read, normalised.",
        "findings": "What is wrong: list, groups, assign, mute, unmute.",
        "checks": "The rules that are checked, and how the answers stand.",
        "evidence": "Statements for and against controls: list, pack, verify, materialise.",
        "controls": "Each control of a framework and the evidence for it.",
    },
    "Look after it": {
        "orgs": "Organizations: list, create.",
        "members": "Who may sign in to the console: list, invite, link, remove.",
        "api-keys": "Keys for the API: list, create, revoke.",
        "audit": "Who did what: list, verify that nobody touched it, export.",
        "keys": "The keys that seal credentials: list, rotate.",
        "backup": "All that is stored in one file: create, verify, restore; key-ring copies the keys.",
        "settings": "Every setting, its value in force and what it means.",
        "migrate": "Bring the database to the form that this release needs.",
        "doctor": "Check that all is well, and say what to do where it is not.",
    },
    "Extend": {
        "provider": "Write a provider of your own: new, check.",
    },
}

_KNOWN = {name: summary for commands in TOPICS.values() for name, summary in commands.items()}


class Root(click.Group):
    """The root group: a command's module has its name, its `command` is what runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the signature is click's
        """All commands, in the order of the help."""
        return list(_KNOWN)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  the signature is click's
        """Import one command."""
        if cmd_name not in _KNOWN:
            return None
        module = importlib.import_module(f"tieline.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; one that does not exist is answered with those that are alike."""
        if args and not args[0].startswith("-") and args[0] not in _KNOWN:
            import difflib

            alike = difflib.get_close_matches(args[0], _KNOWN, n=3)
            hint = f" Did you mean {' or '.join(alike)}?" if alike else ""
            raise click.UsageError(f"There is no command {args[0][:60]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  the signature is click's
        """The commands by topic, without importing any."""
        width = max(map(len, _KNOWN))
        for topic, commands in TOPICS.items():
            with formatter.section(topic):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  the signature is click's
        """The exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code).rjust(3), meaning) for code, meaning in exits.MEANINGS.items()])
        formatter.write_paragraph()
        formatter.write_text("Settings come from the environment: `tieline settings` explains each.")


root = Root(
    name="tieline",
    params=shared_options(),
    help="See into your customers' systems, keep the evidence.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
root = click.version_option(package_name="tieline", message="tieline %(version)s")(root)
