"""The exit codes of the `tieline` command."""

from __future__ import annotations

from typing import Final

FINE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
RUN_FAILED: Final = 3
SETUP: Final = 4
STILL_WAITING: Final = 75  # EX_TEMPFAIL of sysexits.h: try again later
INTERRUPTED: Final = 130  # what a shell reports for a process that Ctrl-C ended

MEANINGS: Final = {
    FINE: "done (what an account does not offer is told on standard error)",
    FAILED: "the request failed",
    USAGE: "the command line is wrong",
    RUN_FAILED: "a run that was waited for failed, read only a part, was cancelled, is held or was stopped; or rows of an import "
    "were refused",
    SETUP: "Tieline is not set up right: settings, data directory, database, key ring, port",
    STILL_WAITING: "patience ran out while a provider made runs wait; they go on later",
    INTERRUPTED: "interrupted by Ctrl-C",
}
