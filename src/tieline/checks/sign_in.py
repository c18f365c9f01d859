"""Signing in: second factors for people and administrators, single sign-on for applications."""

from __future__ import annotations

from tieline.checks.accounts import is_in_use
from tieline.sdk import Account, Application, Authenticator, Related, check


def _is_person_in_use(account: Account) -> bool:
    return account.type == "person" and is_in_use(account)


def _is_admin_in_use(account: Account) -> bool:
    return bool(account.admin) and account.type != "service" and is_in_use(account)


def _has_second_factor(account: Account, factors: Related[Authenticator]) -> bool | None:
    found = factors.any(lambda factor: factor.active) if account.mfa is None else account.mfa
    if account.has_password is False:  # it signs in elsewhere or not at all: what is missing here says nothing
        return found or None
    return found


def _resists_phishing(factor: Authenticator) -> bool | None:
    """Both must be true: one told to be false settles it, whatever is not told of the other."""
    if False in (factor.active, factor.phishing_resistant):
        return False
    return (factor.active and factor.phishing_resistant) or None


@check(
    Account,
    severity="high",
    controls=["soc2:CC6.1", "soc2:CC6.6", "iso27001:A.8.5"],
    when=_is_person_in_use,
)
def mfa_enabled(account: Account, authenticators: Related[Authenticator]) -> bool | None:
    """The person signs in with a second factor.

    Ask the person to enrol a security key, passkey or authenticator app. Then require a second factor in the sign-in
    policy, so that nobody can go without.
    """
    return _has_second_factor(account, authenticators)


@check(
    Account,
    severity="critical",
    controls=["soc2:CC6.1", "soc2:CC6.6", "iso27001:A.8.2", "iso27001:A.8.5"],
    when=_is_admin_in_use,
)
def admin_mfa_enabled(account: Account, authenticators: Related[Authenticator]) -> bool | None:
    """The administrator signs in with a second factor.

    Have the administrator enrol a security key or passkey today, or withdraw the administrator role until it is done.
    """
    return _has_second_factor(account, authenticators)


@check(
    Account,
    severity="medium",
    controls=["soc2:CC6.1", "soc2:CC6.6", "iso27001:A.8.2", "iso27001:A.8.5"],
    when=_is_admin_in_use,
)
def admin_mfa_resists_phishing(account: Account, authenticators: Related[Authenticator]) -> bool | None:  # noqa: ARG001
    """The administrator has a second factor that cannot be phished.

    Give the administrator a security key or passkey (FIDO2, WebAuthn) and let it take the place of codes and push prompts,
    which a false sign-in page can pass on.
    """
    return authenticators.any(_resists_phishing)


@check(
    Application,
    severity="low",
    controls=["soc2:CC6.1", "iso27001:A.5.16", "iso27001:A.8.5"],
    when=lambda application: application.status in ("active", None) and application.sign_on != "bookmark",
)
def application_uses_single_sign_on(application: Application) -> bool | None:
    """The application leaves signing in to the identity provider.

    Set the application up for SAML or OpenID Connect and switch its own passwords off, so that second factors and leavers
    are dealt with in one place.
    """
    return {"saml": True, "oidc": True, "password": False}.get(application.sign_on or "other")
