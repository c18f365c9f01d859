"""The Okta provider against the emulated Okta, and its policies on answers of the form that Okta documents."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError
from tests.emulators.emulate import APPLICATIONS, OKTA_STATUSES, OKTA_TOKEN, Emulated
from tests.providers.readings import Answers, Connect, Reading, mapped, mapping_of

from tieline.providers.okta.provider import OktaOptions, okta
from tieline.sdk import (
    Account,
    Application,
    Authenticator,
    Forbidden,
    Group,
    Identified,
    Membership,
    NotOffered,
    Policy,
    RateLimited,
    Unauthorised,
)

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MEANING = {
    "ACTIVE": "active",
    "SUSPENDED": "suspended",
    "STAGED": "inactive",
    "PROVISIONED": "invited",
    "DEPROVISIONED": "deleted",
}


@pytest.mark.parametrize("mapping", [mapping for operation in okta.operations for mapping in operation.into])
def test_every_mapping_compiles(mapping: Any) -> None:
    assert mapping.faults() == []


def test_the_org_url_is_kept_without_a_slash() -> None:
    assert OktaOptions(org_url=" https://Acme.okta.com/ ").org_url == "https://acme.okta.com"


@pytest.mark.parametrize(
    "url", ["acme.okta.com", "https://acme.okta.com/app", "https://acme-admin.okta.com", "https://me@acme.okta.com", ""]
)
def test_what_is_no_org_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        OktaOptions(org_url=url)


async def test_the_identity_is_the_host_where_the_org_does_not_tell_its_id(
    emulated: Emulated, connect: Connect
) -> None:
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        host = emulated.okta_url.removeprefix("http://")
        assert await connected.identify() == Identified(id=host, name=host, scopes=None)


@pytest.mark.parametrize(("status", "name"), [(200, "Acme Ltd"), (403, "acme.okta.com")])
async def test_the_identity_is_the_org_s_id_and_its_name_if_it_may_be_read(
    connect: Connect, status: int, name: str
) -> None:
    replies: dict[str, Any] = {
        "/api/v1/users/me": (200, {"id": "00u1"}, {}),
        "/.well-known/okta-organization": (200, {"id": "00o1", "pipeline": "idx"}, {}),
        "/api/v1/org": (status, {"id": "00o1", "companyName": "Acme Ltd"}, {}),
    }
    transport = Answers(lambda request: replies[request.url.path])
    async with connect(okta, "secret-token", transport=transport, org_url="https://acme.okta.com") as connected:
        assert await connected.identify() == Identified(id="00o1", name=name, scopes=None)


async def test_a_revoked_token_is_unauthorised(emulated: Emulated, connect: Connect) -> None:
    emulated.okta.revoke(OKTA_TOKEN)
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        with pytest.raises(Unauthorised):
            await connected.identify()
        with pytest.raises(Unauthorised):
            await connected.read("users")


async def test_all_users_are_found_the_deactivated_too(emulated: Emulated, connect: Connect) -> None:
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        reading = await connected.read("users")

    accounts = reading.of(Account)
    seeded = Counter(MEANING[OKTA_STATUSES[n % len(OKTA_STATUSES)]] for n in range(emulated.users))
    assert len(accounts) == emulated.users + 1
    assert Counter(it.status for it in accounts.values()) == seeded + Counter({"active": 1})
    assert reading.flaws == []
    person = accounts["00u00000000000000005"]
    assert (person.email, person.display_name) == ("person00005@acme.test", "Person 00005")
    assert (person.given_name, person.family_name, person.active) == ("Person", "00005", True)
    assert (person.mfa, person.admin, person.has_password, person.last_login_at) == (None, None, None, None)


@pytest.mark.parametrize("status", ["RECOVERY", "PASSWORD_EXPIRED", "LOCKED_OUT"])
def test_who_cannot_sign_in_for_the_moment_is_active(status: str) -> None:
    account = mapped(okta, "users", {"id": "00u1", "status": status, "profile": {}})
    assert (account.status, account.active) == ("active", True)


def test_a_password_is_known_by_its_bare_object_and_recovery_answers_are_dropped() -> None:
    credentials = {"password": {}, "recovery_question": {"question": "First pet?"}}
    user = {"id": "00u1", "status": "ACTIVE", "profile": {}, "credentials": credentials}
    assert mapped(okta, "users", user).has_password is True
    assert mapped(okta, "users", user | {"credentials": {}}).has_password is False
    assert "First pet?" not in str(mapping_of(okta, "users").clean(user))


async def test_users_go_on_at_any_checkpoint(emulated: Emulated, connect: Connect) -> None:
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        whole = await connected.read("users")
        plain = [checkpoint for checkpoint in whole.checkpoints if checkpoint.spine == 0]
        rest = await connected.read("users", start=plain[2])
        deactivated = await connected.read("users", start=whole.checkpoints[-2])

    assert 0 < len(rest.of(Account)) < len(whole.of(Account))
    assert rest.of(Account).items() <= whole.of(Account).items()
    assert {it.status for it in deactivated.of(Account).values()} == {"deleted"}


async def test_all_groups_and_memberships_are_found(emulated: Emulated, connect: Connect) -> None:
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        reading = await connected.read("groups")

    groups, memberships = reading.of(Group), reading.of(Membership).values()
    assert Counter(it.type for it in groups.values()) == {"team": emulated.users // 10, "builtin": 1}
    everyone = next(it for it in groups.values() if it.type == "builtin")
    pairs = {(it.group, it.account) for it in memberships if it.group != everyone.external_id}
    assert pairs == {(f"00g{n % (emulated.users // 10):017d}", f"00u{n:017d}") for n in range(emulated.users)}
    assert reading.flaws == []


async def test_all_applications_are_found(emulated: Emulated, connect: Connect) -> None:
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        reading = await connected.read("applications")

    applications = reading.of(Application).values()
    assert len(applications) == APPLICATIONS + 1
    assert {it.name for it in applications} >= {f"app-{n:02d}" for n in range(APPLICATIONS)}
    assert {(it.status, it.sign_on) for it in applications} == {("active", "oidc")}
    assert reading.flaws == []


async def test_every_third_person_has_no_factor(emulated: Emulated, connect: Connect) -> None:
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        reading = await connected.read("factors")

    factors = reading.of(Authenticator).values()
    deactivated = OKTA_STATUSES.index("DEPROVISIONED")
    holders = {
        f"00u{n:017d}" for n in range(emulated.users) if n % 3 and n % len(OKTA_STATUSES) != deactivated
    }  # fmt: skip
    assert {it.account for it in factors if it.account.startswith("00u000")} == holders
    assert {(it.type, it.active, it.phishing_resistant) for it in factors} == {("token:software:totp", True, False)}
    assert reading.flaws == []


@pytest.mark.parametrize("type", ["webauthn", "u2f", "signed_nonce"])
def test_a_factor_bound_to_the_site_resists_phishing(type: str) -> None:
    factor = {"id": "fwf1", "user": "00u1", "factorType": type, "status": "PENDING_ACTIVATION"}
    authenticator = mapped(okta, "factors", factor)
    assert (authenticator.phishing_resistant, authenticator.active) == (True, False)


@pytest.mark.parametrize("type", ["question", "email"])
def test_a_question_or_a_mailbox_is_no_second_factor(type: str) -> None:
    assert mapped(okta, "factors", {"id": "q1", "user": "00u1", "factorType": type}) is None


async def test_next_links_are_followed_as_they_are(emulated: Emulated, connect: Connect) -> None:
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        await connected.read("users")
    first, second, *_ = emulated.okta.requests()
    assert first == "GET /api/v1/users?limit=200"
    assert second == "GET /api/v1/users?limit=200&page=2&per_page=30"  # which no cursor of our own would say


@pytest.mark.parametrize(
    ("operation", "path"), [("users", "/api/v1/users.*page=3"), ("factors", "/users/00u00000000000000100/factors")]
)
async def test_a_limit_reached_midway_is_told_with_its_time(
    emulated: Emulated, connect: Connect, operation: str, path: str
) -> None:
    began = datetime.now(UTC)
    reset = {
        "x-rate-limit-remaining": "0",
        "x-rate-limit-limit": "600",
        "x-rate-limit-reset": str(int(began.timestamp()) + 90),
    }
    emulated.okta.fail({"match": path, "status": 429, "headers": reset, "body": {"errorCode": "E0000047"}})
    reading = Reading()
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        with pytest.raises(RateLimited) as limited:
            await connected.read_into(reading, operation)
    assert 60 < (limited.value.until - began).total_seconds() < 120
    assert reading.entities


async def test_an_org_without_a_policy_api_does_not_offer_them(emulated: Emulated, connect: Connect) -> None:
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        with pytest.raises(NotOffered):
            await connected.read("policies")


async def test_a_token_that_may_not_read_policies_is_forbidden(emulated: Emulated, connect: Connect) -> None:
    emulated.okta.fail({"match": "/api/v1/policies", "status": 403, "body": {"errorCode": "E0000006"}})
    async with connect(okta, OKTA_TOKEN, org_url=emulated.okta_url) as connected:
        with pytest.raises(Forbidden):
            await connected.read("policies")


def described(type: str, **more: Any) -> dict[str, Any]:
    return {"id": f"00p-{type}", "type": type, "status": "ACTIVE", "name": f"{type} policy", "priority": 1, **more}


def signing_on(*, factor: bool, minutes: int, status: str = "ACTIVE", access: str = "ALLOW") -> dict[str, Any]:
    signon = {"access": access, "requireFactor": factor, "session": {"maxSessionLifetimeMinutes": minutes}}
    return {"id": "0pr1", "status": status, "actions": {"signon": signon}}


def opening_app(**method: str) -> dict[str, Any]:
    return {
        "id": "0pr2",
        "status": "ACTIVE",
        "actions": {"appSignOn": {"access": "ALLOW", "verificationMethod": method}},
    }


PASSWORD = {
    "password": {
        "complexity": {"minLength": 12},
        "age": {"maxAgeDays": 90, "historyCount": 4},
        "lockout": {"maxAttempts": 10},
    }
}
UNLIMITED = {
    "password": {
        "complexity": {"minLength": 8},
        "age": {"maxAgeDays": 0, "historyCount": 0},
        "lockout": {"maxAttempts": 0},
    }
}


def an_org(pipeline: str, rules: dict[str, list[dict[str, Any]]]) -> Answers:
    """An org with one policy of each type, and these rules by type."""

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        path = request.url.path
        if path == "/.well-known/okta-organization":
            return 200, {"id": "00o1", "pipeline": pipeline}, {}
        if path == "/api/v1/policies":
            type = request.url.params["type"]
            settings = {"PASSWORD": PASSWORD, "MFA_ENROLL": {"authenticators": []}}.get(type)
            return (
                (400, {}, {})
                if pipeline == "v1" and type == "ACCESS_POLICY"
                else (200, [described(type, settings=settings)], {})
            )
        return 200, rules[path.split("/")[4].removeprefix("00p-")], {}

    return Answers(answer)


async def test_policies_say_what_they_demand(connect: Connect) -> None:
    rules = {
        "OKTA_SIGN_ON": [
            signing_on(factor=True, minutes=120),
            signing_on(factor=True, minutes=720),
            signing_on(factor=False, minutes=0, status="INACTIVE"),
            signing_on(factor=False, minutes=60, access="DENY"),
        ],
        "ACCESS_POLICY": [
            opening_app(type="ASSURANCE", factorMode="2FA"),
            opening_app(type="ASSURANCE", factorMode="1FA"),
        ],
    }
    async with connect(
        okta, "secret-token", transport=an_org("idx", rules), org_url="https://acme.okta.com"
    ) as connected:
        reading = await connected.read("policies")

    policies = {it.type: it for it in reading.of(Policy).values()}
    assert reading.flaws == []
    password, mfa, sign_on, access = (policies[type] for type in ("password", "mfa", "sign_on", "access"))
    assert (password.min_length, password.history, password.max_age_days, password.lockout_attempts) == (12, 4, 90, 10)
    assert (mfa.mfa_required, mfa.status, mfa.priority) == (False, "active", 1)
    assert (sign_on.mfa_required, sign_on.session_hours) == (True, 12.0)
    assert access.mfa_required is False


async def test_classic_engine_is_not_asked_for_application_policies(connect: Connect) -> None:
    rules = {"OKTA_SIGN_ON": [signing_on(factor=False, minutes=0)]}
    async with connect(
        okta, "secret-token", transport=an_org("v1", rules), org_url="https://acme.okta.com"
    ) as connected:
        reading = await connected.read("policies")

    policies = {it.type: it for it in reading.of(Policy).values()}
    assert set(policies) == {"password", "mfa", "sign_on"}
    assert (policies["sign_on"].mfa_required, policies["sign_on"].session_hours) == (False, None)


@pytest.mark.parametrize(
    ("type", "rules"),
    [
        ("OKTA_SIGN_ON", []),
        ("OKTA_SIGN_ON", [signing_on(factor=False, minutes=5, access="DENY")]),
        ("ACCESS_POLICY", [opening_app(type="AUTH_METHOD_CHAIN")]),
    ],
)
def test_what_rules_do_not_settle_is_unknown(type: str, rules: list[dict[str, Any]]) -> None:
    policy = mapped(okta, "policies", described(type, rules=rules), variant=type)
    assert policy.mfa_required is None


def test_no_limit_is_not_told_as_a_limit_of_zero() -> None:
    policy = mapped(okta, "policies", described("PASSWORD", settings=UNLIMITED), variant="PASSWORD")
    assert (policy.max_age_days, policy.lockout_attempts, policy.history) == (None, None, 0)


def authenticators(**keys: str) -> dict[str, Any]:
    return {"authenticators": [{"key": key, "enroll": {"self": status}} for key, status in keys.items()]}


def factors(**keys: str) -> dict[str, Any]:
    return {"factors": {key: {"enroll": {"self": status}} for key, status in keys.items()}}


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        (authenticators(okta_password="REQUIRED", okta_verify="REQUIRED"), "pass"),
        (authenticators(okta_password="REQUIRED", okta_email="REQUIRED", okta_verify="OPTIONAL"), "fail"),
        (factors(okta_question="REQUIRED", okta_otp="REQUIRED"), "pass"),
        (factors(okta_question="REQUIRED", okta_otp="OPTIONAL"), "fail"),
        ({}, "unknown"),
    ],
)
def test_an_enrolment_policy_is_judged_by_what_proves_something_new(settings: dict[str, Any], outcome: str) -> None:
    policy = mapped(okta, "policies", described("MFA_ENROLL", settings=settings), variant="MFA_ENROLL")
    (check,) = okta.checks
    judgement = check.judge(policy, now=NOW, related={})
    assert judgement is not None
    assert judgement.outcome == outcome


def test_an_inactive_enrolment_policy_is_not_judged() -> None:
    policy = mapped(okta, "policies", described("MFA_ENROLL") | {"status": "INACTIVE"}, variant="MFA_ENROLL")
    (check,) = okta.checks
    assert check.judge(policy, now=NOW, related={}) is None
