"""Gemini: the models that an API key reaches, by Google's Gemini API.

The API tells nothing about whose key it is, and nothing about people or other keys: those belong to the Google Cloud project.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from tieline.sdk import ApiKey, Asset, Context, Identified, Options, PageToken, Provider, Unauthorised, Unexpected


class GeminiOptions(Options):
    """Whose key it is, which Gemini does not tell."""

    project: str | None = Field(
        default=None,
        title="Project",
        description="The Google Cloud project of the key. Needed only to connect more than one.",
        pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$",
    )


async def identify(ctx: Context[GeminiOptions]) -> Identified:
    """The project that the person named, or simply Gemini; the call itself proves that the key works."""
    await _page(ctx, None, size=1)
    project = ctx.options.project
    return Identified(id=project or "gemini", name=project or "Gemini API")


gemini: Provider[GeminiOptions] = Provider(
    slug="gemini",
    name="Gemini",
    category="ai",
    description="The models that an API key reaches.",
    docs_url="https://ai.google.dev/api",
    base_url="{api}",
    hosts={"api": "https://generativelanguage.googleapis.com"},
    auth=ApiKey(
        header="x-goog-api-key",
        pattern=r"AIza[A-Za-z0-9_-]+|AQ\.[A-Za-z0-9_.-]+",
        example="AIzaSy…",
        help="Google AI Studio → Get API key. Standard keys begin with AIza, authorization keys with AQ.",
    ),
    options=GeminiOptions,
    identity=identify,
    remains="Delete the key in Google AI Studio → Get API key, if nothing else uses it.",
)


@gemini.sync(
    Asset.map(
        external_id="payload.name",
        name="has(payload.displayName) ? payload.displayName : payload.name",
        type="'model'",
    ),
    every="1d",
)
async def models(ctx: Context[GeminiOptions]) -> AsyncIterator[dict[str, Any]]:
    """Models that the key reaches."""

    async def fetch(cursor: str | None) -> tuple[list[Any], str | None]:
        return await _page(ctx, cursor, size=100)

    async for model in ctx.each(fetch):
        yield model


async def _page(ctx: Context[GeminiOptions], cursor: str | None, *, size: int) -> tuple[list[Any], str | None]:
    """A page of models. A bad key is answered by 400, whose reason says so (google.rpc.ErrorInfo)."""
    pages = PageToken(size_param="pageSize", size=size)
    answer = await ctx.request("GET", "/v1beta/models", params=pages.request(cursor).params, accept=(400,))
    if answer.status == 400:
        if b"API_KEY_INVALID" in answer.body or b"API_KEY_EXPIRED" in answer.body:
            raise answer.fail(Unauthorised, f"refused the credential (400 for {answer.asked})")
        raise answer.fail(Unexpected, f"answered 400 to {answer.asked}")
    found = pages.read(answer, "models?")
    return found, pages.next(cursor, answer, found)
