"""Settings: what the operator decides at deployment, from the environment (`TIELINE_…`); frozen once read.

A secret may come from a file instead: `TIELINE_DATABASE_URL_FILE=/run/secrets/database-url`. With nothing set, Tieline runs an embedded
PostgreSQL in its data directory. Two families of settings are about providers: which there are is known when the catalog is loaded,
and checked then.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tieline.environment import HOST, OAUTH, PREFIX, read_families, read_files, refuse_misspelt, refused, unknown
from tieline.errors import Invalid, SetupError
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import OAuthApp
from tieline.sdk.entities import KINDS

LONGEST_HISTORY = 36_500
"""Days: a century, beyond which dates are not reckoned with."""
_FAMILIES = {"oauth_apps": f"{OAUTH}<PROVIDER>_<FIELD>", "hosts": f"{HOST}<PROVIDER>_<NAME>"}


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
    metrics_token: SecretStr | None = Field(
        default=None,
        description="What Prometheus sends to read /metrics, as Authorization: Bearer …; without it only operators' keys may.",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="A port of its own for /metrics, as workers need it that serve nothing else.",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        description="The address of that port; one that other machines reach needs TIELINE_METRICS_TOKEN.",
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
    history_days: int = Field(
        default=400, ge=1, le=LONGEST_HISTORY, description="For how many days former versions of entities are kept."
    )
    history_days_by_kind: str = Field(
        default="",
        description="Kinds whose former versions are kept for longer or shorter, in days, as account=1200,alert=90.",
    )

    key_service: str | None = Field(
        default=None,
        description="A key service that keeps the encryption keys in place of the key ring: aws-kms:<ARN>, "
        "gcp-kms:projects/…/cryptoKeys/… or transit:https://host:8200/<mount>/<key>.",
    )
    former_key_services: str = Field(
        default="",
        description="Key services that stored values still need, separated by commas; `tieline keys list` shows which are in use.",
    )
    aws_kms_endpoint: str | None = Field(
        default=None,
        description="An address in place of AWS KMS's own. Credentials come from where AWS programs look for them.",
    )
    gcp_kms_endpoint: str | None = Field(default=None, description="An address in place of Google Cloud KMS's own.")
    gcp_credentials: Path | None = Field(
        default=None,
        description="The key file of a Google service account; without it the machine's own account is used.",
    )
    gcp_metadata: str | None = Field(default=None, description="An address in place of Google's metadata server.")
    transit_token: SecretStr | None = Field(default=None, description="The token for Vault or OpenBao.")
    transit_token_path: Path | None = Field(
        default=None,
        description="A file with the token for Vault or OpenBao, read for each request: an agent may renew it there.",
    )
    transit_namespace: str | None = Field(default=None, description="The namespace in Vault or OpenBao.")

    public_url: str = Field(
        default="http://127.0.0.1:8000",
        description="Where browsers and providers reach this Tieline: https, unless it is this very machine.",
    )
    return_origins: str = Field(
        default="",
        description="Other origins that people may be sent back to from a provider, separated by commas, as https://app.example.",
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="The OpenID provider that members may sign in at, as it names itself: https://login.example.",
    )
    oidc_client_id: str | None = Field(default=None, description="Tieline's client id at the OpenID provider.")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="Its client secret there; without one only PKCE proves who asks."
    )
    oauth_apps: Mapping[str, OAuthApp] = Field(
        default_factory=dict,
        description="Your app at a provider, field by field: CLIENT_ID, CLIENT_SECRET, PRIVATE_KEY, KEY_ID, APP_ID, SLUG.",
    )
    hosts: Mapping[str, str] = Field(
        default_factory=dict,
        description="An address in the place of a vendor's own, as of a sovereign cloud: https://login.example.",
    )

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, value: str) -> str:
        split = _split(value)
        if split.scheme != "https" and not _is_this_machine(split):
            raise ValueError("must begin with https:// unless it is this very machine")
        return value.rstrip("/")

    @field_validator("return_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for word in filter(None, (one.strip() for one in value.split(","))):
            split = _split(word)
            if split.path.strip("/") or (split.scheme != "https" and not _is_this_machine(split)):
                raise ValueError("must be origins such as https://app.example, without a path")
        return value

    @field_validator("allow_private_addresses")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        AddressPolicy.parse(value)
        return value

    @field_validator("history_days_by_kind")
    @classmethod
    def _are_kinds_with_days(cls, value: str) -> str:
        for kind, days in _pairs_of(value):
            if kind not in KINDS:
                near = get_close_matches(kind, KINDS, 1, 0.6)
                raise ValueError("names a kind that there is not" + (f": {near[0]} is one" if near else ""))
            if not (days.isascii() and days.isdigit() and 1 <= int(days) <= LONGEST_HISTORY):
                raise ValueError(f"must give {kind} a number of days from 1 to {LONGEST_HISTORY}, as in {kind}=400")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _is_issuer(cls, value: str | None) -> str | None:
        split = _split(value) if value else None
        if split and split.scheme != "https" and not _is_this_machine(split):
            raise ValueError("must begin with https:// unless it is this very machine")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_client_id is None):
            raise ValueError(f"{PREFIX}OIDC_ISSUER and {PREFIX}OIDC_CLIENT_ID are only of use together")
        if self.metrics_port is not None and self.metrics_token is None and not _is_loopback(self.metrics_host):
            raise ValueError(f"{PREFIX}METRICS_HOST can be reached by others, so {PREFIX}METRICS_TOKEN must be set")
        return self

    @property
    def address_policy(self) -> AddressPolicy:
        """Which addresses connections may reach; never this Tieline itself."""
        own = urlsplit(self.public_url)
        names = [] if _is_this_machine(own) or own.hostname is None else [own.hostname]
        return AddressPolicy.parse(self.allow_private_addresses, own_hosts=names)

    @property
    def heartbeat(self) -> timedelta:
        """After how long a worker that is not heard of counts as dead."""
        return timedelta(seconds=self.heartbeat_seconds)

    @property
    def stale_after(self) -> timedelta:
        """After how long a run that nobody speaks for is given to another."""
        return max(4 * self.heartbeat, timedelta(seconds=5))

    @property
    def history_days_of_kinds(self) -> dict[str, int]:
        """For how many days former versions are kept, by kind."""
        own = {kind: int(days) for kind, days in _pairs_of(self.history_days_by_kind)}
        return {kind: own.get(kind, self.history_days) for kind in KINDS}

    @property
    def key_ring_path(self) -> Path:
        """Where the key ring is."""
        return self.key_ring or self.data_dir / "keys.json"

    @property
    def origins(self) -> frozenset[str]:
        """The other origins that people may be sent back to."""
        words = (one.strip().rstrip("/").lower() for one in self.return_origins.split(","))
        return frozenset(word.removesuffix(":443") if word.startswith("https:") else word for word in words if word)

    def apps_by_provider(self, slugs: Collection[str]) -> dict[str, OAuthApp]:
        """The operator's OAuth apps by provider; raises `SetupError` for one of a provider that there is not."""
        known = {_spelt(slug): slug for slug in slugs}
        for name in self.oauth_apps:
            if name not in known:
                raise unknown(f"{OAUTH}{name}_…", [f"{OAUTH}{one}_…" for one in known], "no provider is called so")
        return {known[name]: app for name, app in self.oauth_apps.items()}

    def hosts_by_provider(self, declared: Mapping[str, Collection[str]]) -> dict[str, dict[str, str]]:
        """The addresses in the place of a vendor's, by provider and name; raises `SetupError` for what is not declared."""
        known = {_spelt(slug, name): (slug, name) for slug, names in declared.items() for name in names}
        found: dict[str, dict[str, str]] = {}
        for variable, address in self.hosts.items():
            if variable not in known:
                raise unknown(f"{HOST}{variable}", [f"{HOST}{one}" for one in known], "no provider has such a host")
            slug, name = known[variable]
            found.setdefault(slug, {})[name] = self._checked_host(f"{HOST}{variable}", address)
        return found

    def _checked_host(self, variable: str, address: str) -> str:
        try:
            if not urlsplit(address).query:
                self.address_policy.check_url(address)
                return address.rstrip("/")
        except Invalid as error:
            raise SetupError(f"{variable}: {error.message}", advice=error.what_to_do) from None
        raise SetupError(f"{variable}: an address has no query", advice="Leave out the ? and all that follows it.")


