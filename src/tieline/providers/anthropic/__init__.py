"""Anthropic: an organization's people, workspaces, API keys and models."""
