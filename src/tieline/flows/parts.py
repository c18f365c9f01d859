"""What every journey is handed by the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from tieline.catalog.compile import Catalog
from tieline.clock import Clock
from tieline.sdk.addresses import AddressPolicy
from tieline.store.db import Db
from tieline.vault import Vault


@dataclass(frozen=True)
class Parts:
    """The parts of a running Tieline.

    `brake_share` is the share of an operation's entities that may vanish in one run before it stops and asks.
    """

    db: Db
    catalog: Catalog
    vault: Vault
    clock: Clock
    policy: AddressPolicy
    brake_share: float = 0.3
