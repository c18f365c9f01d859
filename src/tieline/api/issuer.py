"""The issuer's two documents, for clouds that trust Tieline without a stored secret; public by nature."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.api.caller import PartsOf
from tieline.api.schemas import answer
from tieline.flows.issuer import describe_issuer, list_public_keys

router = APIRouter(tags=["issuer"])


@router.get("/.well-known/openid-configuration", response_model=dict[str, Any])
async def get_issuer(parts: PartsOf) -> Response:
    """Describe the issuer of identity tokens (OpenID Connect Discovery 1.0)."""
    return answer(describe_issuer(parts))


@router.get("/.well-known/jwks.json", response_model=dict[str, Any])
async def get_issuer_keys(parts: PartsOf) -> Response:
    """List the public keys of the issuer (RFC 7517)."""
    return answer(await list_public_keys(parts))
