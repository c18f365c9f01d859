"""The application: routers, problems and the frame put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tieline.api import issuer, metrics
from tieline.api.caller import PartsOf
from tieline.api.describe import openapi_of, problem_response
from tieline.api.docs import render_docs
from tieline.api.frame import Frame
from tieline.api.problem import on_error, on_http_error, on_invalid
from tieline.api.schemas import answer
from tieline.api.v1 import (
    api_keys,
    audit,
    connect_sessions,
    connections,
    controls,
    credentials,
    entities,
    events,
    evidence,
    findings,
    imports,
    keys,
    mappings,
    members,
    oauth,
    oauth_apps,
    platform,
    providers,
    runs,
)
from tieline.errors import TielineError
from tieline.flows.parts import Parts
from tieline.flows.readings import Readings

NOUNS = (
    providers,
    oauth_apps,
    oauth,
    imports,
    connect_sessions,
    connections,
    credentials,
    mappings,
    runs,
    entities,
    findings,
    controls,
    evidence,
    events,
    audit,
    members,
    api_keys,
    keys,
    platform,
)

_ABOUT = """Connect accounts, read them, and keep evidence of what is found.

Send an API key in `X-API-Key`. Lists are `{"items": […], "next": cursor or null}`; give `next` as `cursor` for the next page. Refusals
and failures are `application/problem+json` with a stable `slug`. A POST may carry an `Idempotency-Key`.
"""


_NOT_ITS_OWN: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""The framework would tell paths and queries, which hold what opens a sign-in, and the messages of errors; `Frame` tells what is needed."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


class Ring(Protocol):
    """What the API needs of the key ring."""

    @property
    def api_key_pepper(self) -> bytes:
        """The key under which API keys are hashed."""
        ...


class Started(Protocol):
    """A running Tieline."""

    @property
    def parts(self) -> Parts:
        """Its parts."""
        ...

    @property
    def ring(self) -> Ring:
        """Its key ring."""
        ...

    @property
    def readings(self) -> Readings:
        """How it stands, for metrics."""
        ...

    @property
    def metrics_token(self) -> SecretStr | None:
        """The token of whoever may read metrics."""
        ...


def create_api(
    parts: Parts, ring: Ring, *, readings: Readings | None = None, metrics_token: SecretStr | None = None
) -> FastAPI:
    """The API over parts that run already."""
    app = _assemble()
    _equip(app, parts, ring, readings or Readings(parts, role="server"), metrics_token)
    return app


def create_mounted(started: Callable[[], AbstractAsyncContextManager[Started]]) -> FastAPI:
    """An API that starts Tieline with itself and stops it at the end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with started() as running:
            _equip(app, running.parts, running.ring, running.readings, running.metrics_token)
            yield

    return _assemble(lifespan)


class Stopping(TielineError):
    """The process was told to stop: it ends what it has begun, and should be sent nothing more."""

    slug = "stopping"
    status = 503
    advice = "Ask another process of the same Tieline."


def _equip(app: FastAPI, parts: Parts, ring: Ring, readings: Readings, metrics_token: SecretStr | None) -> None:
    app.state.parts = parts
    app.state.pepper = ring.api_key_pepper
    app.state.readings = readings
    app.state.metrics_token = metrics_token
    app.state.stopping = False  # whoever runs the server says so


def _assemble(lifespan: Any = None) -> FastAPI:
    app = FastAPI(
        title="Tieline",
        version=version("tieline"),
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=_named_by_function,
        telemetry=_NOT_ITS_OWN,
    )
    for noun in NOUNS:
        app.include_router(noun.router, prefix="/v1")
    app.include_router(issuer.router)
    _add_health(app)
    app.add_exception_handler(TielineError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_middleware(Frame)
    app.openapi = lambda: openapi_of(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _named_by_function(route: APIRoute) -> str:
    return route.name


def _add_health(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def go_to_docs() -> Response:
        """Go to the documentation."""
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    async def show_docs() -> Response:
        """Show the documentation."""
        return HTMLResponse(render_docs(app.openapi()), headers={"Content-Security-Policy": _POLICY})

    @app.get("/healthz", tags=["health"])
    async def check_health() -> dict[str, str]:
        """Say that the process is alive; it depends on nothing."""
        return {"status": "alive"}

    @app.get(metrics.PATH, include_in_schema=False)
    async def show_metrics(request: Request) -> Response:
        """Tell Prometheus how everything stands."""
        await metrics.check_reader(request, request.app.state.metrics_token)
        return await metrics.answer_metrics(request.app.state.readings)

    @app.get("/readyz", tags=["health"], responses={503: problem_response(503)})
    async def check_readiness(request: Request, parts: PartsOf) -> Response:
        """Say whether requests can be served: whether the database can be reached, and the process is not about to end."""
        if request.app.state.stopping:
            raise Stopping("This process is about to end")
        await parts.db.verify()
        return answer({"status": "ready"})
