"""The errors of Tieline, each with a stable slug, an HTTP status and advice on what to do next.

    TielineError
    ├── ProviderError            raised while talking to a provider; the type decides what the runtime does
    │   ├── Unauthorised           the credential is dead: no retry, the connection needs a reconnect
    │   ├── Forbidden              a permission or plan is missing: that operation is switched off
    │   ├── Suspended              the provider has switched the installation off: schedules stop until it is back
    │   ├── NotOffered             this account lacks the feature: the run ends partial, nothing is concluded
    │   ├── RateLimited            wait until a stated time; not counted as a failure
    │   ├── Unavailable            their outage, time-outs, 5xx: backoff, then `error` after several tries
    │   └── Unexpected             an answer of the wrong shape or protocol: no retry, the operator is told
    ├── RequestError             the caller asked for something that cannot be done
    │   ├── Invalid                a field is missing, unknown, of the wrong type or too large
    │   ├── NotAuthenticated       no key, or one that does not work
    │   ├── NotAllowed             the key's role does not reach this
    │   ├── NotFound               absent, or another organization's: the two look the same
    │   ├── Conflict               it exists already, or its state does not allow this
    │   └── TooLarge               over a documented size
    ├── DeclarationError         a provider that cannot be loaded; `rule` names which rule it breaks
    ├── Busy                     somebody else changed the same at that moment: nothing was done, try again
    ├── VaultError               sealing or opening a credential failed; says nothing of why
    ├── BackupError              a backup cannot be used: it is damaged, altered, or of a newer release
    ├── AuditError               the audit log cannot be written or was altered: what was asked for is not done
    └── SetupError               the operator must act: settings, data directory, key ring, database
        ├── DatabaseError          the database cannot be reached, started or migrated
        └── KeyRingError           the key ring is missing, unreadable or lacks a needed key

A message never holds a secret, a full URL or a provider's raw answer: those who raise see to it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar


class TielineError(Exception):
    """Any error that Tieline raises on purpose."""

    slug: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    advice: ClassVar[str] = "Look at the log for this request id."

    def __init__(self, message: str, *, advice: str | None = None, **details: Any) -> None:
        message = message.replace("\0", "\N{REPLACEMENT CHARACTER}")  # no column takes a NUL
        super().__init__(message)
        self.message = message
        self.details = details
        self._advice = advice

    @property
    def what_to_do(self) -> str:
        """The advice for this very error, or its class's."""
        return self._advice or self.advice


class ProviderError(TielineError):
    """Talking to a provider failed."""

    slug = "provider-error"
    status = 502
    advice = "Try again; if it stays so, report it."


class Unauthorised(ProviderError):
    """The provider refused the credential (401)."""

    slug = "credential-rejected"
    status = 422
    advice = "Make a new credential at the provider and reconnect."


class Forbidden(ProviderError):
    """The credential lacks a permission, or the account's plan does."""

    slug = "permission-missing"
    status = 422
    advice = "Grant the named permission at the provider, then test the connection."

    def __init__(self, message: str, *, scope: str | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.scope = scope


class Suspended(ProviderError):
    """The provider, or an administrator there, has suspended the installation; the credential itself is good."""

    slug = "suspended"
    status = 422
    advice = "Lift the suspension at the provider, then test the connection."


class NotOffered(ProviderError):
    """This account does not have the feature that the operation reads."""

    slug = "not-offered"
    status = 422
    advice = "Nothing to do: the operation reads nothing until the account has the feature."


class RateLimited(ProviderError):
    """The provider asks to wait until `until` (an aware UTC time)."""

    slug = "rate-limited"
    status = 429
    advice = "Wait; Tieline goes on by itself at the time that the provider named."

    def __init__(self, message: str, *, until: datetime, **details: Any) -> None:
        super().__init__(message, **details)
        self.until = until


class Unavailable(ProviderError):
    """The provider cannot be reached, timed out or answered 5xx."""

    slug = "provider-unavailable"
    status = 502
    advice = "Try again later; look at the provider's status page."


class Unexpected(ProviderError):
    """The provider answered something that its documentation does not allow."""

    slug = "unexpected-answer"
    status = 502
    advice = "Try again; if it stays so, report it."


class RequestError(TielineError):
    """The caller's request cannot be carried out as asked."""

    slug = "bad-request"
    status = 400
    advice = "Correct the request."


class Invalid(RequestError):
    """A value is missing, unknown, of the wrong type or out of bounds."""

    slug = "invalid"
    status = 422
    advice = "Correct the named fields."


class NotAuthenticated(RequestError):
    """No API key was given, or it does not work."""

    slug = "not-authenticated"
    status = 401
    advice = "Send a valid key in X-API-Key; `tieline api-keys create` makes one."


class NotAllowed(RequestError):
    """The key or the session is good but its role does not reach this."""

    slug = "not-allowed"
    status = 403
    advice = "Use a key with a higher role, or ask an owner for one."


class NotFound(RequestError):
    """There is no such thing in this organization."""

    slug = "not-found"
    status = 404
    advice = "Check the id; list what there is."


class Conflict(RequestError):
    """It exists already, or its present state does not allow this."""

    slug = "conflict"
    status = 409
    advice = "Look at the present state, then decide."


class TooLarge(RequestError):
    """Something is over a documented size."""

    slug = "too-large"
    status = 413
    advice = "Send less."


class DeclarationError(TielineError):
    """A provider breaks a rule of the catalog.

    `rule` is the stable name of the rule, such as `duplicate-operation`; see the catalog's `compile.py`.
    """

    slug = "declaration"
    advice = "Correct the provider's declaration."

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{message} [{rule}]", rule=rule)
        self.rule = rule


class VaultError(TielineError):
    """A credential could not be sealed or opened; which part was wrong is not told."""

    slug = "credential-encryption-failed"
    status = 503
    advice = "Check the key ring; `tieline keys list` shows which keys are loaded."


class BackupError(TielineError):
    """A file is not a backup, is not as it was written, or was made by a newer release; nothing of it was used."""

    slug = "backup-unusable"
    status = 422
    advice = "Use another copy of it, or another backup; `tieline backup verify FILE` checks one."


class AuditError(TielineError):
    """The audit log cannot be written, or was altered: what would have to be recorded there is not done."""

    slug = "audit-unavailable"
    status = 503
    advice = (
        "Nothing was changed. `tieline audit verify` tells whether the log is whole; then look at the database's log."
    )


class Busy(TielineError):
    """Others were changing the same rows, and the database gave this transaction up; nothing of it was done."""

    slug = "busy"
    status = 503
    advice = "Try again in a moment."


class SetupError(TielineError):
    """Tieline cannot start as it is set up."""

    slug = "setup"
    status = 503
    advice = "Correct the settings; `tieline settings` shows those in force."


class DatabaseError(SetupError):
    """The database cannot be reached, started or migrated."""

    slug = "database"
    advice = "Check TIELINE_DATABASE_URL, or the data directory of the embedded database."


class KeyRingError(SetupError):
    """The key ring is missing, unreadable, open to others, or lacks a key that stored data needs."""

    slug = "key-ring"
    advice = "Put the key ring file back; without it no stored credential can be read."
