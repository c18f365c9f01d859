"""What stands beside a provider's code: its forms, its README and its logo."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from pydantic import BaseModel

from tieline.sdk.auth import Auth, Redirects
from tieline.sdk.provider import Provider
from tieline.sdk.testing.fixtures import NotConforming

MOST_LOGO_BYTES = 2_048
_LEAST_README = 200
_ACTIVE = frozenset({"script", "foreignObject", "image", "iframe", "animate", "set", "a", "use", "style", "handler"})


def check_readme(file: Path) -> None:
    """A README with a heading and some lines."""
    if not file.exists():
        raise NotConforming(
            f"{file} is missing: what is read, which permissions that needs, how the credential is made"
        )
    text = file.read_text(encoding="utf-8")
    if not text.lstrip().startswith("#") or len(text) < _LEAST_README:
        raise NotConforming(f"{file} says too little: what is read, which permissions, how the credential is made")


def check_logo(file: Path) -> None:
    """A well-formed SVG of at most 2 KB that only draws."""
    if not file.exists():
        raise NotConforming(f"{file} is missing: an SVG of your own, viewBox 0 0 32 32")
    content = file.read_bytes()
    if len(content) > MOST_LOGO_BYTES:
        raise NotConforming(f"{file} has {len(content)} bytes; {MOST_LOGO_BYTES} are the most")
    if b"<!" in content.replace(b"<!--", b""):
        raise NotConforming(f"{file} must not have a document type")
    try:
        root = ET.fromstring(content)  # noqa: S314  without a document type there is nothing to expand
    except ET.ParseError as error:
        raise NotConforming(f"{file} is not well-formed: {error}") from None
    if _local(root.tag) != "svg" or not re.fullmatch(r"0 0 \d+ \d+", root.get("viewBox", "")):
        raise NotConforming(f"{file} must be an <svg> with a viewBox such as 0 0 32 32")
    for element in root.iter():
        if _local(element.tag) in _ACTIVE:
            raise NotConforming(f"{file} must only draw, and has <{_local(element.tag)}>")
        for name, value in element.attrib.items():
            outward = re.search(r"url\((?!#)|://|javascript:|data:", value, re.IGNORECASE)
            if _local(name).lower().startswith("on") or _local(name) in ("href", "style") or outward:
                raise NotConforming(f"{file} must only draw, and has the attribute {_local(name)}={value[:60]!r}")


def check_forms(provider: Provider[Any]) -> None:
    """Each field of a form has a title, each secret is `writeOnly`, each way has help, each option a description."""
    if not provider.description:
        raise NotConforming(f"{provider.slug} has no description")
    for auth in provider.modes:
        _check_way(provider, auth)
    for name, field in _properties(provider.options):
        if not (field.get("title") and field.get("description")):
            raise NotConforming(f"the option {name} needs a title and a description")


def _check_way(provider: Provider[Any], auth: Auth) -> None:
    if not auth.help.strip() and not (isinstance(auth, Redirects) and provider.app_help.strip()):
        raise NotConforming(f"{auth.slot}: help must say where a person makes or finds the credential")
    model = auth.credential
    for name, field in _properties(model):
        is_secret = "SecretStr" in str(model.model_fields[name].annotation)
        told = [field, *field.get("anyOf", ())]
        if is_secret and not any(one.get("writeOnly") for one in told):
            raise NotConforming(f"{auth.slot}: the secret field {name} is not writeOnly in its form")
        if not isinstance(auth, Redirects) and not field.get("title"):
            raise NotConforming(f"{auth.slot}: the field {name} has no title")


def _properties(model: type[BaseModel]) -> list[tuple[str, dict[str, Any]]]:
    return list(model.model_json_schema().get("properties", {}).items())


def _local(name: str) -> str:
    return name.rpartition("}")[2]
