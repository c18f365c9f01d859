"""Microsoft Entra ID: a tenant's people, groups, administrator roles, second factors and sign-in policies."""
