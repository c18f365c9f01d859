"""The company's people, who manages whom, and the authenticators they enrolled."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from tieline.providers.sandbox.company import Company, Row
from tieline.providers.sandbox.names import CULTURES, DEPARTMENTS, DOMAIN, SERVICE_TASKS, TECHNICAL, native

_TEAM = 9  # every ninth person of a department leads those who follow
_OLDEST = 3200  # days since the company began
_METHODS = (("totp",), ("push",), ("push", "totp"), ("webauthn",), ("webauthn", "push"), ("sms",), ("sms", "totp"))
_METHOD_WEIGHTS = (22, 30, 20, 10, 9, 5, 4)
_AUTHENTICATOR_NAMES = {
    "totp": ("Authenticator app",),
    "push": ("Phone", "Work phone", "Tablet"),
    "webauthn": ("Security key", "Laptop fingerprint reader", "Passkey"),
    "sms": ("Text message",),
}


def add_people(company: Company, count: int) -> None:
    """Add the chief executive, the heads, their departments, and the service accounts; then what became of each."""
    random = company.random("people")
    services = max(2, count // 50)
    chief = _join(company, random, "Executive", title="Chief executive", manager=None)
    heads = {
        department: _join(company, random, department, title=head, manager=chief["id"])
        for department, (_, head, _) in DEPARTMENTS.items()
    }
    _fill_departments(company, random, heads, count=count - services - 1 - len(heads))
    _give_statuses(company, random)
    _give_contracts(company, random)
    _give_admin(company, random)
    for number in range(services):
        _add_service_account(company, random, number, owner=heads["Platform"]["id"])
    _record_sign_ins(company)


def new_person(company: Company, random: Random, department: str, *, title: str, created_at: datetime) -> Row:
    """Add an active employee without a manager, an authenticator or a sign-in yet."""
    culture = random.choice(CULTURES)
    given, family = random.choice(culture.given), random.choice(culture.family)
    names = [native(family), native(given)] if culture.family_first else [native(given), native(family)]
    return company.people.add({
        "id": company.new_id("per"),
        "email": company.new_address(given, family),
        "display_name": " ".join(names),
        "given_name": native(given),
        "family_name": native(family),
        "department": department,
        "title": title,
        "manager_id": None,
        "status": "active",
        "employment_type": "employee",
        "admin": False,
        "mfa_methods": [],
        "created_at": created_at,
        "updated_at": created_at,
        "last_login_at": None,
        "deactivated_at": None,
    })  # fmt: skip


def enrol(company: Company, random: Random, person: Row, *, method: str, at: datetime) -> Row:
    """Add an authenticator of the given method to a person."""
    authenticator = company.tables["authenticators"].add({
        "id": company.new_id("aut"),
        "person_id": person["id"],
        "type": method,
        "name": random.choice(_AUTHENTICATOR_NAMES[method]),
        "status": "active",
        "phishing_resistant": method == "webauthn",
        "created_at": at,
        "last_used_at": person["last_login_at"],
    })  # fmt: skip
    person["mfa_methods"] = sorted({*person["mfa_methods"], method})
    return authenticator


def add_authenticators(company: Company) -> None:
    """Let everyone active or suspended enrol, but for 6 % of the active people, two administrators among them."""
    random = company.random("authenticators")
    active = [row for row in company.people if row["status"] == "active" and row["employment_type"] != "service"]
    admins = [row for row in active if row["admin"]]
    others = [row for row in active if not row["admin"]]
    without = random.sample(admins, 2) + random.sample(others, max(2, round(len(active) * 0.06) - 2))
    skipped = {row["id"] for row in without}
    for person in list(company.people):
        able = person["status"] in {"active", "suspended"} and person["employment_type"] != "service"
        if able and person["id"] not in skipped:
            for method in random.choices(_METHODS, _METHOD_WEIGHTS)[0]:
                at = person["created_at"] + timedelta(hours=random.randint(1, 12))
                enrol(company, random, person, method=method, at=at)


def _join(company: Company, random: Random, department: str, *, title: str, manager: str | None) -> Row:
    # Drawing the upper end too makes recent joiners the most frequent, as in a company that grew.
    created_at = company.ago(random, 2, 2 + _OLDEST * random.random())
    person = new_person(company, random, department, title=title, created_at=created_at)
    person["manager_id"] = manager
    return person


def _fill_departments(company: Company, random: Random, heads: dict[str, Row], *, count: int) -> None:
    names = list(DEPARTMENTS)
    leads, sizes = dict(heads), dict.fromkeys(names, 0)
    for department in random.choices(names, [weight for weight, _, _ in DEPARTMENTS.values()], k=count):
        title = random.choice(DEPARTMENTS[department][2])
        sizes[department] += 1
        if sizes[department] % _TEAM:
            _join(company, random, department, title=title, manager=leads[department]["id"])
        else:
            head = heads[department]["id"]
            leads[department] = _join(company, random, department, title=f"{title}, team lead", manager=head)


def _give_statuses(company: Company, random: Random) -> None:
    """Suspend, deactivate and invite an exact share of those whom nobody reports to."""
    leads = {row["manager_id"] for row in company.people}
    rest = [row for row in company.people if row["id"] not in leads and row["manager_id"]]
    random.shuffle(rest)
    for status, share in (("suspended", 0.02), ("deactivated", 0.06), ("invited", 0.02)):
        for _ in range(max(3, round(len(company.people) * share))):
            person = rest.pop()
            person["status"] = status
            if status == "invited":
                person["created_at"] = person["updated_at"] = company.ago(random, 1, 20)


def _give_contracts(company: Company, random: Random) -> None:
    leads = {row["manager_id"] for row in company.people}
    for person in company.people:
        if person["manager_id"] and person["id"] not in leads and random.random() < 0.11:
            person["employment_type"] = "contractor"


def _give_admin(company: Company, random: Random) -> None:
    """Make 1 % administrators, at least four: active people of the technical departments."""
    able = [row for row in company.people if row["status"] == "active" and row["department"] in TECHNICAL]
    for person in random.sample(able, max(4, len(company.people) // 100)):
        person["admin"] = True


def _add_service_account(company: Company, random: Random, number: int, *, owner: str) -> None:
    person = _join(company, random, "Platform", title="Service account", manager=owner)
    name = f"svc-{SERVICE_TASKS[number % len(SERVICE_TASKS)]}-{number // len(SERVICE_TASKS) + 1:02}"
    person |= {
        "email": f"{name}@{DOMAIN}",
        "display_name": name,
        "given_name": None,
        "family_name": None,
        "employment_type": "service",
    }


def _record_sign_ins(company: Company) -> None:
    """Date everyone's last sign-in: mostly this month, 6 % long ago, 3 % never; and the day that leavers left."""
    random = company.random("sign-ins")
    for person in company.people:
        age = (company.as_of - person["created_at"]).days
        chance = random.random()
        if person["status"] != "invited" and chance > 0.03:
            gone = person["status"] in {"suspended", "deactivated"}
            dormant = gone or (chance < 0.09 and age > 150)
            last = company.ago(random, 96, 520) if dormant else company.ago(random, 0, 24)
            person["last_login_at"] = max(last, person["created_at"] + timedelta(minutes=20))
        if person["status"] == "deactivated":
            left_at = (person["last_login_at"] or person["created_at"]) + timedelta(hours=3)
            person["deactivated_at"] = person["updated_at"] = left_at
