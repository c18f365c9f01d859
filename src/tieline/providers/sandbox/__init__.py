"""Sandbox: an invented company's identity provider and code host, served on loopback for trying Tieline out."""
