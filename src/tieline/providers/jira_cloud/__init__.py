"""Jira Cloud: a site's people, groups and projects."""
