"""The ways to connect Okta: a service app, which has no person's rights, a person's grant, and an API token."""

from __future__ import annotations

from tieline.sdk import ApiKey, ClientCredentials, OAuth2

_TOKEN = "{org_url}/oauth2/v1/token"  # noqa: S105  an address; the org's own server, as others give no access to its API
_SCOPES = ("okta.users.read", "okta.groups.read", "okta.apps.read", "okta.policies.read", "okta.orgs.read")

WAYS = (
    ClientCredentials(
        token_url=_TOKEN,
        scopes=_SCOPES,
        client_auth="private_key_jwt",
        slot="service_app",
        help="Okta admin console → Applications → Create App Integration → API Services; Client authentication: public key / "
        "private key, a key made there in PEM; Require DPoP: off; grant the scopes under Okta API Scopes, and the role "
        "Read-only Administrator under Admin roles.",
    ),
    OAuth2(
        authorize_url="{org_url}/oauth2/v1/authorize",
        token_url=_TOKEN,
        revoke_url="{org_url}/oauth2/v1/revoke",
        scopes=(*_SCOPES, "offline_access"),
        help="Sign in as a read-only administrator of the org.",
    ),
    ApiKey(
        header="Authorization",
        prefix="SSWS ",
        field="api_token",
        help="Okta admin console → Security → API → Tokens → Create token, as a read-only administrator.",
    ),
)
