"""The vault: seals a connection's credentials under a key ring and opens them again, bound to their place."""

from tieline.vault.keys import KeyEncryption, KeyRing, KeyRingFile, LocalKeyRing, load_or_create, save, with_new_key
from tieline.vault.seal import Place, Vault, key_id_of

__all__ = [
    "KeyEncryption",
    "KeyRing",
    "KeyRingFile",
    "LocalKeyRing",
    "Place",
    "Vault",
    "key_id_of",
    "load_or_create",
    "save",
    "with_new_key",
]
