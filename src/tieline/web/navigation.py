"""Navigation: the console's places, in the order in which a person needs them, and the least role that each is for."""

from __future__ import annotations

from dataclasses import dataclass

from tieline.access.roles import Role


@dataclass(frozen=True)
class Item:
    """One place."""

    path: str
    name: str
    icon: str
    role: Role = "auditor"

    def holds(self, path: str) -> bool:
        """Whether a page is in this place."""
        return path == self.path or (self.path != "/" and path.startswith(self.path + "/"))


NAVIGATION = (
    Item("/", "Home", "home"),
    Item("/catalogue", "Catalogue", "catalogue"),
    Item("/connections", "Connections", "connections"),
    Item("/runs", "Runs", "runs"),
    Item("/entities", "Entities", "entities"),
    Item("/findings", "Findings", "findings"),
    Item("/controls", "Controls", "controls"),
    Item("/evidence", "Evidence", "evidence"),
    Item("/access", "Access", "access"),
    Item("/oauth-apps", "OAuth apps", "key", "admin"),
    Item("/audit", "Audit", "audit"),
    Item("/operator", "Operator", "operator", "operator"),
)
