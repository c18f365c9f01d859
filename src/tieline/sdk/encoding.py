"""How parameters, forms and JSON are put on a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlencode

import orjson

Params: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]


def pairs(params: Params | None) -> list[tuple[str, Any]]:
    """Name and value pairs; a list of values repeats its name, `None` is left out."""
    given = params.items() if isinstance(params, Mapping) else params or ()
    return [
        (name, each)
        for name, value in given
        for each in (value if isinstance(value, (list, tuple)) else (value,))
        if each is not None
    ]


def encode(json: Any, form: Mapping[str, str] | None) -> tuple[dict[str, str], bytes | None]:
    """The headers and the body of a form, or of JSON; nothing of both if there is neither."""
    if form is not None:
        return {"content-type": "application/x-www-form-urlencoded"}, urlencode(form).encode()
    if json is not None:
        return {"content-type": "application/json"}, orjson.dumps(json)
    return {}, None
