"""Okta: an org's people, groups, applications, enrolled factors and policies."""
