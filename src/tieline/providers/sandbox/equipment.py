"""The company's laptops and its people's access keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from tieline.providers.sandbox.company import Company, Row
from tieline.providers.sandbox.names import TECHNICAL

# platform → (weight, models, OS versions from newest to oldest)
_PLATFORMS: dict[str, tuple[int, tuple[str, ...], tuple[str, ...]]] = {
    "macos": (48, ("Notebook Air 13", "Notebook Pro 14", "Notebook Pro 16"), ("15.6.1", "15.5", "14.7.6", "12.7.6")),
    "windows": (40, ("Fieldbook 14", "Fieldbook 15", "Workstation M7"), ("10.0.26100", "10.0.22631", "10.0.19045")),
    "linux": (12, ("Workstation M7", "Notebook X1"), ("24.04", "22.04", "20.04")),
}
_SCOPES = ("repo:read", "repo:write", "packages:write", "builds:run", "directory:read")


def add_devices(company: Company) -> None:
    """Give nearly everyone a laptop and keep some spares; exactly 4 % are not encrypted."""
    random = company.random("devices")
    for person in company.people:
        holds = person["status"] in {"active", "suspended"} and person["employment_type"] != "service"
        if holds and random.random() < 0.97:
            new_device(company, random, person, enrolled_at=person["created_at"])
    for _ in range(max(2, len(company.people) // 100)):
        new_device(company, random, None, enrolled_at=company.ago(random, 100, 900))
    devices = list(company.tables["devices"])
    for device in random.sample(devices, max(3, round(len(devices) * 0.04))):
        device["disk_encrypted"] = False
    for device in random.sample(devices, max(2, round(len(devices) * 0.03))):
        device["screen_lock"] = {"enabled": False, "idle_minutes": None}


def new_device(company: Company, random: Random, person: Row | None, *, enrolled_at: datetime) -> Row:
    """Add an encrypted, locking laptop, held by a person or spare."""
    platform = random.choices(list(_PLATFORMS), [weight for weight, _, _ in _PLATFORMS.values()])[0]
    _, models, versions = _PLATFORMS[platform]
    recent = company.ago(random, 0, 14) if person and random.random() < 0.94 else company.ago(random, 40, 300)
    return company.tables["devices"].add({
        "id": company.new_id("dev"),
        "name": f"LF-{platform[:3].upper()}-{random.randrange(16**5):05X}",
        "person_id": person["id"] if person else None,
        "platform": platform,
        "model": random.choice(models),
        "serial_number": f"LF{random.randrange(16**8):08X}",
        "os_version": versions[min(int(random.expovariate(1.4)), len(versions) - 1)],
        "disk_encrypted": True,
        "screen_lock": {"enabled": True, "idle_minutes": random.choice((5, 10, 15))},
        "managed": random.random() < 0.98,
        "enrolled_at": enrolled_at,
        "last_seen_at": max(recent, enrolled_at),
    })  # fmt: skip


def add_access_keys(company: Company) -> None:
    """Give a third of the technical people and every service account keys; four in ten are old."""
    random = company.random("access keys")
    for person in company.people:
        service = person["employment_type"] == "service"
        technical = person["department"] in TECHNICAL and person["status"] in {"active", "suspended"}
        if service or (technical and random.random() < 0.33):
            for _ in range(random.choice((1, 1, 1, 2))):
                old = random.random() < 0.4
                created_at = company.ago(random, 95, 760) if old else company.ago(random, 0, 85)
                new_access_key(company, random, person, created_at=max(created_at, person["created_at"]))


def new_access_key(company: Company, random: Random, person: Row, *, created_at: datetime) -> Row:
    """Add an access key; only its first characters are ever shown."""
    age = company.as_of - created_at
    used = random.random() > 0.08 and age > timedelta(days=1)
    return company.tables["access-keys"].add({
        "id": company.new_id("key"),
        "person_id": person["id"],
        "name": random.choice(("laptop", "ci", "deploy", "reporting", "scripts", "editor")),
        "prefix": f"lk_{random.randrange(16**6):06x}",
        "scopes": sorted(random.sample(_SCOPES, random.randint(1, 3))),
        "created_at": created_at,
        "last_used_at": (created_at + age * random.random()).replace(microsecond=0) if used else None,
        "expires_at": created_at + timedelta(days=365) if random.random() < 0.4 else None,
    })  # fmt: skip
