"""The providers that ship with Tieline: one folder each, found by the catalog, imported by nobody."""
