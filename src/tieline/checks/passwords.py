"""Password policies: long passwords, few guesses, no going round in circles.

There is no check that passwords expire: NIST SP 800-63B advises against changing them without a cause.
"""

from __future__ import annotations

from tieline.sdk import Policy, check


def _is_password_policy(policy: Policy) -> bool:
    return policy.type == "password" and policy.status != "inactive"


@check(
    Policy,
    severity="medium",
    controls=["soc2:CC6.1", "iso27001:A.5.17", "iso27001:A.8.5"],
    when=_is_password_policy,
)
def password_length_required(policy: Policy) -> bool | None:
    """The policy asks for passwords of 12 characters or more.

    Raise the minimum length to 12 characters, or better 15, and allow long passphrases with spaces. People get the new
    rule when they next change their password.
    """
    return None if policy.min_length is None else policy.min_length >= 12


@check(Policy, severity="medium", controls=["soc2:CC6.1", "iso27001:A.8.5"], when=_is_password_policy)
def password_guessing_stopped(policy: Policy) -> bool | None:
    """The policy locks an account after 10 wrong passwords or fewer.

    Set the number of wrong passwords after which an account is locked to 10 or fewer, and let it open again by itself
    after some minutes, so that a stranger cannot lock people out for long.
    """
    return None if policy.lockout_attempts is None else 1 <= policy.lockout_attempts <= 10


@check(Policy, severity="low", controls=["soc2:CC6.1", "iso27001:A.5.17"], when=_is_password_policy)
def password_reuse_refused(policy: Policy) -> bool | None:
    """The policy refuses the last 5 passwords.

    Let the policy remember at least the last 5 passwords of an account, so that one that leaked does not come back.
    """
    return None if policy.history is None else policy.history >= 5
