"""Checks that hold for every provider, by topic: each reads normalised entities and knows no vendor.

A check passes, fails or does not know. What a provider does not tell is unknown, never a failure; that something is absent
counts only when everything of its kind was read. The catalog finds the checks by looking through the modules of this package;
their ids are persisted, so renaming a function here is a breaking change.
"""
