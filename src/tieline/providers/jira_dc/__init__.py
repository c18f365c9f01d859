"""Jira Data Center: people, groups and projects of a Jira that a company runs itself."""
