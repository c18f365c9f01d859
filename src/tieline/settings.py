"""Settings: what the operator decides at deployment, from the environment (`TIELINE_…`); frozen once read.

A secret may come from a file instead: `TIELINE_DATABASE_URL_FILE=/run/secrets/database-url`. With nothing set, Tieline runs an embedded
PostgreSQL in its data directory.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tieline.errors import SetupError
from tieline.sdk.addresses import AddressPolicy

PREFIX = "TIELINE_"


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = Field(
        default_factory=lambda: Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "tieline",
        description="Where the key ring and, unless database_url is set, the embedded database are kept.",
    )
    state_dir: Path = Field(
        default=Path("/var/lib/tieline"),
        description="Only when run as root: where the embedded database's files go, since PostgreSQL will not run as root.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="A PostgreSQL 15+ to use instead of the embedded one: postgresql://user:password@host/db",
    )
    key_ring: Path | None = Field(
        default=None, description="The key ring file; by default keys.json in the data directory."
    )
    allow_private_addresses: str = Field(
        default="",
        description="Private addresses or networks that connections may reach, separated by commas: 10.1.2.0/24,127.0.0.1",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe messages that are logged."
    )
    worker_slots: int = Field(default=8, ge=2, le=256, description="Runs that one process carries out side by side.")
    org_slots: int = Field(
        default=4, ge=1, le=256, description="Runs of one organization at a time, over all processes."
    )
    provider_slots: int = Field(default=64, ge=1, le=4096, description="Runs against one provider at a time.")
    heartbeat_seconds: float = Field(
        default=30.0, gt=0.2, le=600, description="After how long a silent worker's runs are given to another."
    )
    brake_share: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="A run that would remove more than this share of what it reads stops and asks.",
    )

    @field_validator("allow_private_addresses")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        AddressPolicy.parse(value)
        return value

    @property
    def address_policy(self) -> AddressPolicy:
        """Which addresses connections may reach."""
        return AddressPolicy.parse(self.allow_private_addresses)

    @property
    def key_ring_path(self) -> Path:
        """Where the key ring is."""
        return self.key_ring or self.data_dir / "keys.json"


def read_settings(**given: Any) -> Settings:
    """The settings in force; `given` wins over the environment. Raises `SetupError` that names each bad setting."""
    _refuse_misspelt()
    try:
        return Settings(**(_from_files() | given))
    except RuntimeError:
        raise SetupError(f"There is no home directory, so {PREFIX}DATA_DIR must be set") from None
    except ValidationError as error:
        told = "; ".join(
            f"{PREFIX}{'.'.join(str(part) for part in one['loc']).upper()}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise SetupError(told, advice="Correct the environment; `tieline settings` explains each setting.") from None


def describe_settings(settings: Settings) -> list[dict[str, Any]]:
    """Each setting with its value in force, whether it was set, and what it means; secrets are masked."""
    return [
        {
            "name": f"{PREFIX}{name.upper()}",
            "value": str(getattr(settings, name) if getattr(settings, name) is not None else ""),
            "set": name in settings.model_fields_set,
            "about": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]


def _from_files() -> dict[str, Any]:
    """Settings whose value is in a file named by `TIELINE_<NAME>_FILE`."""
    found = {}
    for name in Settings.model_fields:
        path = os.environ.get(f"{PREFIX}{name.upper()}_FILE")
        if path:
            try:
                found[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise SetupError(f"{PREFIX}{name.upper()}_FILE names a file that cannot be read") from None
            if not found[name]:
                raise SetupError(f"{PREFIX}{name.upper()}_FILE names an empty file")
    return found


def _refuse_misspelt() -> None:
    """A variable that is almost a setting would be ignored in silence, and something else be in force."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        stem = name.removesuffix("_FILE")
        if name.startswith(PREFIX) and stem not in known and (near := get_close_matches(stem, known, 1, 0.9)):
            raise SetupError(f"{name} is not a setting; {near[0]} is")
