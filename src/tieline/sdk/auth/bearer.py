"""What the kinds share whose requests carry an access token (RFC 6750)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2


@dataclass(frozen=True, kw_only=True)
class Bearer:
    """An access token in a header, after a prefix."""

    header: str = "Authorization"
    prefix: str = "Bearer "
    help: str = ""

    def sign(self, request: httpx2.Request, credential: Any) -> None:
        """Put the access token in its header."""
        request.headers[self.header] = self.prefix + credential.access_token.get_secret_value()
