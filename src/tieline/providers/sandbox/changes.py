"""What can happen at the company while one watches: people enrol, join and leave, repositories lose their protection.

Each action changes one thing and says so in a sentence. Which one is drawn from the company's seed and the number of
changes made before, so the same calls after a reset tell the same tale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from tieline.providers.sandbox.code import new_protection
from tieline.providers.sandbox.company import Company, Row
from tieline.providers.sandbox.directory import find_group, join_group, leave_groups
from tieline.providers.sandbox.equipment import new_access_key, new_device
from tieline.providers.sandbox.names import DEPARTMENTS
from tieline.providers.sandbox.people import enrol, new_person

STORY = (("enrol_mfa", 5), ("hire", 2), ("unprotect", 1), ("protect", 1), ("leave", 1))
_OLD = timedelta(days=90)


@dataclass(frozen=True)
class Change:
    """One thing that changed: the collection and id of its row, and the sentence that tells it."""

    action: str
    collection: str
    id: str
    sentence: str


@dataclass(frozen=True)
class Moment:
    """What an action needs besides the company: chance, the time, and the rows it must leave alone."""

    random: Random
    at: datetime
    touched: frozenset[str]

    def pick(self, rows: Iterable[Row]) -> Row | None:
        """One of the rows that this batch has not touched, if there is any."""
        able = [row for row in rows if row["id"] not in self.touched]
        return self.random.choice(able) if able else None


def apply(company: Company, action: str, *, count: int, at: datetime) -> list[Change]:
    """Do one action `count` times, fewer if the company runs out; raises `KeyError` for an unknown action."""
    return apply_all(company, [(action, count)], at=at)


def apply_all(company: Company, steps: Iterable[tuple[str, int]], *, at: datetime) -> list[Change]:
    """Do the steps in their order; no row is picked twice, so no step undoes another."""
    changes: list[Change] = []
    for action, count in steps:
        for _ in range(count):
            touched = frozenset(change.id for change in changes)
            moment = Moment(company.random(f"change {company.changes}"), at, touched)
            change = ACTIONS[action](company, moment)
            if change is None:
                break
            company.changes += 1
            changes.append(change)
    return changes


def _enrol_mfa(company: Company, moment: Moment) -> Change | None:
    person = moment.pick(row for row in _active_humans(company) if not row["mfa_methods"])
    if person is None:
        return None
    method = moment.random.choice(("totp", "push", "webauthn"))
    enrol(company, moment.random, person, method=method, at=moment.at)
    return _changed("enrol_mfa", person, moment, f"{person['display_name']} enrolled {method} as a second factor.")


def _drop_mfa(company: Company, moment: Moment) -> Change | None:
    person = moment.pick(row for row in _active_humans(company) if row["mfa_methods"])
    if person is None:
        return None
    _remove_owned(company, "authenticators", person)
    person["mfa_methods"] = []
    return _changed("drop_mfa", person, moment, f"{person['display_name']} removed every second factor.")


def _suspend(company: Company, moment: Moment) -> Change | None:
    person = moment.pick(_replaceable(company))
    if person is None:
        return None
    person["status"] = "suspended"
    return _changed("suspend", person, moment, f"{person['display_name']} was suspended and kept every membership.")


def _reinstate(company: Company, moment: Moment) -> Change | None:
    person = moment.pick(row for row in company.people if row["status"] == "suspended")
    if person is None:
        return None
    person["status"] = "active"
    return _changed("reinstate", person, moment, f"{person['display_name']} was reinstated.")


def _hire(company: Company, moment: Moment) -> Change:
    department = moment.random.choice(list(DEPARTMENTS))
    title = moment.random.choice(DEPARTMENTS[department][2])
    person = new_person(company, moment.random, department, title=title, created_at=moment.at)
    head = DEPARTMENTS[department][1]
    person["manager_id"] = next(row["id"] for row in company.people if row["title"] == head)
    for group in (department, "Everyone"):
        join_group(company, find_group(company, group), person, at=moment.at)
    new_device(company, moment.random, person, enrolled_at=moment.at)
    sentence = f"{person['display_name']} joined {department} without a second factor."
    return _changed("hire", person, moment, sentence)


def _leave(company: Company, moment: Moment) -> Change | None:
    person = moment.pick(_replaceable(company))
    if person is None:
        return None
    person |= {"status": "deactivated", "deactivated_at": moment.at, "mfa_methods": [], "admin": False}
    groups = leave_groups(company, person)
    for collection in ("authenticators", "access-keys", "devices"):
        _remove_owned(company, collection, person)
    sentence = f"{person['display_name']} left {person['department']} and {groups} groups."
    return _changed("leave", person, moment, sentence)


def _protect(company: Company, moment: Moment) -> Change | None:
    repository = moment.pick(row for row in _in_use(company) if not row["protection"])
    if repository is None:
        return None
    repository["protection"] = new_protection(moment.random)
    return _changed("protect", repository, moment, f"The default branch of {repository['full_name']} was protected.")


def _unprotect(company: Company, moment: Moment) -> Change | None:
    repository = moment.pick(row for row in _in_use(company) if row["protection"])
    if repository is None:
        return None
    repository["protection"] = None
    sentence = f"The default branch of {repository['full_name']} lost its protection."
    return _changed("unprotect", repository, moment, sentence)


def _publish(company: Company, moment: Moment) -> Change | None:
    repository = moment.pick(row for row in _in_use(company) if row["visibility"] != "public")
    if repository is None:
        return None
    repository["visibility"] = "public"
    return _changed("publish", repository, moment, f"{repository['full_name']} became public.")


def _rotate_key(company: Company, moment: Moment) -> Change | None:
    old = moment.pick(row for row in company.tables["access-keys"] if moment.at - row["created_at"] > _OLD)
    if old is None:
        return None
    person = company.people[old["person_id"]]
    company.tables["access-keys"].remove(old["id"])
    new = new_access_key(company, moment.random, person, created_at=moment.at)
    sentence = f"{person['display_name']} replaced the access key {old['prefix']} by {new['prefix']}."
    return Change("rotate_key", "access-keys", new["id"], sentence)


ACTIONS: dict[str, Callable[[Company, Moment], Change | None]] = {
    "enrol_mfa": _enrol_mfa,
    "drop_mfa": _drop_mfa,
    "suspend": _suspend,
    "reinstate": _reinstate,
    "hire": _hire,
    "leave": _leave,
    "protect": _protect,
    "unprotect": _unprotect,
    "publish": _publish,
    "rotate_key": _rotate_key,
}


def _changed(action: str, row: Row, moment: Moment, sentence: str) -> Change:
    row["updated_at"] = moment.at
    collection = "people" if row["id"].startswith("per_") else "repositories"
    return Change(action, collection, row["id"], sentence)


def _active_humans(company: Company) -> list[Row]:
    return [row for row in company.people if row["status"] == "active" and row["employment_type"] != "service"]


def _replaceable(company: Company) -> list[Row]:
    """Active people whom nobody reports to, so that no one is left without a manager."""
    leads = {row["manager_id"] for row in company.people}
    return [row for row in _active_humans(company) if row["id"] not in leads and row["manager_id"]]


def _in_use(company: Company) -> list[Row]:
    return [row for row in company.tables["repositories"] if not row["archived"]]


def _remove_owned(company: Company, collection: str, person: Row) -> None:
    table = company.tables[collection]
    for key in [row["id"] for row in table if row["person_id"] == person["id"]]:
        table.remove(key)
