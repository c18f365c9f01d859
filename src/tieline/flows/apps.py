"""OAuth apps: by which Tieline is known at a provider. An organization's own wins over the operator's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from pydantic import SecretStr, ValidationError

from tieline.errors import Invalid, NotFound, VaultError
from tieline.flows.audit import record
from tieline.flows.credentials import credential_bytes
from tieline.flows.parts import Parts
from tieline.ids import new_id
from tieline.sdk.auth import Auth, OAuthApp
from tieline.sdk.provider import Provider
from tieline.store import oauth_apps as store
from tieline.store.db import Work
from tieline.store.oauth_apps import SealedApp
from tieline.store.types import Ciphertext
from tieline.vault import Place, key_id_of

Source = Literal["organization", "platform"]
_SLOT = "oauth_app"
_HEAD = re.compile(r"(?:https?://)?[^/]*")


@dataclass(frozen=True)
class Availability:
    """Whether one way of a provider that needs an app can be taken, by whose app, and which of the app's fields are missing."""

    provider: str
    auth: Auth
    source: Source | None
    missing: tuple[str, ...]

    @property
    def available(self) -> bool:
        """Whether it can be taken."""
        return self.source is not None and not self.missing


def app_fields(auth: Auth) -> frozenset[str]:
    """The fields of an app that a way needs; none if it needs no app."""
    return frozenset(getattr(auth, "app_fields", ()))


def missing_fields(auth: Auth, app: OAuthApp | None) -> tuple[str, ...]:
    """The fields that a way needs and the app lacks."""
    return tuple(sorted(app_fields(auth) - set(_fields(app) if app else ())))


def host_names(auth: Auth) -> set[str]:
    """The hosts and options that name where a way's addresses lead to."""
    return names_in_host(*(value for name, value in vars(auth).items() if name.endswith("_url") and value))


def names_in_host(*templates: str) -> set[str]:
    """The placeholders in that part of URL templates which says where they lead to."""
    heads = (_HEAD.match(template) for template in templates)
    return {name for head in heads if head for _, name, _, _ in Formatter().parse(head[0]) if name}


def server_options(provider: Provider[Any]) -> tuple[set[str], set[str]]:
    """The options that can name the server which an app belongs to, and those of them that must."""
    ways = [host_names(auth) for auth in provider.modes if app_fields(auth)]
    known = {name for names in ways for name in names} & set(provider.options.model_fields)
    return known, (set.intersection(*ways) - set(provider.hosts)) & known if ways else set()


async def find_app(
    parts: Parts,
    org_id: str,
    provider: Provider[Any],
    auth: Auth,
    *,
    client_id: str | None = None,
    hosts: Mapping[str, str] | None = None,
) -> OAuthApp | None:
    """The organization's own app, else the operator's; `None` for a way that needs none.

    `hosts` are the connection's options by which it leads to another server than the vendor's: the operator's app is shown to none of
    those, the organization's to those alone that it was set up for. `client_id` asks for the app that a standing grant was given
    to. Raises `VaultError`.
    """
    if not app_fields(auth):
        return None
    given = dict(hosts or {})
    platform = None if given else parts.apps.get(provider.slug)
    if platform and platform.client_id == client_id:
        return platform
    async with parts.db.work(org_id) as work:
        own = await store.get_app(work, provider.slug)
        if own is None or own.hosts != given:
            return platform
        plain = await parts.vault.open(own.sealed.sealed, _place(own))
        await record(work, parts, "oauth_app.opened", own.id, provider=provider.slug, version=own.version)
    return OAuthApp.model_validate_json(plain)


async def save_app(
    parts: Parts, org_id: str, slug: str, given: Mapping[str, Any], *, hosts: Mapping[str, str] | None = None
) -> SealedApp:
    """Set up the organization's app at a provider, in the place of one that it had.

    `hosts` are options that name the server which it belongs to, if it is not the vendor's: `{"org_url": "https://acme.okta.com"}`.
    Raises `Invalid`, also if none of the provider's ways could be taken with it, `Conflict` or `VaultError`.
    """
    provider = parts.catalog.provider(slug)
    app = parse_app(given)
    _refuse_useless(provider, app)
    at = _checked_hosts(provider, hosts or {})
    async with parts.db.work(org_id) as work:
        standing = await store.get_app(work, slug, lock=True)
        row = await _seal(parts, org_id, slug, app, at, standing)
        await (store.replace_app(work, row) if standing else store.add_app(work, row))
        told = {"provider": slug, "version": row.version, "fingerprint": row.fingerprint, "hosts": at}
        await record(work, parts, "oauth_app.saved", row.id, **told)
    return row


async def get_app(work: Work, slug: str) -> SealedApp:
    """The organization's own app at a provider; raises `NotFound`."""
    found = await store.get_app(work, slug)
    if found is None:
        raise NotFound(f"The organization has no OAuth app of its own for {slug[:60]!r}")
    return found


