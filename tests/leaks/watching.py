"""The watch: which canaries are loose, and everything that was shown meanwhile, wherever it was."""

from __future__ import annotations

import json
import logging
import traceback
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.canaries import MARK, Canary, sightings

from tieline.errors import TielineError

_turns = count()
PIECE = Canary("a piece of a canary", MARK.encode())
"""Cut or escaped, a canary that was made as text still has its mark."""


@dataclass
class Watch:
    """The canaries let loose, and everything that was shown meanwhile."""

    canaries: list[Canary] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)

    @property
    def kinds(self) -> set[str]:
        """The kinds that are loose."""
        return {one.kind for one in self.canaries}

    def let_loose(self, credential: dict[str, Any]) -> dict[str, Any]:
        """Remember the secrets of a credential, by the names of their fields."""
        self.canaries += [Canary(name, value.encode()) for name, value in credential.items() if MARK in value]
        return credential

    def add(self, kind: str, *secrets: str | bytes) -> None:
        """Remember secrets that others made, once each."""
        made = [Canary(kind, one.encode() if isinstance(one, str) else one) for one in secrets]
        self.canaries += [one for one in made if one not in self.canaries]

    def add_key(self, kind: str, pem: str, *, numbers: Mapping[str, str] | None = None) -> None:
        """Remember a private key: lines from the middle of its PEM, and the private numbers of its JWK."""
        lines = [line for line in pem.splitlines() if not line.startswith("-----")]
        self.add(kind, *lines[3:-1:5])
        self.add(
            kind, *(urlsafe_b64decode(one + "==") for name, one in (numbers or {}).items() if name in {"d", "p", "q"})
        )

    def note(self, where: str, what: Any) -> None:
        """Something was shown."""
        self.shown.append((where, what if isinstance(what, str) else repr(what)))

    def note_error(self, where: str, error: BaseException) -> None:
        """Every way in which an error is printed."""
        self.note(where, "\n".join([str(error), repr(error), repr(error.args), repr(vars(error))]))
        self.note(f"{where}, traceback", "".join(traceback.format_exception(error)))

    def note_objects(self, where: str, objects: Iterable[Any]) -> None:
        """Every way in which an object is printed: by itself, in a list, in a text, in JSON, and what it is made of."""
        for one in objects:
            printed = [repr(one), str(one), f"{one}", repr([one]), json.dumps({"it": one}, default=str)]
            self.note(f"{where}, {type(one).__name__}", " ".join(printed))

    def leaks(self) -> list[str]:
        """Where which canary surfaced."""
        looked_for = [*self.canaries, PIECE]
        return sorted({f"{where}: {seen}" for where, text in self.shown for seen in sightings(text, looked_for)})


class Records(logging.Handler):
    """Our own loggers' records, as raw as they are made."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        """Note one. An exception that is not ours may say anything, and is there for whoever formats the record to tell its place."""
        made, error = dict(vars(record)), record.exc_info and record.exc_info[1]
        if error and not isinstance(error, TielineError):
            made.pop("exc_info")
        self._watch.note(f"record of {record.name}", f"{record.getMessage()} {made!r}")


@cache
def _pem(_number: int) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def new_pem() -> str:
    """A private key, PEM: one of four, for making one takes long."""
    return _pem(next(_turns) % 4)


def process_arguments() -> str:
    """The arguments of all processes that can be seen, as `ps` shows them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone in a moment
            found.append((folder / "cmdline").read_text(errors="replace"))
    return "\n".join(found)
