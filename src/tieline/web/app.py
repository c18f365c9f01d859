"""The console put onto the API's application: its pages, its static files, and pages for what no route takes."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tieline.web.files import serve
from tieline.web.pages import (
    access,
    api_keys,
    audit,
    catalogue,
    connect,
    connection,
    connection_actions,
    connections,
    controls,
    entities,
    entity,
    evidence,
    finding,
    findings,
    home,
    lab,
    oauth_apps,
    operator,
    passkeys,
    runs,
    search,
    sessions,
    sign_in,
    switch,
    theme,
)
from tieline.web.route import ConsoleRoute, on_unrouted

NOUNS = (
    home,
    sign_in,
    switch,
    search,
    theme,
    access,
    sessions,
    passkeys,
    api_keys,
    oauth_apps,
    controls,
    evidence,
    findings,
    finding,
    audit,
    entities,
    entity,
    operator,
    runs,
    catalogue,
    connect,
    connections,
    connection,
    connection_actions,
    lab,
)


def add_console(app: FastAPI) -> None:
    """Add the console; its root takes the place of whatever was at `/`."""
    app.router.routes[:] = [one for one in app.router.routes if getattr(one, "path", None) != "/"]
    for noun in NOUNS:
        app.include_router(noun.router, include_in_schema=False)
    app.include_router(_files, include_in_schema=False)
    app.add_exception_handler(HTTPException, on_unrouted)


_files = APIRouter(route_class=ConsoleRoute)


@_files.get("/static/{address}")
async def serve_file(request: Request, address: str) -> Response:
    """A static file."""
    return serve(request, address)
