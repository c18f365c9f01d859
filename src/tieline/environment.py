"""The environment as it stands, before it is known to be right: variables, the files they name, and the two families about providers.

What is wrong is told by the name of its variable and never by its value, which may be a secret.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tieline.errors import SetupError
from tieline.sdk.auth import OAuthApp

PREFIX = "TIELINE_"
OAUTH = f"{PREFIX}OAUTH_"
HOST = f"{PREFIX}HOST_"


def read_files(settings: Collection[str]) -> dict[str, Any]:
    """Settings whose value is in a file named by `TIELINE_<NAME>_FILE`."""
    found = {}
    for name in settings:
        variable = f"{PREFIX}{name.upper()}_FILE"
        if path := os.environ.get(variable):
            found[name] = _read_file(variable, path)
    return found


def _read_file(variable: str, path: str) -> str:
    try:
        content = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SetupError(f"{variable} names a file that cannot be read") from None
    if not content:
        raise SetupError(f"{variable} names an empty file")
    return content


def refuse_misspelt(settings: Collection[str]) -> None:
    """A variable that is almost a setting would be ignored in silence, and something else be in force."""
    known = {f"{PREFIX}{name.upper()}" for name in settings}
    for name in sorted(os.environ):
        stem = name.removesuffix("_FILE")
        if not name.startswith(PREFIX) or name.startswith((OAUTH, HOST)) or stem in known:
            continue
        if near := get_close_matches(stem, known, 1, 0.9):
            raise SetupError(f"{name} is not a setting; {near[0]} is")


def read_families() -> dict[str, Any]:
    """The operator's apps and hosts at providers; raises `SetupError` for a field that no app has."""
    apps: dict[str, dict[str, str]] = {}
    hosts: dict[str, str] = {}
    for variable in sorted(name.upper() for name in os.environ):
        stem = variable.removesuffix("_FILE")
        if not stem.startswith((OAUTH, HOST)) or not (value := _read(variable)):
            continue
        if stem.startswith(HOST):
            hosts[stem.removeprefix(HOST)] = value
        else:
            provider, field = _app_field(stem)
            apps.setdefault(provider, {})[field] = value.replace("\\n", "\n") if field == "private_key" else value
    return {name: found for name, found in (("oauth_apps", _made(apps)), ("hosts", hosts)) if found}


def _app_field(variable: str) -> tuple[str, str]:
    """Provider and field of an app's variable."""
    name = variable.removeprefix(OAUTH)
    for field in OAuthApp.model_fields:
        provider = name.removesuffix(f"_{field.upper()}")
        if provider and provider != name:
            return provider, field
    provider = name.partition("_")[0]
    raise unknown(
        variable, [f"{OAUTH}{provider}_{field.upper()}" for field in OAuthApp.model_fields], "an app has no such field"
    )


def _made(apps: Mapping[str, Mapping[str, str]]) -> dict[str, OAuthApp]:
    made = {}
    for provider, fields in apps.items():
        try:
            made[provider] = OAuthApp.model_validate(fields)
        except ValidationError as error:
            raise refused(error, f"{OAUTH}{provider}_") from None
    return made


def _read(variable: str) -> str:
    """The value of a variable, or of the file that it names."""
    value = next(one for name, one in os.environ.items() if name.upper() == variable)
    return _read_file(variable, value) if value and variable.endswith("_FILE") else value


def refused(error: ValidationError, prefix: str) -> SetupError:
    """What pydantic found wrong, by variable, and no value."""
    told = [
        f"{prefix}{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" if one["loc"] else one["msg"]
        for one in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    return SetupError("; ".join(told), advice="Correct the environment; `tieline settings` explains each setting.")


def unknown(variable: str, known: Collection[str], why: str) -> SetupError:
    """What to say of a variable of a family that means nothing, and which one may have been meant."""
    near = get_close_matches(variable, known, 1, 0.6)
    advice = f"Did you mean {near[0]}?" if near else "`tieline providers` shows those there are."
    return SetupError(f"{variable} is not a setting: {why}", advice=advice)