def variable_of(field: str) -> str:
    """The name under which a setting is set, for the two families the pattern of their names."""
    return _FAMILIES.get(field, f"{PREFIX}{field.upper()}")


def read_settings(**given: Any) -> Settings:
    """The settings in force; `given` wins over the environment. Raises `SetupError` that names each bad setting."""
    refuse_misspelt(Settings.model_fields)
    try:
        return Settings(**(read_files(Settings.model_fields) | read_families() | given))
    except RuntimeError:
        raise SetupError(f"There is no home directory, so {PREFIX}DATA_DIR must be set") from None
    except ValidationError as error:
        raise refused(error, PREFIX) from None


def describe_settings(settings: Settings) -> list[dict[str, Any]]:
    """Each setting with its value in force, where that comes from, and what it means; secrets are masked.

    `source` is `environment`, `file`, `command` (given by the command that runs) or `default`.
    """
    return [
        {
            "name": name,
            "value": "" if value is None else str(value),
            "set": field in settings.model_fields_set,
            "source": _source_of(name) if field in settings.model_fields_set else "default",
            "secret": isinstance(value, SecretStr) or "SecretStr" in str(Settings.model_fields[field].annotation),
            "about": about,
        }
        for field, about in ((name, one.description or "") for name, one in Settings.model_fields.items())
        for name, value in _values_of(settings, field)
    ]