async def remove_app(parts: Parts, org_id: str, slug: str) -> SealedApp:
    """Destroy the organization's app; grants given to it can be renewed no more. Raises `NotFound`."""
    async with parts.db.work(org_id) as work:
        found = await get_app(work, slug)
        await store.delete_app(work, slug)
        await record(work, parts, "oauth_app.removed", found.id, provider=slug, fingerprint=found.fingerprint)
    return found


async def app_availability(parts: Parts, org_id: str) -> list[Availability]:
    """Every way that needs an app, by provider: whether it can be taken, by whose app, and what is missing."""
    async with parts.db.work(org_id) as work:
        own = {one.provider: one for one in await store.list_apps(work)}
    return [
        _judge(provider, auth, own.get(slug), parts.apps.get(slug) if host_names(auth) <= set(provider.hosts) else None)
        for slug, provider in sorted(parts.catalog.providers.items())
        for auth in provider.modes
        if app_fields(auth)
    ]


def parse_app(given: Mapping[str, Any]) -> OAuthApp:
    """The fields of an app; raises `Invalid` that names fields and quotes no value."""
    known = ", ".join(OAuthApp.model_fields)
    try:
        app = OAuthApp.model_validate(dict(given))
    except ValidationError as error:
        problems = [
            {"field": ".".join(part for part in map(str, one["loc"]) if part in OAuthApp.model_fields) or "(not shown)",
             "problem": one["msg"]}
            for one in error.errors(include_input=False, include_context=False, include_url=False)
        ]  # fmt: skip
        told = "; ".join(f"{one['field']}: {one['problem']}" for one in problems)
        raise Invalid(told, advice=f"The fields of an app are: {known}.", fields=problems) from None
    if app.private_key and "PRIVATE KEY-----" not in app.private_key.get_secret_value():
        problem = {"field": "private_key", "problem": "is not PEM"}
        advice = "Give the whole file, from -----BEGIN to -----END and its dashes."
        raise Invalid("private_key: is not PEM", advice=advice, fields=[problem])
    return app


def _judge(provider: Provider[Any], auth: Auth, own: SealedApp | None, platform: OAuthApp | None) -> Availability:
    source: Source | None = "organization" if own else "platform" if platform else None
    held = set(own.fields) if own else set(_fields(platform) if platform else ())
    return Availability(provider.slug, auth, source, tuple(sorted(app_fields(auth) - held)))


def _checked_hosts(provider: Provider[Any], given: Mapping[str, str]) -> dict[str, str]:
    """The options that name an app's server; raises `Invalid` if one does not, or if one that must be there is missing."""
    known, needed = server_options(provider)
    if unknown := sorted(set(given) - known):
        wrong = [{"field": f"hosts.{name}"[:80], "problem": "names no server"} for name in unknown]
        advice = f"Those that do: {', '.join(sorted(known)) or 'none'}."
        raise Invalid(f"{len(unknown)} of the hosts name no server of {provider.name}", advice=advice, fields=wrong)
    if missing := sorted(needed - set(given)):
        wrong = [{"field": f"hosts.{name}", "problem": "is missing"} for name in missing]
        raise Invalid(
            f"Say whose app it is: {', '.join(missing)}", advice="It is shown to no other server.", fields=wrong
        )
    return {name: str(value).rstrip("/") for name, value in given.items()}


def _refuse_useless(provider: Provider[Any], app: OAuthApp) -> None:
    ways = [auth for auth in provider.modes if app_fields(auth)]
    if not ways:
        raise Invalid(f"{provider.name} is connected without an OAuth app", advice="There is nothing to set up.")
    if all(missing_fields(auth, app) for auth in ways):
        needed = "; ".join(f"{auth.slot}: {', '.join(sorted(app_fields(auth)))}" for auth in ways)
        lacking = [{"field": name, "problem": "is missing"} for name in missing_fields(ways[0], app)]
        raise Invalid(f"The app lacks {', '.join(one['field'] for one in lacking)}", advice=needed, fields=lacking)


def _fields(app: OAuthApp) -> list[str]:
    """The names of what an app holds."""
    return [name for name in type(app).model_fields if _plain(getattr(app, name))]


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _place(app: SealedApp) -> Place:
    return Place(app.org_id, app.id, _SLOT, app.version)


async def _seal(
    parts: Parts, org_id: str, slug: str, app: OAuthApp, hosts: dict[str, str], standing: SealedApp | None
) -> SealedApp:
    """The row for an app: the one that there is in a next version, or a first one."""
    now, plain = parts.clock.now(), credential_bytes(app)
    app_id, version = (standing.id, standing.version + 1) if standing else (new_id("oapp"), 1)
    try:
        sealed = await parts.vault.seal(plain, Place(org_id, app_id, _SLOT, version))
    except VaultError:
        raise VaultError("Credential encryption failed") from None
    return SealedApp(
        id=app_id,
        org_id=org_id,
        provider=slug,
        client_id=app.client_id,
        fields=_fields(app),
        hosts=hosts,
        version=version,
        sealed=Ciphertext(sealed),
        key_id=key_id_of(sealed),
        fingerprint=parts.vault.fingerprint(plain, org_id=org_id),
        created_at=standing.created_at if standing else now,
        updated_at=now,
    )
