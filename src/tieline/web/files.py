"""Static files: served under names that hold a hash of their content, so that browsers may keep them for good."""

from __future__ import annotations

import gzip
import importlib.resources
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from tieline.errors import NotFound

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class File:
    """A file in memory, as it is and compressed."""

    address: str
    content: bytes
    packed: bytes
    media_type: str


def address_of(name: str, package: str = "tieline.web") -> str:
    """The last part of a file's address, such as `console.3f2a91c04b1d.css`; raises `KeyError`."""
    return _files(package)[name].address


def serve(request: Request, address: str, package: str = "tieline.web") -> Response:
    """A file of a package's `static` folder by its address; raises `NotFound`, also for the address of a former release."""
    found = next((file for file in _files(package).values() if file.address == address), None)
    if found is None:
        raise NotFound("There is no such file")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.content, headers=headers, media_type=found.media_type)


@cache
def _files(package: str) -> dict[str, File]:
    folder = importlib.resources.files(package) / "static"
    return {one.name: _load(one.name, one.read_bytes()) for one in folder.iterdir() if one.is_file()}


def _load(name: str, content: bytes) -> File:
    stem, _, ending = name.rpartition(".")
    address = f"{stem}.{sha256(content).hexdigest()[:12]}.{ending}"
    return File(address, content, gzip.compress(content, 9, mtime=0), _TYPES[ending])
