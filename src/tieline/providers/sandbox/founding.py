"""Fills a company from a seed, part by part."""

from __future__ import annotations

from datetime import datetime

from tieline.providers.sandbox.code import add_alerts, add_repositories, add_vulnerabilities
from tieline.providers.sandbox.company import Company
from tieline.providers.sandbox.directory import add_applications, add_groups, add_policies
from tieline.providers.sandbox.equipment import add_access_keys, add_devices
from tieline.providers.sandbox.people import add_authenticators, add_people

MINIMUM_PEOPLE = 60


def build_company(people: int = 2400, *, seed: int = 7, as_of: datetime) -> Company:
    """The company as it stood at `as_of` (aware), with `people` accounts; raises `ValueError` under 60 people."""
    if people < MINIMUM_PEOPLE:
        raise ValueError(f"the company needs at least {MINIMUM_PEOPLE} people")
    company = Company(seed=seed, as_of=as_of)
    add_people(company, people)
    add_authenticators(company)
    add_groups(company)
    add_applications(company)
    add_policies(company)
    add_devices(company)
    add_access_keys(company)
    add_repositories(company)
    add_vulnerabilities(company)
    add_alerts(company)
    return company