def _source_of(name: str) -> str:
    """Where a variable that is set was set; what is in no variable was given by the command."""
    given = {one.upper() for one, value in os.environ.items() if value}
    return "file" if f"{name}_FILE" in given else "environment" if name in given else "command"


def _values_of(settings: Settings, field: str) -> Iterator[tuple[str, Any]]:
    """The variables of a setting with their values: of a family those that are set, or its pattern if none is."""
    if field == "oauth_apps" and settings.oauth_apps:
        for provider, app in settings.oauth_apps.items():
            yield from ((f"{OAUTH}{provider}_{name.upper()}", one) for name, one in app if one is not None)
    elif field == "hosts" and settings.hosts:
        yield from ((f"{HOST}{name}", address) for name, address in settings.hosts.items())
    else:
        yield variable_of(field), getattr(settings, field) or "" if field in _FAMILIES else getattr(settings, field)


def _spelt(*names: str) -> str:
    return "_".join(names).upper().replace("-", "_")


def _pairs_of(value: str) -> list[tuple[str, str]]:
    """The parts of `name=value,name=value`."""
    parts = (one.partition("=") for one in value.split(",") if one.strip())
    return [(name.strip(), told.strip()) for name, _, told in parts]


def _split(url: str) -> SplitResult:
    """The parts of a URL that people are sent to; raises `ValueError`."""
    split = urlsplit(url)
    good = split.scheme in {"http", "https"} and split.hostname and "@" not in split.netloc
    if (
        not good
        or split.query
        or split.fragment
        or not url.isascii()
        or not url.isprintable()
        or " " in url
        or "\\" in url
    ):
        raise ValueError("must be an address such as https://tieline.example")
    return split


def _is_this_machine(split: SplitResult) -> bool:
    return _is_loopback(split.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
