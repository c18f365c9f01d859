"""Canaries: made-up secrets in the place of a case's own, and the search for them in everything that a reading gives off."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import BaseModel, SecretStr

_PREFIX = re.compile(r"^[A-Za-z0-9]{1,12}[_-](?:[A-Za-z0-9]{1,6}[_-])*")
_KEY_PLACE = "{private_key}"
_SHORTEST = 8
"""A shorter secret stands in too many places by chance."""


def hatch(number: int, value: str) -> str:
    """A canary of the length and the beginning (`ghp_`, `sk-ant-`) of a secret, so that it keeps the form that is asked of it.

    Keys that must be valid to sign with, in PEM or JSON, are left as they are: being made up, they are canaries already.
    """
    if "-----BEGIN" in value or value.lstrip().startswith("{"):
        return value
    begin = matched[0] if (matched := _PREFIX.match(value)) else ""
    return begin + f"cAnArY{number}bird"[: max(_SHORTEST, 16)].ljust(len(value) - len(begin), "Q")


def with_keys(value: Any) -> Any:
    """The same JSON with a key made for this run in the place of `{private_key}`, so that no fixture holds one."""
    if isinstance(value, dict):
        return {name: with_keys(one) for name, one in value.items()}
    if not isinstance(value, str) or _KEY_PLACE not in value:
        return value
    key = _private_key()
    return value.replace(_KEY_PLACE, key if value == _KEY_PLACE else json.dumps(key)[1:-1])  # else within a JSON text


@cache
def _private_key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    coded = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return coded.decode()


def plain_secrets(model: type[BaseModel], given: Mapping[str, Any]) -> list[str]:
    """The plain values that a model holds as secrets."""
    return [
        value
        for name, value in given.items()
        if isinstance(value, str) and (info := model.model_fields.get(name)) and "SecretStr" in str(info.annotation)
    ]


def swap(value: Any, swapped: Mapping[str, str]) -> Any:
    """The same JSON with every secret in it replaced by its canary, also within longer texts."""
    if not swapped:
        return value
    if isinstance(value, str):
        for secret, canary in swapped.items():
            value = value.replace(secret, canary)
        return value
    if isinstance(value, dict):
        return {swap(name, swapped): swap(one, swapped) for name, one in value.items()}
    return [swap(one, swapped) for one in value] if isinstance(value, list) else value


def secrets_in(model: Any) -> list[str]:
    """Every secret of a model that is long enough to be looked for; of a key in JSON or PEM, its lines and texts."""
    values = (
        [value.get_secret_value() for _, value in model if isinstance(value, SecretStr)] if model is not None else []
    )
    return [part for value in values for part in _parts(value)]


def sightings(text: str, canaries: Iterable[str]) -> list[str]:
    """In which coding a text holds a canary; the canary itself is not told."""
    standard = text.replace("-", "+").replace("_", "/")
    found = []
    for canary in canaries:
        for coding, form in _codings(canary).items():
            if form in (standard if coding == "base64" else text.lower() if coding == "hex" else text):
                found.append(coding)
    return found


def _parts(value: str) -> list[str]:
    if value.lstrip().startswith("{"):
        try:
            told = json.loads(value)
        except ValueError:
            return [value]
        value = str(told.get("private_key", ""))
    if "-----BEGIN" in value:
        return [line for line in value.splitlines() if "-----" not in line and len(line) > 2 * _SHORTEST]
    return [value] if len(value) >= _SHORTEST else []


def _codings(canary: str) -> dict[str, str]:
    plain = canary.encode()
    found = {"plain": canary, "quoted": quote(canary, safe=""), "escaped": json.dumps(canary)[1:-1], "hex": plain.hex()}
    core = base64.b64encode(plain[: len(plain) // 3 * 3]).decode().replace("-", "+").replace("_", "/")
    return found | {"base64": core}
