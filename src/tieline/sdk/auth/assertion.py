"""JWTs that Tieline signs: to prove at a token endpoint who asks, or as the token itself (RFC 7519, RFC 7515)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from tieline.errors import Invalid

if TYPE_CHECKING:  # what reads and uses keys takes a third of a second to load, and few processes sign anything
    from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

    Key: TypeAlias = RSAKey | ECKey | OKPKey | OctKey

_LIFETIME = timedelta(minutes=5)
_KEY = re.compile(r"-----BEGIN ((?:RSA |EC )?PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


def sign_jwt(
    key: str, claims: Mapping[str, Any], *, headers: Mapping[str, str] | None = None, algorithm: str | None = None
) -> str:
    """A compact JWT. `key` is a private key in PEM (RSA, EC or Ed25519), or the shared secret if `algorithm` is `HS256` or the like.

    The algorithm follows from the key unless it is given. Raises `Invalid` if the key cannot be read or used.
    """
    from joserfc import jwt
    from joserfc.errors import JoseError

    try:
        private = _read_key(key, shared=bool(algorithm and algorithm.startswith("HS")))
        chosen = algorithm or _algorithm_of(private)
        return jwt.encode({"alg": chosen, **(headers or {})}, dict(claims), private, algorithms=[chosen])
    except (JoseError, ValueError, TypeError):
        raise Invalid(
            "The private key cannot be read or does not fit",
            advice="Give an unencrypted private key in PEM, from -----BEGIN to -----END, with all its lines.",
        ) from None


def client_assertion(client_id: str, key: str, audience: str, now: datetime, *, key_id: str | None = None) -> str:
    """Says that a client is who it claims to be (RFC 7523, section 3).

    A certificate beside the key is told of by its thumbprint (`x5t#S256`), which those want who know the client's certificate.
    """
    claims = {"iss": client_id, "sub": client_id, "aud": audience, "jti": uuid4().hex}
    thumbprint = _thumbprint(key)
    headers = {"x5t#S256": thumbprint} if thumbprint else {"kid": key_id} if key_id else {}
    # A certificate's key is an RSA key, and PS256 what those who ask for its SHA-256 thumbprint ask for besides.
    return sign_jwt(key, claims | times(now, _LIFETIME), headers=headers, algorithm="PS256" if thumbprint else None)


def times(now: datetime, lifetime: timedelta, *, early: timedelta = timedelta(0)) -> dict[str, int]:
    """The claims `iat` and `exp`; `early` dates it back, for clocks that are behind."""
    return {"iat": int((now - early).timestamp()), "exp": int((now + lifetime).timestamp())}


def _read_key(text: str, *, shared: bool) -> Key:
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

    if shared:
        return OctKey.import_key(text)
    found = _KEY.search(text.replace("\\n", "\n"))  # as it stands in a line of environment settings
    if found is None:
        raise ValueError("there is no private key in PEM")
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            return kind.import_key(found[0])
        except (JoseError, ValueError, TypeError):
            continue
    raise ValueError("the key is of no known kind")


def _algorithm_of(key: Key) -> str:
    known = key.as_dict(private=False)
    if known["kty"] == "EC":
        return _CURVES[str(known["crv"])]
    return "RS256" if known["kty"] == "RSA" else "Ed25519"


def _thumbprint(text: str) -> str | None:
    found = _CERTIFICATE.search(text.replace("\\n", "\n"))
    if found is None:
        return None
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        digest = x509.load_pem_x509_certificate(found[0].encode()).fingerprint(hashes.SHA256())
    except ValueError:
        raise Invalid("The certificate beside the private key cannot be read") from None
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
