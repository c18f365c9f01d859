"""Google Workspace: a domain's people, groups and domains."""
