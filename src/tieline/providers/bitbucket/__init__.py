"""Bitbucket Cloud: a workspace's people and repositories."""
