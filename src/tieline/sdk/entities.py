"""The normalised kinds: what a record becomes after filter and map, the same for every provider.

A field that a provider does not tell is `None`, never a guess: checks read `None` as unknown. Fields marked with `Link`
hold the external id of another entity of the same connection.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from tieline.sdk.mapping import Mapping

Severity = Literal["critical", "high", "medium", "low", "info"]
MAX_KEY = 600
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]
Word = Annotated[str, Field(max_length=100)]  # for states, which are in indexes: PostgreSQL allows an entry 2,704 bytes
Line = Annotated[str, Field(max_length=1_000)]
Text = Annotated[str, Field(max_length=20_000)]
Count = Annotated[int, Field(ge=0)]
Email = Annotated[str, Field(max_length=320), AfterValidator(str.lower)]
Moment = AwareDatetime


@dataclass(frozen=True)
class Link:
    """Marks a field that holds the external id of an entity of the given kind."""

    kind: str


class Entity(BaseModel):
    """Anything that a sync can produce; `external_id` is the provider's own id, unique within connection and kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    kind: ClassVar[str]
    external_id: Key

    def __init_subclass__(cls, *, kind: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = kind

    @classmethod
    def map(
        cls, *, filter: str = "true", drop: tuple[str, ...] = (), variant: str | None = None, **fields: str
    ) -> Mapping[Self]:
        """How a record becomes this entity: a CEL expression for each field.

        `filter` decides whether the record is one at all. `drop` names dotted paths removed from the record before it is
        hashed and kept: secrets, and values that change with every reading. `variant` is the name by which an
        operation with several mappings says which one a record takes.
        """
        from tieline.sdk.mapping import Mapping

        return Mapping(entity=cls, filter=filter, drop=drop, variant=variant, fields=dict(fields))


class Account(Entity, kind="account"):
    """A person or a machine that can sign in."""

    email: Email | None = None
    username: Line | None = None
    display_name: Line | None = None
    given_name: Line | None = None
    family_name: Line | None = None
    title: Line | None = None
    department: Line | None = None
    type: Literal["person", "service", "guest"] = "person"
    status: Literal["active", "invited", "inactive", "suspended", "deleted"] | None = None
    active: bool | None = None
    admin: bool | None = None
    mfa: bool | None = None
    has_password: bool | None = None
    password_changed_at: Moment | None = None
    last_login_at: Moment | None = None
    created_at: Moment | None = None
    url: Line | None = None

    @model_validator(mode="before")
    @classmethod
    def _status_and_active_agree(cls, data: Any) -> Any:
        """A mapping gives either; the other follows."""
        if isinstance(data, dict):
            status, active = data.get("status"), data.get("active")
            if status is not None and active is None:
                return data | {"active": status == "active"}
            if active is not None and status is None:
                return data | {"status": "active" if active else "inactive"}
        return data


class Group(Entity, kind="group"):
    """A set of accounts: a team, a role, a directory group."""

    name: Line
    description: Text | None = None
    email: Email | None = None
    type: Literal["team", "security", "distribution", "role", "dynamic", "builtin"] | None = None
    member_count: Count | None = None
    created_at: Moment | None = None
    url: Line | None = None


class Membership(Entity, kind="membership"):
    """An account's place in a group; `external_id` is best mapped as group, colon, account.

    `automatic` marks a place that the provider itself gives to everybody and that nobody can leave.
    """

    account: Annotated[Key, Link("account")]
    group: Annotated[Key, Link("group")]
    role: Line | None = None
    automatic: bool | None = None
    added_at: Moment | None = None


class Authenticator(Entity, kind="authenticator"):
    """A second factor that an account has enrolled."""

    account: Annotated[Key, Link("account")]
    type: Line | None = None
    active: bool | None = None
    phishing_resistant: bool | None = None
    created_at: Moment | None = None


class AccessKey(Entity, kind="access_key"):
    """A long-lived key of an account: an API token, a cloud access key."""

    account: Annotated[Key, Link("account")] | None = None
    name: Line | None = None
    active: bool | None = None
    created_at: Moment | None = None
    last_used_at: Moment | None = None
    expires_at: Moment | None = None


class Repository(Entity, kind="repository"):
    """A place where code is kept."""

    name: Line
    description: Text | None = None
    url: Line | None = None
    visibility: Literal["public", "internal", "private"] | None = None
    archived: bool | None = None
    fork: bool | None = None
    default_branch: Line | None = None
    default_branch_protected: bool | None = None
    required_reviews: Count | None = None
    force_push_allowed: bool | None = None
    created_at: Moment | None = None
    pushed_at: Moment | None = None


class Application(Entity, kind="application"):
    """An application that accounts sign in to."""

    name: Line
    status: Literal["active", "inactive", "deleted"] | None = None
    sign_on: Literal["saml", "oidc", "password", "bookmark", "other"] | None = None
    assigned_count: Count | None = None
    created_at: Moment | None = None
    url: Line | None = None


class Device(Entity, kind="device"):
    """A laptop, phone or server that is managed."""

    name: Line
    owner: Annotated[Key, Link("account")] | None = None
    serial: Line | None = None
    platform: Line | None = None
    os_version: Line | None = None
    status: Literal["active", "inactive", "lost", "retired"] | None = None
    encrypted: bool | None = None
    screen_lock: bool | None = None
    firewall: bool | None = None
    managed: bool | None = None
    last_seen_at: Moment | None = None


class Asset(Entity, kind="asset"):
    """Anything else of worth: an organization at the provider, a domain, a bucket, a cloud account."""

    name: Line
    type: Line | None = None
    status: Word | None = None
    region: Line | None = None
    url: Line | None = None
    public: bool | None = None
    encrypted: bool | None = None
    created_at: Moment | None = None


class Policy(Entity, kind="policy"):
    """A rule that the provider itself enforces, such as a password policy."""

    name: Line
    type: Literal["password", "mfa", "sign_on", "session", "access", "other"]
    status: Literal["active", "inactive"] | None = None
    priority: int | None = None
    min_length: Count | None = None
    history: Count | None = None
    max_age_days: Count | None = None
    lockout_attempts: Count | None = None
    session_hours: float | None = None
    mfa_required: bool | None = None


class Vulnerability(Entity, kind="vulnerability"):
    """A known weakness in something that the organization runs or ships."""

    title: Line
    description: Text | None = None
    severity: Severity | None = None
    status: Literal["open", "fixed", "dismissed"] | None = None
    cve: Line | None = None
    score: float | None = None
    package: Line | None = None
    fixed_version: Line | None = None
    fix_available: bool | None = None
    affects: Line | None = None
    url: Line | None = None
    found_at: Moment | None = None
    fixed_at: Moment | None = None


class Alert(Entity, kind="alert"):
    """Something that a security product reports: a failed control, a detection, a misconfiguration."""

    title: Line
    description: Text | None = None
    severity: Severity | None = None
    status: Literal["open", "resolved", "dismissed"] | None = None
    category: Line | None = None
    resource: Line | None = None
    recommendation: Text | None = None
    url: Line | None = None
    first_seen_at: Moment | None = None
    last_seen_at: Moment | None = None


KINDS: dict[str, type[Entity]] = {
    entity.kind: entity
    for entity in (
        Account,
        Group,
        Membership,
        Authenticator,
        AccessKey,
        Repository,
        Application,
        Device,
        Asset,
        Policy,
        Vulnerability,
        Alert,
    )
}


@cache
def fields_of(entity: type[Entity]) -> frozenset[str]:
    """The names of a kind's fields."""
    return frozenset(entity.model_fields)


@cache
def links_of(entity: type[Entity]) -> Map[str, str]:
    """The link fields of a kind: field name → linked kind."""
    found = {}
    for name, field in entity.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Link)]
        for argument in getattr(field.annotation, "__args__", ()):
            marks += [mark for mark in getattr(argument, "__metadata__", ()) if isinstance(mark, Link)]
        if marks:
            found[name] = marks[0].kind
    return MappingProxyType(found)
