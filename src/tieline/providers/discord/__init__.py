"""Discord: a server's members, roles and security settings."""
