"""Asana: a workspace's people, teams and who is in them."""
