"""What the tenant demands at sign-in: Conditional Access policies and security defaults, each with a mapping of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.entra.tenant import is_offered
from tieline.sdk import Context, NextLink, Policy, Record

_CONDITIONAL = "/identity/conditionalAccess/policies"
_DEFAULTS = "/policies/identitySecurityDefaultsEnforcementPolicy"

_GRANT = "payload.grantControls"
_CONTROLS = f"{_GRANT}.builtInControls"
_STRENGTH = f"(has({_GRANT}.authenticationStrength) && {_GRANT}.authenticationStrength.requirementsSatisfied == 'mfa')"
_DEMANDS_MFA = f"(has({_GRANT}) && ('mfa' in {_CONTROLS} || {_STRENGTH}))"
_ALONE = f"({_GRANT}.operator == 'AND' || size({_CONTROLS}) + ({_STRENGTH} ? 1 : 0) == 1)"
_FREQUENCY = "payload.sessionControls.signInFrequency"
_LIMITS_SESSIONS = f"(has(payload.sessionControls) && has({_FREQUENCY}))"

MAPPINGS = (
    Policy.map(
        variant="conditional_access",
        drop=("modifiedDateTime", "@microsoft.graph.tips"),
        external_id="payload.id",
        name="payload.displayName",
        # A policy that blocks, or asks for a device, is not one that ought to ask for a second factor.
        type=f"{_DEMANDS_MFA} ? 'sign_on' : {_LIMITS_SESSIONS} && !has({_GRANT}) ? 'session' : 'access'",
        status="payload.state == 'enabled' ? 'active' : 'inactive'",  # "report only" decides nothing
        # "A second factor or a managed device" demands the factor of some and not of others.
        mfa_required=f"{_DEMANDS_MFA} ? ({_ALONE} ? dyn(true) : dyn(null)) : dyn(false)",
        session_hours=f"{_FREQUENCY}.isEnabled && has({_FREQUENCY}.value)"
        f" ? dyn(double({_FREQUENCY}.value) * ({_FREQUENCY}.type == 'days' ? 24.0 : 1.0)) : dyn(null)",
    ),
    Policy.map(
        variant="security_defaults",
        drop=("@odata.context",),
        external_id="payload.id",
        name="payload.displayName",
        type="'mfa'",
        status="payload.isEnabled ? 'active' : 'inactive'",
        mfa_required="payload.isEnabled",
    ),
)


async def read_policies(ctx: Context[Any]) -> AsyncIterator[Record]:
    """Security defaults, which every tenant has, and Conditional Access policies, which a licence brings."""
    yield Record(await ctx.get(_DEFAULTS), "security_defaults")
    if await is_offered(ctx, _CONDITIONAL):
        async for policy in ctx.pages(_CONDITIONAL, pages=NextLink(), items="value"):
            yield Record(policy, "conditional_access")
