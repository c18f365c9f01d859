"""Access tokens of a Google service account: from its key file, or from the metadata server of the machine.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest and
https://cloud.google.com/compute/docs/access/authenticate-workloads
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tieline.errors import KeyRingError
from tieline.vault.encryption import KeyFailure
from tieline.vault.rest import Rest

SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"
METADATA: Final = "http://metadata.google.internal"
_METADATA_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EARLY: Final = 120.0  # seconds before its end in which a token is not used any more


@dataclass(frozen=True)
class ServiceAccount:
    """What a key file says of an account."""

    email: str
    token_uri: str
    private_key: str = field(repr=False)
    private_key_id: str = ""


class AccessTokens:
    """The access token in force, renewed before it ends; without an account, that of the machine."""

    def __init__(
        self,
        rest: Rest,
        account: ServiceAccount | None,
        *,
        metadata: str = METADATA,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rest = rest
        self._account = account
        self._metadata = metadata
        self._now = now
        self._renewing = asyncio.Lock()
        self._token = ""
        self._until = 0.0

    async def get(self) -> str:
        """A token that works for a while yet; raises `KeyFailure`."""
        async with self._renewing:
            if self._now() >= self._until:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        if self._account is None:
            url, headers = f"{self._metadata}{_METADATA_PATH}", {"Metadata-Flavor": "Google"}
            answer = await self._rest.ask("GET", url, headers=headers)
        else:
            form = {"grant_type": _GRANT, "assertion": self._assertion(self._account)}
            answer = await self._rest.ask("POST", self._account.token_uri, data=form)
        token, lifetime = answer.content.get("access_token"), answer.content.get("expires_in")
        if answer.status >= 400:
            raise KeyFailure("denied") if answer.status < 429 else answer.failure
        if not isinstance(token, str) or not isinstance(lifetime, int | float):
            raise KeyFailure("unexpected")
        self._token, self._until = token, self._now() + lifetime - _EARLY

    def _assertion(self, account: ServiceAccount) -> str:
        from joserfc import jwt
        from joserfc.jwk import RSAKey

        now = int(self._now())
        claims = {"iss": account.email, "scope": SCOPE, "aud": account.token_uri, "iat": now, "exp": now + 3600}
        header = {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
        return jwt.encode(header, claims, RSAKey.import_key(account.private_key), algorithms=["RS256"])


def read_account(path: Path) -> ServiceAccount:
    """The service account in a key file; raises `KeyRingError`, which quotes nothing of it."""
    try:
        content: Any = json.loads(path.read_bytes())
        account = ServiceAccount(
            content["client_email"], content["token_uri"], content["private_key"], content["private_key_id"]
        )
        _verify(account)
    except OSError as error:
        raise KeyRingError(f"TIELINE_GCP_CREDENTIALS cannot be read: {error.strerror}.") from None
    except Exception:  # noqa: BLE001  parsers' messages quote what they parse
        raise KeyRingError("TIELINE_GCP_CREDENTIALS is not the key file of a service account.") from None
    return account


def _verify(account: ServiceAccount) -> None:
    """Raises whatever a key that cannot sign, or an address that is none, makes of it."""
    from joserfc.jwk import RSAKey

    RSAKey.import_key(account.private_key)
    if not account.token_uri.startswith(("https://", "http://127.0.0.1:")):
        raise ValueError("not an address for tokens")
