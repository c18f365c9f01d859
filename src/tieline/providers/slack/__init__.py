"""Slack: a workspace's members, user groups and public channels."""
