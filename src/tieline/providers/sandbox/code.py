"""The company's repositories, the vulnerabilities found in them, and its security alerts."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from tieline.providers.sandbox.company import Company, Row
from tieline.providers.sandbox.names import (
    ACCIDENTALLY_PUBLIC,
    ALERTS,
    LANGUAGES,
    PACKAGES,
    PUBLIC_REPOSITORIES,
    REPOSITORY_FORMS,
    REPOSITORY_SUBJECTS,
    WEAKNESSES,
)

_REPOSITORIES = 180
_VULNERABILITIES = 150
_ALERTS = 40
_CHECKS = ("build", "tests", "lint", "types", "licences", "firmware-size")


def add_repositories(company: Company) -> None:
    """Add 180 repositories: three are public, one of them by mistake; 7 % of those in use have no protection."""
    random = company.random("repositories")
    names = [f"{subject}-{form}" for subject in REPOSITORY_SUBJECTS for form in REPOSITORY_FORMS]
    names.remove(ACCIDENTALLY_PUBLIC)
    public = (*PUBLIC_REPOSITORIES, ACCIDENTALLY_PUBLIC)
    chosen = [*public, *random.sample(names, _REPOSITORIES - len(public))]
    rows = [_new_repository(company, random, name, public=name in public) for name in chosen]
    inner = [row for row in rows if row["visibility"] != "public"]
    for repository in random.sample(inner, round(_REPOSITORIES * 0.08)):
        repository["archived"] = True
        if random.random() < 0.5:
            repository["protection"] = None  # nobody can push to it, so this is no fault
    in_use = [row for row in inner if not row["archived"]]
    for repository in random.sample(in_use, round(len(in_use) * 0.07)):
        repository["protection"] = None


def new_protection(random: Random) -> Row:
    """Rules for a default branch: at least one review, no rewriting of history."""
    return {
        "required_reviews": random.choice((1, 1, 1, 2)),
        "required_status_checks": sorted(random.sample(_CHECKS, random.randint(1, 4))),
        "allow_force_push": False,
        "enforce_for_admins": random.random() < 0.6,
    }


def add_vulnerabilities(company: Company) -> None:
    """Add 150 vulnerabilities over the repositories in use; six in ten are open."""
    random = company.random("vulnerabilities")
    repositories = [row for row in company.tables["repositories"] if not row["archived"]]
    for number in range(_VULNERABILITIES):
        ecosystem, package = random.choice(PACKAGES)
        major, minor = random.randint(0, 6), random.randint(0, 20)
        opened_at = company.ago(random, 0, 400)
        state = random.choices(("open", "fixed", "dismissed"), (60, 30, 10))[0]
        closed_at = opened_at + (company.as_of - opened_at) * random.random()
        company.tables["vulnerabilities"].add({
            "id": company.new_id("vul"),
            "advisory": f"LKF-{opened_at.year}-{number + 1:04}",
            "repository_id": random.choice(repositories)["id"],
            "ecosystem": ecosystem,
            "package": package,
            "summary": f"{random.choice(WEAKNESSES)} in {package}",
            "severity": random.choices(("critical", "high", "medium", "low"), (10, 22, 42, 26))[0],
            "installed_version": f"{major}.{minor}.{random.randint(0, 9)}",
            "fixed_version": None if random.random() < 0.12 else f"{major}.{minor + 1}.0",
            "state": state,
            "opened_at": opened_at,
            "closed_at": None if state == "open" else closed_at.replace(microsecond=0),
        })  # fmt: skip


def add_alerts(company: Company) -> None:
    """Add 40 alerts, each about a person, a device or a repository."""
    random = company.random("alerts")
    subjects = {
        "person": [row["id"] for row in company.people if row["status"] == "active"],
        "device": [row["id"] for row in company.tables["devices"]],
        "repository": [row["id"] for row in company.tables["repositories"]],
    }
    for _ in range(_ALERTS):
        kind, severity, title, about = random.choice(ALERTS)
        opened_at = company.ago(random, 0, 170)
        status = random.choices(("open", "acknowledged", "resolved"), (35, 20, 45))[0]
        resolved_at = opened_at + min(timedelta(days=random.uniform(0, 9)), company.as_of - opened_at)
        company.tables["alerts"].add({
            "id": company.new_id("alr"),
            "kind": kind,
            "severity": severity,
            "title": title,
            "subject_type": about,
            "subject_id": random.choice(subjects[about]),
            "status": status,
            "opened_at": opened_at,
            "resolved_at": resolved_at.replace(microsecond=0) if status == "resolved" else None,
        })  # fmt: skip


def _new_repository(company: Company, random: Random, name: str, *, public: bool) -> Row:
    created_at = company.ago(random, 60, 2700)
    pushed_at = max(company.ago(random, 0, 60) if random.random() < 0.7 else company.ago(random, 60, 800), created_at)
    return company.tables["repositories"].add({
        "id": company.new_id("rep"),
        "name": name,
        "full_name": f"larkfield/{name}",
        "description": f"{name.partition('-')[0].capitalize()}: {name.partition('-')[2]}",
        "visibility": "public" if public else random.choice(("private", "private", "private", "internal")),
        "default_branch": random.choice(("main", "main", "main", "main", "master", "trunk")),
        "language": random.choice(LANGUAGES),
        "archived": False,
        "protection": new_protection(random),
        "created_at": created_at,
        "updated_at": pushed_at,
        "pushed_at": pushed_at,
    })  # fmt: skip
