"""What every journey is handed by the composition root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tieline.access.sso import Sso
from tieline.catalog.compile import Catalog
from tieline.clock import Clock
from tieline.flows.flights import Flights
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import OAuthApp
from tieline.sdk.entities import KINDS
from tieline.stages.bench import Bench
from tieline.store.db import Db
from tieline.vault import Vault


class PlatformKeys(Protocol):
    """The single keys of the key ring, 32 bytes each, each for one use."""

    @property
    def state_key(self) -> bytes:
        """Signs the state that travels through a provider."""
        ...

    @property
    def audit_key(self) -> bytes:
        """Chains the entries of the audit log."""
        ...

    @property
    def checkpoint_key(self) -> bytes:
        """The seed of the Ed25519 key that signs the audit log's checkpoints."""
        ...

    @property
    def session_key(self) -> bytes:
        """Hashes session cookies, sign-in links and requests that may be repeated, and signs what a session's forms carry."""
        ...


@dataclass(frozen=True)
class Parts:
    """The parts of a running Tieline.

    `brake_share` is the share of an operation's entities that may vanish in one run before it stops and asks. `apps` are the
    operator's OAuth apps and `hosts` the addresses that they put in place of a vendor's, both by provider. `public_url` is where
    browsers and providers reach this Tieline; `return_origins` are the other origins that a person may be sent back to. `sso` is the OpenID provider
    that members may sign in at. On the `bench` mappings are tried. `history_days` says of each kind for how many days former
    versions of entities are kept.
    """

    db: Db
    catalog: Catalog
    vault: Vault
    clock: Clock
    policy: AddressPolicy
    keys: PlatformKeys = field(repr=False)
    brake_share: float = 0.3
    apps: Mapping[str, OAuthApp] = field(default_factory=dict, repr=False)
    hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    public_url: str = "http://127.0.0.1:8000"
    return_origins: frozenset[str] = frozenset()
    sso: Sso | None = None
    flights: Flights = field(default_factory=Flights, repr=False)
    settings: Sequence[Mapping[str, Any]] = ()
    bench: Bench = field(default_factory=Bench, repr=False)
    history_days: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 400))
