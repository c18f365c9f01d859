"""What a right sync must find at the company now: how many rows of each sort, and which rows are marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tieline.providers.sandbox.company import Company, Row
from tieline.providers.sandbox.names import PUBLIC_REPOSITORIES

_OLD = timedelta(days=90)


def gather_facts(company: Company, at: datetime) -> dict[str, Any]:
    """The facts by collection; a list holds ids in order. Ages are counted from `at`, and 90 days is old."""
    return {
        "counts": {name: len(table) for name, table in company.tables.items()}
        | {"memberships": sum(map(len, company.members.values()))},
        "people": _people(company, at),
        "devices": _devices(company, at),
        "repositories": _repositories(company),
        "access_keys": _access_keys(company, at),
        "vulnerabilities": _vulnerabilities(company),
        "alerts": _count("severity", (row for row in company.tables["alerts"] if row["status"] != "resolved")),
    }


def _people(company: Company, at: datetime) -> dict[str, Any]:
    active = [row for row in company.people if row["status"] == "active"]
    humans = [row for row in active if row["employment_type"] != "service"]
    without = [row for row in humans if not row["mfa_methods"]]
    holders = {row["person_id"] for members in company.members.values() for row in members}
    return {
        "by_status": _count("status", company.people),
        "by_employment_type": _count("employment_type", company.people),
        "active_admins": _ids(row for row in active if row["admin"]),
        "active_services": _ids(row for row in active if row["employment_type"] == "service"),
        "active_without_mfa": _ids(without),  # service accounts do not count: they have no one to ask
        "admins_without_mfa": _ids(row for row in without if row["admin"]),
        "only_sms": _ids(row for row in humans if row["mfa_methods"] == ["sms"]),
        "dormant": _ids(row for row in active if row["last_login_at"] and at - row["last_login_at"] > _OLD),
        "never_signed_in": _ids(row for row in active if not row["last_login_at"]),
        "suspended_members": _ids(
            row for row in company.people if row["status"] == "suspended" and row["id"] in holders
        ),
    }  # fmt: skip


def _devices(company: Company, at: datetime) -> dict[str, Any]:
    devices = company.tables["devices"]
    return {
        "unencrypted": _ids(row for row in devices if not row["disk_encrypted"]),
        "without_screen_lock": _ids(row for row in devices if not row["screen_lock"]["enabled"]),
        "unseen": _ids(row for row in devices if at - row["last_seen_at"] > _OLD),
        "unassigned": _ids(row for row in devices if not row["person_id"]),
    }


def _repositories(company: Company) -> dict[str, Any]:
    repositories = company.tables["repositories"]
    public = [row for row in repositories if row["visibility"] == "public"]
    return {
        "by_visibility": _count("visibility", repositories),
        "archived": _ids(row for row in repositories if row["archived"]),
        "unprotected": _ids(row for row in repositories if not row["protection"] and not row["archived"]),
        "public": _ids(public),
        "accidentally_public": _ids(row for row in public if row["name"] not in PUBLIC_REPOSITORIES),
    }


def _access_keys(company: Company, at: datetime) -> dict[str, Any]:
    keys = company.tables["access-keys"]
    return {
        "old": _ids(row for row in keys if at - row["created_at"] > _OLD),
        "never_used": _ids(row for row in keys if not row["last_used_at"]),
        "of_inactive_people": _ids(row for row in keys if company.people[row["person_id"]]["status"] != "active"),
    }


def _vulnerabilities(company: Company) -> dict[str, Any]:
    vulnerabilities = company.tables["vulnerabilities"]
    still_open = [row for row in vulnerabilities if row["state"] == "open"]
    return {
        "by_state": _count("state", vulnerabilities),
        "open_by_severity": _count("severity", still_open),
        "open_critical": _ids(row for row in still_open if row["severity"] == "critical"),
        "open_without_fix": _ids(row for row in still_open if not row["fixed_version"]),
    }


def _ids(rows: Iterable[Row]) -> list[str]:
    return [row["id"] for row in rows]


def _count(field: str, rows: Iterable[Row]) -> dict[str, int]:
    return dict(sorted(Counter(row[field] for row in rows).items()))
