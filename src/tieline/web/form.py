"""What a form sent: `application/x-www-form-urlencoded`, capped, read once, and (in `page`) checked to be this session's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request

from tieline.api.body import UnsupportedMediaType, read_body
from tieline.errors import RequestError

CSRF_FIELD = "csrf"
_TYPE = "application/x-www-form-urlencoded"
_MAX_FIELDS = 500
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class BadForm(RequestError):
    """What was sent is not a form."""

    slug = "bad-form"
    status = 400
    advice = "Go back, reload the page, and send the form again."


@dataclass(frozen=True)
class Form:
    """The fields of a form. Nothing of it is shown in a repr: forms carry secrets."""

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def get(self, name: str, default: str = "") -> str:
        """A field's last value, with line feeds alone as line ends, or the default if it was not sent."""
        values = self.fields.get(name)
        return values[-1].replace("\r\n", "\n") if values else default

    def all(self, name: str) -> list[str]:
        """Every value that was sent under a name."""
        return list(self.fields.get(name, ()))


async def read_form(request: Request) -> Form:
    """The form of a request; raises `UnsupportedMediaType`, `TooLarge` or `BadForm`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise UnsupportedMediaType("This was not sent as a form", advice="Use the page's own form.")
    content = await read_body(request)
    try:
        pairs = parse_qsl(
            content.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:  # the message would quote the form
        raise BadForm("This form cannot be read") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        if _UNSTORABLE.search(value):
            raise BadForm("This form holds a character that cannot be kept")
        fields.setdefault(name, []).append(value)
    return Form(fields)
