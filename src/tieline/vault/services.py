"""Which key services there are, from what the operator writes in the settings.

    aws-kms:arn:aws:kms:eu-central-1:111122223333:key/…      or an alias: …:alias/tieline
    gcp-kms:projects/…/locations/…/keyRings/…/cryptoKeys/…
    transit:https://vault.example.com:8200/transit/tieline   address, mount and key

One of them is current; former ones are still asked for what they once wrapped. Everything that can be refused without asking a
service is refused here: a start must not depend on whether a service can be reached at that moment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from tieline.errors import KeyRingError
from tieline.vault.aws_kms import SCHEME as AWS
from tieline.vault.aws_kms import AwsKeys
from tieline.vault.cache import CachedService, KeyService
from tieline.vault.composed import ComposedKeys
from tieline.vault.encryption import KeyRing
from tieline.vault.gcp_kms import ENDPOINT as GCP_ENDPOINT
from tieline.vault.gcp_kms import SCHEME as GCP
from tieline.vault.gcp_kms import GcpKeys
from tieline.vault.gcp_token import METADATA, AccessTokens, read_account
from tieline.vault.rest import Rest
from tieline.vault.transit import SCHEME as TRANSIT
from tieline.vault.transit import TransitKeys

_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:kms:[a-z]{2}[a-z0-9-]*-[0-9]:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]{1,250}", re.ASCII
)
_GCP_KEY: Final = re.compile(
    r"projects/[a-z0-9:.-]{1,80}/locations/[a-z0-9-]{1,40}/keyRings/[\w-]{1,63}/cryptoKeys/[\w-]{1,63}", re.ASCII
)
_MOUNT: Final = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_KEY: Final = re.compile(r"[\w-][\w.-]*", re.ASCII)
_TOKEN: Final = re.compile(r"[!-~]{4,4096}", re.ASCII)  # it goes into a header
_ADVICE: Final = "`tieline settings` explains TIELINE_KEY_SERVICE."


@dataclass(frozen=True)
class ServiceSettings:
    """What the operator says of the key services; an endpoint stands in place of a vendor's own address."""

    current: str | None = None
    former: Sequence[str] = ()
    aws_endpoint: str | None = None
    gcp_endpoint: str | None = None
    gcp_credentials: Path | None = None
    gcp_metadata: str | None = None
    transit_token: str | None = field(default=None, repr=False)
    transit_token_path: Path | None = None
    transit_namespace: str | None = None


def compose_keys(ring: KeyRing, settings: ServiceSettings) -> ComposedKeys:
    """The key ring and the services that are named; raises `KeyRingError` that says which setting is wrong, and never quotes a secret."""
    named = [*([settings.current] if settings.current else []), *settings.former]
    if len(set(named)) != len(named):
        raise KeyRingError("A key service is named twice.", advice=_ADVICE)
    _refuse_two_addresses(named)
    services = [CachedService(_open(text, settings)) for text in named]
    return ComposedKeys(ring, services, current=services[0] if settings.current else None)


def _open(text: str, settings: ServiceSettings) -> KeyService:
    scheme, _, rest = text.partition(":")
    if scheme == AWS:
        if not _ARN.fullmatch(rest):
            raise KeyRingError(
                "A key service `aws-kms:` must be followed by the ARN of a key or an alias.", advice=_ADVICE
            )
        return AwsKeys(rest, endpoint=_endpoint("TIELINE_AWS_KMS_ENDPOINT", settings.aws_endpoint))
    if scheme == GCP:
        if not _GCP_KEY.fullmatch(rest):
            raise KeyRingError("A key service `gcp-kms:` must be followed by projects/…/cryptoKeys/….", advice=_ADVICE)
        return _open_gcp(rest, settings)
    if scheme == TRANSIT:
        return _open_transit(rest, settings)
    raise KeyRingError(f"A key service begins with `{AWS}:`, `{GCP}:` or `{TRANSIT}:`.", advice=_ADVICE)


def _open_gcp(key: str, settings: ServiceSettings) -> KeyService:
    account = read_account(settings.gcp_credentials) if settings.gcp_credentials else None
    endpoint = _endpoint("TIELINE_GCP_KMS_ENDPOINT", settings.gcp_endpoint) or GCP_ENDPOINT
    metadata = _endpoint("TIELINE_GCP_METADATA", settings.gcp_metadata, encrypted=False) or METADATA
    rest = Rest()
    return GcpKeys(key, tokens=AccessTokens(rest, account, metadata=metadata), rest=rest, endpoint=endpoint)


def _open_transit(text: str, settings: ServiceSettings) -> KeyService:
    url = _address(text)
    mount, _, key = url.path.strip("/").rpartition("/") if url else ("", "", "")
    if url is None or not _MOUNT.fullmatch(mount) or ".." in mount or not _KEY.fullmatch(key):
        raise KeyRingError(
            "A key service `transit:` must be followed by https://address/mount/key, as in https://vault.example.com:8200/transit/tieline.",
            advice=_ADVICE,
        )
    token = _token(settings)
    namespace = settings.transit_namespace
    if namespace and not _MOUNT.fullmatch(namespace.strip("/")):
        raise KeyRingError("TIELINE_TRANSIT_NAMESPACE is not the name of a namespace.")
    return TransitKeys(f"{url.scheme}://{url.netloc}", mount, key, token=token, namespace=namespace)


def _token(settings: ServiceSettings) -> Callable[[], str]:
    """Where the token comes from; a file is read for each request, since an agent renews it there."""
    given, path = settings.transit_token, settings.transit_token_path
    if (given is None) == (path is None):
        raise KeyRingError("A transit key service needs either TIELINE_TRANSIT_TOKEN or TIELINE_TRANSIT_TOKEN_PATH.")

    def read() -> str:
        return path.read_text(encoding="ascii").strip() if path else given or ""

    try:
        formed = _TOKEN.fullmatch(read())
    except (OSError, UnicodeDecodeError):
        raise KeyRingError("TIELINE_TRANSIT_TOKEN_PATH names a file that cannot be read.") from None
    if not formed:
        raise KeyRingError("The token of the transit key service is not one.")
    return read


def _endpoint(name: str, url: str | None, *, encrypted: bool = True) -> str | None:
    if url is None:
        return None
    if (parsed := _address(url, encrypted=encrypted)) is None or parsed.path not in {"", "/"}:
        raise KeyRingError(f"{name} must be https://host or, on this machine, http://127.0.0.1:port.")
    return f"{parsed.scheme}://{parsed.netloc}"


def _address(text: str, *, encrypted: bool = True) -> SplitResult | None:
    """A URL of host and path alone; without encryption only on this machine."""
    try:
        url = urlsplit(text)
        plain = url.scheme == "http" and (not encrypted or _is_loopback(url.hostname or ""))
        fit = (url.scheme == "https" or plain) and url.hostname and url.port != 0
    except ValueError:
        return None
    return url if fit and not ("@" in url.netloc or url.query or url.fragment) else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_two_addresses(named: Sequence[str]) -> None:
    """One token goes to one address only; whoever moves between two goes by way of the key ring."""
    addresses = {urlsplit(text.removeprefix("transit:")).netloc for text in named if text.startswith("transit:")}
    if len(addresses) > 1:
        raise KeyRingError(
            "The transit key services must be at one address.",
            advice="Move by way of the key ring: run without TIELINE_KEY_SERVICE, re-seal, then name the new address.",
        )
