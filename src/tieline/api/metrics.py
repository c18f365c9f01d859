"""`/metrics`: what Prometheus asks for. Numbers over all organizations are for whoever operates Tieline, and nobody else.

Beside the API they are given for the token that the operator has set, or an operator's key. On a port of their own they are open as long as that is bound to
this machine alone; a port that others reach asks for the token.
"""

from __future__ import annotations

import hmac

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tieline.api.caller import authenticate
from tieline.errors import NotAuthenticated
from tieline.flows.readings import Readings
from tieline.telemetry import MEDIA_TYPE, expose

PATH = "/metrics"
_BEARER = "bearer "
_ADVICE = "Send the one of TIELINE_METRICS_TOKEN, or an operator's key: `tieline api-keys create --role operator`."


async def answer_metrics(readings: Readings) -> Response:
    """Everything there is to tell."""
    return Response(expose(await readings.look()), media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


async def check_reader(request: Request, token: SecretStr | None) -> None:
    """Raises `NotAuthenticated` or `NotAllowed` unless the request has the token, or is an operator's."""
    if not _has(request, token):
        if token and "Authorization" in request.headers:
            raise NotAuthenticated("The token is another one", advice=_ADVICE)
        caller = await authenticate(request, request.headers.get("X-API-Key"))
        caller.must_be("operator")


def create_metrics(readings: Readings, token: SecretStr | None) -> Starlette:
    """The application of a port of its own: for whoever has the token, or for everybody who reaches it if there is none."""

    async def show(request: Request) -> Response:
        if token and not _has(request, token):
            return PlainTextResponse("A token is needed.\n", 401, {"WWW-Authenticate": 'Bearer realm="tieline"'})
        return await answer_metrics(readings)

    async def check_health(_request: Request) -> Response:
        return PlainTextResponse("alive\n")

    return Starlette(routes=[Route(PATH, show), Route("/healthz", check_health)])


def _has(request: Request, token: SecretStr | None) -> bool:
    given = request.headers.get("Authorization", "")
    if token is None or not given.lower().startswith(_BEARER):
        return False
    return hmac.compare_digest(given[len(_BEARER) :].strip().encode(), token.get_secret_value().encode())
