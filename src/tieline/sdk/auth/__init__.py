"""How a connection proves who it is: the kinds of auth, and what they share."""

from tieline.sdk.auth.admin_consent import AdminConsent, Tenant
from tieline.sdk.auth.app_install import AppInstall, Installation
from tieline.sdk.auth.aws import AssumeRole, AwsSession, Role
from tieline.sdk.auth.client_auth import ClientAuth
from tieline.sdk.auth.client_credentials import ClientCredentials, ClientKey, ClientSecret
from tieline.sdk.auth.credential import Credential, Grant, OAuthApp, ShortLived, Token, malformed_fields
from tieline.sdk.auth.federation import Federated, FederatedApp, FederatedClient, WorkloadPool
from tieline.sdk.auth.given import ApiKey, Basic, Custom, PersonalToken
from tieline.sdk.auth.kinds import (
    Ask,
    Auth,
    AuthContext,
    Back,
    Further,
    Mints,
    Redirects,
    Refreshes,
    Revokes,
    Send,
    fill,
)
from tieline.sdk.auth.oauth2 import OAuth2
from tieline.sdk.auth.sending import make_send
from tieline.sdk.auth.service_account import ServiceAccount, ServiceAccountKey
from tieline.sdk.auth.signed import Jwt, SigningKey

__all__ = [
    "AdminConsent",
    "ApiKey",
    "AppInstall",
    "Ask",
    "AssumeRole",
    "Auth",
    "AuthContext",
    "AwsSession",
    "Back",
    "Basic",
    "ClientAuth",
    "ClientCredentials",
    "ClientKey",
    "ClientSecret",
    "Credential",
    "Custom",
    "Federated",
    "FederatedApp",
    "FederatedClient",
    "Further",
    "Grant",
    "Installation",
    "Jwt",
    "Mints",
    "OAuth2",
    "OAuthApp",
    "PersonalToken",
    "Redirects",
    "Refreshes",
    "Revokes",
    "Role",
    "Send",
    "ServiceAccount",
    "ServiceAccountKey",
    "ShortLived",
    "SigningKey",
    "Tenant",
    "Token",
    "WorkloadPool",
    "fill",
    "make_send",
    "malformed_fields",
]
