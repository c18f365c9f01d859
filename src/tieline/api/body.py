"""Bodies: read with a cap, parsed as strictly as JSON can be, then checked against a model.

Refused are: another content type (415), more than 256 KiB (413), and, as 400, what is not UTF-8, a byte order mark, a name given
twice in one object, NUL and lone surrogates in texts, numbers beyond 64 bits or a double, and nesting deeper than 64.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from tieline.api.problem import invalid
from tieline.errors import RequestError, TooLarge

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
M = TypeVar("M", bound=BaseModel)

_JSON = re.compile(r'application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_INTEGERS = range(-(2**63), 2**64)


class UnsupportedMediaType(RequestError):
    """The body is not sent as JSON."""

    slug = "unsupported-media-type"
    status = 415
    advice = "Send JSON as application/json in UTF-8, not compressed."


class BadJson(RequestError):
    """The body is not JSON, or JSON that means different things to different readers."""

    slug = "bad-json"
    status = 400
    advice = "Send one JSON value as RFC 8259 describes it, no name twice in an object."


class Given(BaseModel):
    """What a caller sends: only the fields that there are, each of just its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)


class Nothing(Given):
    """A request that says all in its path: no body, or an empty object."""


class JsonBody(Generic[M]):
    """A dependency that reads the body as a model; `optional` allows no body at all, which reads as `{}`.

    Put it after the caller in a route's signature: who may not call is told so before anything is read.
    """

    def __init__(self, model: type[M], *, optional: bool = False) -> None:
        self.model = model
        self.optional = optional

    async def __call__(self, request: Request) -> M:
        """Read it; raises `UnsupportedMediaType`, `TooLarge`, `BadJson` or `Invalid`."""
        content = await read_body(request)
        if self.optional and not content:
            content = b"{}"
        else:
            _check_type(request)
        check_json(content)
        try:
            return self.model.model_validate_json(content, strict=True)
        except ValidationError as error:
            raise invalid(error, ["body"]) from None


async def read_body(request: Request) -> bytes:
    """The body, read once and kept on the request; raises `TooLarge` as soon as it is."""
    if not hasattr(request.state, "body"):
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_BYTES:
                raise TooLarge(f"The body is over {MAX_BYTES // 1024} KiB")
        request.state.body = bytes(content)
    body: bytes = request.state.body
    return body


def check_json(content: bytes) -> None:
    """Refuse what is not JSON that every reader reads alike; raises `BadJson`."""
    try:
        text = content.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError:
        raise BadJson("The body is not UTF-8") from None
    except RecursionError:
        raise BadJson(f"The body is nested deeper than {MAX_DEPTH}") from None
    except ValueError:  # also a number of too many digits; the message would quote the body
        raise BadJson("The body is not JSON") from None
    for one in _walk(value):
        if isinstance(one, str) and _UNSTORABLE.search(one):
            raise BadJson("A text holds NUL or half a surrogate pair")
        if isinstance(one, int) and one not in _INTEGERS:
            raise BadJson("A number is beyond 64 bits")


def _check_type(request: Request) -> None:
    if not _JSON.fullmatch(request.headers.get("content-type", "").strip()):
        raise UnsupportedMediaType("The body is not sent as application/json")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("The body is compressed")


def _walk(value: Any) -> Iterator[Any]:
    """Every value and every name; raises `BadJson` where it is too deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        yield from level
        yield from (name for one in level if isinstance(one, dict) for name in one)
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return
    raise BadJson(f"The body is nested deeper than {MAX_DEPTH}")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadJson("A name is given twice in one object")
    return found


def _refuse(_constant: str) -> Any:
    raise BadJson("NaN and infinities are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadJson("A number is beyond a double")
    return number
