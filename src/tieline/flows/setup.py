"""Setup: what connecting a provider takes, and how far it is, as rows of plain JSON; beside `views`, and like it without any secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tieline.flows.apps import Availability, app_fields
from tieline.flows.returns import callback_url
from tieline.flows.views import JsonRow, moment
from tieline.sdk.auth import Auth, Redirects
from tieline.sdk.provider import Provider
from tieline.store.attempts import Attempt
from tieline.store.oauth_apps import SealedApp


def setup_row(
    provider: Provider[Any],
    *,
    public_url: str,
    hosts: Mapping[str, str],
    external_id: str | None = None,
    subject: str | None = None,
) -> JsonRow:
    """What a person needs to connect, for the recommended way, and below `ways` for each.

    Forms are JSON Schemas (secrets are `writeOnly`). `hosts` are the addresses that the operator put in place of the vendor's. `external_id` is what the organization's roles at the provider must ask for,
    and `subject` whom they trust where no secret is kept.
    """
    recommended = provider.mode()
    return {
        "provider": provider.slug,
        "name": provider.name,
        "kind": recommended.kind,
        "instructions": recommended.help,
        "docs_url": provider.docs_url,
        "needs": sorted({need for operation in provider.operations for need in operation.needs}),
        "credential": recommended.credential.model_json_schema(),
        "options": provider.options.model_json_schema(),
        "hosts": {**provider.hosts, **hosts},
        "ways": [
            way_row(provider, auth, public_url=public_url, external_id=external_id, subject=subject)
            for auth in provider.modes
        ],
    }


def way_row(
    provider: Provider[Any],
    auth: Auth,
    *,
    public_url: str,
    external_id: str | None = None,
    subject: str | None = None,
) -> JsonRow:
    """One way to authenticate: a form to fill in, or the callback of going to the provider; and the app that it needs."""
    redirects, keyless = isinstance(auth, Redirects), getattr(auth, "keyless", False)
    trust = {"issuer": public_url, "subject": subject, "audience": getattr(auth, "audience", None)}
    app = {"fields": sorted(app_fields(auth)), "url": provider.app_url, "instructions": provider.app_help}
    return {
        "slot": auth.slot,
        "kind": auth.kind,
        "redirects": redirects,
        "instructions": auth.help,
        "credential": None if redirects else auth.credential.model_json_schema(),
        "app": app if app["fields"] else None,
        "callback_url": callback_url(public_url, provider.slug) if redirects else None,
        "external_id": external_id if auth.kind == "role" and not keyless else None,
        "trust": trust if keyless else None,
        "scopes": list(getattr(auth, "scopes", ())),
    }


def is_told_apart(auth: Auth) -> bool:
    """Whether a way's setup at the provider names the organization, so that no other can use it."""
    return auth.kind == "role" or bool(getattr(auth, "keyless", False))


def availability_row(found: Availability, provider: Provider[Any], *, public_url: str) -> JsonRow:
    """Whether a way that needs an app can be taken, and where the app is made."""
    return {
        "provider": found.provider,
        "way": found.auth.slot,
        "available": found.available,
        "source": found.source,
        "missing": list(found.missing),
        "callback_url": callback_url(public_url, found.provider) if isinstance(found.auth, Redirects) else None,
        "app_url": provider.app_url,
    }


def app_row(app: SealedApp) -> JsonRow:
    """An organization's own app, of which no secret is known."""
    return {
        "id": app.id,
        "provider": app.provider,
        "client_id": app.client_id,
        "fields": list(app.fields),
        "hosts": dict(app.hosts),
        "version": app.version,
        "fingerprint": app.fingerprint,
        "created_at": moment(app.created_at),
        "updated_at": moment(app.updated_at),
    }


def attempt_row(attempt: Attempt, *, now: datetime) -> JsonRow:
    """A person's way to the provider and back; `kind` is the way, by its slot."""
    failed = {"slug": attempt.error_slug, "message": attempt.error_message} if attempt.error_slug else None
    return {
        "id": attempt.id,
        "provider": attempt.provider,
        "kind": attempt.slot,
        "status": attempt.status_at(now),
        "reason": failed,
        "connection_id": attempt.connected_id,
        "reconnects": attempt.connection_id,
        "created_at": moment(attempt.created_at),
        "expires_at": moment(attempt.expires_at),
    }
