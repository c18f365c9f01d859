"""The company's groups and who is in them, its applications, and its sign-in policies."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from tieline.providers.sandbox.company import Company, Row, Table
from tieline.providers.sandbox.names import (
    ADMIN_GROUPS,
    APPLICATIONS,
    COMPANY,
    DEPARTMENTS,
    ON_CALL,
    PROJECTS,
    SITES,
    TECHNICAL,
)

_SIGN_ON = ("saml", "oidc", "oidc", "password", "bookmark")


def add_groups(company: Company) -> None:
    """Add sixty groups; all members are active, but for some suspended people whom nobody took out."""
    random = company.random("groups")
    active = [row for row in company.people if row["status"] == "active"]
    humans = [row for row in active if row["employment_type"] != "service"]
    technical = [row for row in humans if row["department"] in TECHNICAL]
    admins = [row for row in humans if row["admin"]]
    _add_group(company, random, "Everyone", kind="everyone", members=active)
    for department in DEPARTMENTS:
        _add_group(
            company, random, department, kind="department",
            members=[row for row in active if row["department"] == department],
        )  # fmt: skip
    for project in PROJECTS:
        size = min(len(humans), random.randint(5, 60))
        _add_group(company, random, f"Project {project}", kind="project", members=random.sample(humans, size))
    for rota in ON_CALL:
        members = random.sample(technical, min(len(technical), random.randint(4, 10)))
        _add_group(company, random, f"On call: {rota}", kind="on_call", members=members)
    for name in ADMIN_GROUPS:
        members = random.sample(admins, max(2, len(admins) // random.randint(1, 4)))
        _add_group(company, random, name, kind="admin", members=members)
    for site in SITES:
        size = len(humans) // len(SITES)
        _add_group(company, random, f"Site: {site}", kind="site", members=random.sample(humans, size))
    _leave_suspended_inside(company, random)


def join_group(company: Company, group: Row, person: Row, *, at: datetime, role: str = "member") -> None:
    """Put a person into a group."""
    company.members[group["id"]].add({
        "id": company.new_id("mem"),
        "group_id": group["id"],
        "person_id": person["id"],
        "email": person["email"],
        "role": role,
        "added_at": at,
    })  # fmt: skip
    group["member_count"] += 1


def leave_groups(company: Company, person: Row) -> int:
    """Take a person out of every group; the number of groups left."""
    left = 0
    for group_id, members in company.members.items():
        for membership in [row for row in members if row["person_id"] == person["id"]]:
            members.remove(membership["id"])
            company.tables["groups"][group_id]["member_count"] -= 1
            left += 1
    return left


def find_group(company: Company, name: str) -> Row:
    """The group of that name; raises `StopIteration` if there is none."""
    return next(row for row in company.tables["groups"] if row["name"] == name)


def add_applications(company: Company) -> None:
    """Add forty applications, each assigned to some groups or to everyone."""
    random = company.random("applications")
    groups = list(company.tables["groups"])
    everyone = find_group(company, "Everyone")
    for name in APPLICATIONS:
        assigned = [everyone] if random.random() < 0.3 else random.sample(groups, random.randint(0, 9))
        created_at = company.ago(random, 120, 2600)
        company.tables["applications"].add({
            "id": company.new_id("app"),
            "name": name,
            "sign_on": random.choice(_SIGN_ON),
            "status": "inactive" if name.startswith("Legacy") or random.random() < 0.05 else "active",
            "mfa_required": random.random() < 0.7,
            "assigned_group_count": len(assigned),
            "assigned_group_ids": sorted(group["id"] for group in assigned),
            "created_at": created_at,
            "updated_at": created_at,
        })  # fmt: skip


def add_policies(company: Company) -> None:
    """Add the policies for passwords, sessions and MFA; the stricter ones hold for administrators only."""
    password = {"min_length": 12, "history": 10, "max_age_days": None, "lockout_attempts": 10, "lockout_minutes": 30}
    legacy = {"min_length": 8, "history": 2, "max_age_days": 365, "lockout_attempts": None, "lockout_minutes": None}
    session = {"max_hours": 12, "idle_minutes": 120, "persistent": False}
    mfa = {"required": True, "grace_days": 14, "methods": ["push", "sms", "totp", "webauthn"]}
    strict = {"required": False, "grace_days": 0, "methods": ["webauthn"]}
    for kind, name, scope, settings in (
        ("password", "Default password policy", "everyone", password),
        ("password", "Administrators' password policy", "admins", password | {"min_length": 16, "history": 24}),
        ("password", "Legacy intranet password policy", "application", legacy),
        ("session", "Default session policy", "everyone", session),
        ("session", "Administrators' session policy", "admins", session | {"max_hours": 8, "idle_minutes": 15}),
        ("mfa", "MFA for everyone", "everyone", mfa),
        ("mfa", "Phishing-resistant MFA for administrators", "admins", strict),
    ):
        _add_policy(company, kind, name, scope=scope, settings=settings)


def _add_policy(company: Company, kind: str, name: str, *, scope: str, settings: Row) -> None:
    company.tables["policies"].add({
        "id": company.new_id("pol"),
        "type": kind,
        "name": name,
        "applies_to": scope,
        "enabled": True,
        "settings": settings,
        "updated_at": (company.as_of - timedelta(days=210)).replace(microsecond=0),
    })  # fmt: skip


def _add_group(company: Company, random: Random, name: str, *, kind: str, members: list[Row]) -> None:
    group = company.tables["groups"].add({
        "id": company.new_id("grp"),
        "name": name,
        "kind": kind,
        "description": None if kind in {"project", "site"} else f"{name}, {COMPANY}",
        "member_count": 0,
        "created_at": company.ago(random, 200, 2900),
    })  # fmt: skip
    company.members[group["id"]] = Table()
    for number, person in enumerate(members):
        at = max(person["created_at"], group["created_at"])
        join_group(company, group, person, at=at, role="member" if number else "owner")


def _leave_suspended_inside(company: Company, random: Random) -> None:
    suspended = [row for row in company.people if row["status"] == "suspended"]
    for person in random.sample(suspended, max(3, len(suspended) // 4)):
        join_group(company, find_group(company, person["department"]), person, at=person["created_at"])
