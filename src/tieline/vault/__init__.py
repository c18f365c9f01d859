"""The vault: seals secrets under a key ring or a key service and opens them again, bound to their place."""

from tieline.vault.composed import ComposedKeys
from tieline.vault.encryption import Bound, DataKey, KeyEncryption, KeyFailure, KeyRing, Wrapped
from tieline.vault.key_file import KeyRingFile, copy, load_or_create, retire, save
from tieline.vault.keys import LocalKeyRing, with_new_key
from tieline.vault.seal import Place, Vault, key_id_of
from tieline.vault.services import ServiceSettings, compose_keys

__all__ = [
    "Bound",
    "ComposedKeys",
    "DataKey",
    "KeyEncryption",
    "KeyFailure",
    "KeyRing",
    "KeyRingFile",
    "LocalKeyRing",
    "Place",
    "ServiceSettings",
    "Vault",
    "Wrapped",
    "compose_keys",
    "copy",
    "key_id_of",
    "load_or_create",
    "retire",
    "save",
    "with_new_key",
]
