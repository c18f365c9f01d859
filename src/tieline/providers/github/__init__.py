"""GitHub: an organization's people, teams and repositories."""
