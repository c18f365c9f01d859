"""Sign-in policies: a second factor is required, and a session comes to an end."""

from __future__ import annotations

from tieline.sdk import Policy, check


@check(
    Policy,
    severity="high",
    controls=["soc2:CC6.1", "soc2:CC6.6", "iso27001:A.8.5"],
    when=lambda policy: policy.type in ("sign_on", "mfa") and policy.status != "inactive",
)
def policy_requires_mfa(policy: Policy) -> bool | None:
    """The policy requires a second factor.

    Change the policy from offering a second factor to requiring it, after people had time to enrol. Turn the policy off
    if another one takes its place.
    """
    return policy.mfa_required


@check(
    Policy,
    severity="medium",
    controls=["soc2:CC6.1", "iso27001:A.8.5"],
    when=lambda policy: policy.status != "inactive" and (policy.type == "session" or policy.session_hours is not None),
)
def sessions_end(policy: Policy) -> bool | None:
    """The policy ends a session after at most 24 hours.

    Set the longest life of a session to 24 hours or less, counted from signing in and not from the last activity. NIST
    SP 800-63B asks for it where a second factor is used.
    """
    return None if policy.session_hours is None else 0 < policy.session_hours <= 24
