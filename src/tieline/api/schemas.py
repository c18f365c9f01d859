"""What the rows of all nouns are made of: ids, times, pages of rows, and the parameters of a listing."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import orjson
from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from tieline.sdk.entities import KINDS
from tieline.store.listing import MAX_LIMIT, Paging

T = TypeVar("T")

_DIGITS = "[0-7][0-9a-hjkmnp-tv-z]{25}"
_EXAMPLE = "01k0c4m2w8eyv9x3f5t7h1n6qp"
MEMBER = f"mem_{_DIGITS}"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
SLUG = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"


def id_of(prefix: str, about: str) -> Any:
    """A row's id in an answer."""
    return Field(description=about, examples=[f"{prefix}_{_EXAMPLE}"])


def id_in_path(prefix: str, about: str) -> Any:
    """An id in a path; one of another form is answered like one that does not exist."""
    return Path(description=about, examples=[f"{prefix}_{_EXAMPLE}"])


def id_in_query(prefix: str, about: str) -> Any:
    """An id to filter by."""
    pattern = f"^{prefix}_{_DIGITS}$"
    return Field(default=None, description=about, pattern=pattern, examples=[f"{prefix}_{_EXAMPLE}"])


def time_of(about: str) -> Any:
    """A time in an answer."""
    return Field(description=about, examples=["2026-01-31T12:00:00.000000Z"])


class Row(BaseModel):
    """A row in an answer; rows may get more members in later releases.

    No answer is validated, so that only who asks for the API's document waits until this is compiled.
    """

    model_config = ConfigDict(defer_build=True)


class Reason(Row):
    """Why something is in its state."""

    slug: str | None = Field(description="The kind of reason, for programs.", examples=["credential-rejected"])
    message: str | None = Field(description="The reason in words.", examples=["Okta API key is invalid or expired"])


class Page(BaseModel, Generic[T]):
    """One page of rows."""

    model_config = ConfigDict(defer_build=True)

    items: list[T] = Field(description="The rows.")
    next: str | None = Field(
        description="Give it as `cursor` to get the next page; null on the last one.", examples=[None]
    )


def _whole(value: Any) -> Any:
    """`limit=5` is a number; `limit=5.0`, `limit= 5` and `limit=true` are not."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("must be a whole number")
    return value


def _yes_or_no(value: Any) -> Any:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_yes_or_no)]
Limit = Annotated[int, BeforeValidator(_whole)]


class Filter(BaseModel):
    """The query parameters of a route; there are no others."""

    model_config = ConfigDict(extra="forbid")


class Paged(Filter):
    """The query parameters of a listing."""

    limit: Limit = Field(default=100, ge=1, le=MAX_LIMIT, description="How many rows at most.", examples=[100])

    @property
    def paging(self) -> Paging:
        """Which page is asked for."""
        return Paging(getattr(self, "cursor", None), self.limit)


def cursor_of(prefix: str) -> Any:
    """The cursor of a noun's listing: the id of the last row shown."""
    return id_in_query(prefix, "The `next` of the page before.")


def text_in_query(about: str, example: str, pattern: str, *, most: int = 200) -> Any:
    """A text to filter by; the pattern keeps out what no stored text can hold."""
    return Field(default=None, description=about, examples=[example], pattern=pattern, max_length=most)


def provider_in_query() -> Any:
    """A provider to filter by."""
    return text_in_query("Only what comes from this provider.", "okta", SLUG, most=60)


def kind_in_query() -> Any:
    """A normalised kind to filter by."""
    pattern = f"^({'|'.join(KINDS)})$"
    return Field(default=None, description="Only those of this kind.", examples=["account"], pattern=pattern)


def check_in_query() -> Any:
    """A check to filter by."""
    return text_in_query("Only what this check says.", "mfa-enabled", r"^[a-z][a-z0-9.-]*$", most=120)


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999 in UTC") from None


def _written_out(value: Any) -> Any:
    """`2026-01-31` is a day; a number of seconds is not, nor is a time."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("must be a day such as 2026-01-31")
    return value


def _written(value: Any) -> Any:
    """A time as RFC 3339 writes it, not a number of seconds, which would be taken for one too."""
    if isinstance(value, str) and not _MOMENT.fullmatch(value):
        raise ValueError("must be a time with its zone, such as 2026-01-31T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
WrittenMoment = Annotated[Moment, BeforeValidator(_written)]
Day = Annotated[date, BeforeValidator(_written_out)]
Severity = Literal["critical", "high", "medium", "low", "info"]
Name = Annotated[str, Field(min_length=1, max_length=200, description="A name for people.", examples=["Okta, live"])]

# What a row of a connected account holds, whatever the noun
ConnectionId = Annotated[str, id_of("conn", "The connection that it comes from.")]
ProviderSlug = Annotated[str, Field(description="The provider's slug.", examples=["okta"])]
ExternalId = Annotated[str, Field(description="Its id at the provider.", examples=["00u1a2b3c4"])]

Way = Annotated[
    str,
    Field(
        description="The way to authenticate, by its slot.",
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=60,
        examples=["token"],
    ),
]
Credential = Annotated[
    dict[str, Any],
    Field(
        description="The credential's fields, as the provider's setup names them, at most 100 KB. No route gives it back.",
        examples=[{"token": "lks_…"}],
        json_schema_extra={"writeOnly": True},
        repr=False,
    ),
]


def answer(content: Any, status: int = 200) -> Response:
    """Rows as JSON; they are plain already, so nothing is validated again on the way out."""
    return Response(orjson.dumps(content), status, media_type="application/json")
