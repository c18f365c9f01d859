"""Connect put onto the application: its pages, its files, and the element at an address that stays."""

from __future__ import annotations

import gzip
import importlib.resources
from functools import cache
from hashlib import sha256

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from tieline.connect import pages, sign_in
from tieline.connect.route import PACKAGE, ConnectRoute
from tieline.web.files import serve

_ELEMENT_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "public, max-age=600",
    "Vary": "Accept-Encoding",
}
_files = APIRouter(route_class=ConnectRoute)


def add_connect(app: FastAPI) -> None:
    """Add the hosted pages and the element."""
    for router in (sign_in.router, pages.router, _files):  # in this order: a ticket may be any word but those
        app.include_router(router, include_in_schema=False)


@_files.get("/connect-static/{address}")
async def serve_connect_file(request: Request, address: str) -> Response:
    """A static file of the pages."""
    return serve(request, address, PACKAGE)


@_files.get("/connect.js")
async def serve_element(request: Request) -> Response:
    """The element, for any site; asked for again after ten minutes, so that a mended one arrives."""
    plain, packed, tag = _element()
    headers = _ELEMENT_HEADERS | {"ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    kind = "text/javascript; charset=utf-8"
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=kind)
    return Response(plain, headers=headers, media_type=kind)


@cache
def _element() -> tuple[bytes, bytes, str]:
    plain = (importlib.resources.files(PACKAGE) / "static" / "connect.js").read_bytes()
    return plain, gzip.compress(plain, 9, mtime=0), f'W/"{sha256(plain).hexdigest()[:16]}"'
