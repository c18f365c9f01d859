"""Where a page may send a person back to: paths of this console, never another host."""

from __future__ import annotations

import re

_LOCAL = re.compile(r"/(?![/\\])[!-~]*")


def local_path(given: str) -> str:
    """The path (and query) if it is one of this console, else the root."""
    return given if _LOCAL.fullmatch(given) and "\\" not in given else "/"
