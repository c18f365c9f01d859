"""Auth: how a request is signed, which values have not the form of such a key, and that no repr shows a secret."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, ValidationError

from tieline.sdk import ApiKey, Auth, Basic, Credential, Custom, PersonalToken
from tieline.sdk.auth import malformed_fields

SECRET = "s3cr3t/+=&? ü"


class Pair(Credential):
    key_id: str
    secret: SecretStr = Field(json_schema_extra={"pattern": r"[a-z]{4}"})
    spare: SecretStr | None = None


def signed(auth: Auth, url: str = "https://api.acme.example/a?b=c", **fields: Any) -> httpx2.Request:
    request = httpx2.Request("GET", url)
    auth.sign(request, auth.credential(**fields))
    return request


AUTHS: list[tuple[Auth, dict[str, str]]] = [
    (ApiKey(header="X-Api-Key"), {"api_key": SECRET}),
    (PersonalToken(), {"token": SECRET}),
    (Basic(), {"username": "anna", "password": SECRET}),
    (Custom(Pair), {"key_id": "AKIA", "secret": SECRET}),
]
auths = pytest.mark.parametrize(("auth", "fields"), AUTHS, ids=lambda value: getattr(value, "kind", ""))


# Signing


def test_a_key_goes_into_its_header_after_its_prefix() -> None:
    request = signed(ApiKey(header="Authorization", prefix="SSWS ", field="api_token"), api_token="abc")
    assert request.headers["Authorization"] == "SSWS abc"
    assert str(request.url) == "https://api.acme.example/a?b=c"


def test_a_key_goes_into_its_query_parameter_escaped_and_once() -> None:
    request = signed(ApiKey(query="key"), "https://api.acme.example/a?key=old&b=c", api_key="a&b=c d")
    assert request.url.params.get_list("key") == ["a&b=c d"]
    assert request.url.params["b"] == "c"
    assert "authorization" not in request.headers


def test_a_personal_token_is_a_bearer_token() -> None:
    assert signed(PersonalToken(), token="abc").headers["Authorization"] == "Bearer abc"


def test_a_user_name_and_a_password_are_packed_together() -> None:
    header = signed(Basic(), username="anna", password="a:b ü").headers["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "anna:a:b ü"


def test_signing_anew_replaces_the_earlier_signature() -> None:
    auth, request = PersonalToken(), httpx2.Request("GET", "https://api.acme.example")
    for token in ("old", "new"):
        auth.sign(request, auth.credential(token=token))
    assert request.headers.get_list("Authorization") == ["Bearer new"]


def test_a_custom_auth_hands_the_request_to_its_function() -> None:
    def apply(request: httpx2.Request, credential: Any) -> None:
        request.headers["X-Pair"] = f"{credential.key_id}:{credential.secret.get_secret_value()}"

    assert signed(Custom(Pair, apply), key_id="a", secret="b").headers["X-Pair"] == "a:b"


def test_without_a_function_a_custom_auth_leaves_the_request_as_it_is() -> None:
    request = signed(Custom(Pair), key_id="a", secret="b")
    assert request.headers == httpx2.Request("GET", str(request.url)).headers


@auths
def test_every_way_is_an_auth(auth: Auth, fields: dict[str, str]) -> None:
    assert isinstance(auth, Auth)
    assert auth.kind
    assert set(fields) <= set(auth.credential.model_fields)


# The form of a key


@pytest.mark.parametrize(
    ("value", "wrong"),
    [("lks_abc", []), ("lks_", ["token"]), ("xlks_abc", ["token"]), ("lks_abc!", ["token"]), ("lks_a\nb", ["token"])],
)
def test_a_pattern_is_matched_by_the_whole_value(value: str, wrong: list[str]) -> None:
    assert malformed_fields(PersonalToken(pattern=r"lks_\w+").credential(token=value)) == wrong


@pytest.mark.parametrize("value", ["a\rb", "a\nX-Evil: 1", "a\x00b", "a\u200bb", "a\tb", "\x7f"])
def test_a_character_that_cannot_be_seen_is_malformed_without_any_pattern(value: str) -> None:
    assert malformed_fields(PersonalToken().credential(token=value)) == ["token"]


def test_white_space_around_a_pasted_key_is_dropped() -> None:
    credential = PersonalToken(pattern=r"lks_\w+").credential(token=" lks_abc\n")
    assert malformed_fields(credential) == []
    assert credential.secrets() == ["lks_abc"]


def test_only_the_fields_that_are_wrong_are_named() -> None:
    assert malformed_fields(Pair(key_id="any", secret="abcd")) == []
    assert malformed_fields(Pair(key_id="any", secret="abcde")) == ["secret"]
    assert malformed_fields(Pair(key_id="a\nb", secret="x", spare="\x00")) == ["key_id", "secret", "spare"]


@given(st.text(max_size=40))
def test_no_text_makes_the_check_of_its_form_fail(value: str) -> None:
    assert malformed_fields(Pair.model_construct(key_id="a", secret=SecretStr(value), spare=None)) in ([], ["secret"])


@pytest.mark.parametrize(("auth", "fields"), AUTHS[:3])
@pytest.mark.parametrize("size", [0, 20_001])
def test_a_credential_is_neither_empty_nor_endless(auth: Auth, fields: dict[str, str], size: int) -> None:
    with pytest.raises(ValidationError):
        auth.credential(**dict.fromkeys(fields, "x" * size))


@auths
def test_unknown_fields_and_other_types_are_refused(auth: Auth, fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        auth.credential(**fields, admin=True)
    for name in fields:
        with pytest.raises(ValidationError):
            auth.credential(**(fields | {name: 5}))


# Secrets


@auths
def test_no_repr_text_dump_or_schema_shows_a_secret(auth: Auth, fields: dict[str, str]) -> None:
    credential = auth.credential(**fields)
    shown = [
        repr(credential), str(credential), f"{credential}", repr(vars(credential)), repr(credential.model_dump()),
        credential.model_dump_json(), repr(auth), str(auth.credential.model_json_schema()), repr(credential.__repr_args__()),
    ]  # fmt: skip
    assert not [text for text in shown if SECRET in text]
    assert credential.secrets()[0] == SECRET


@auths
def test_a_credential_does_not_change(auth: Auth, fields: dict[str, str]) -> None:
    credential = auth.credential(**fields)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(credential, next(iter(fields)), "other")


def test_every_secret_is_known_for_redaction_and_nothing_else_is() -> None:
    assert Pair(key_id="AKIA", secret="one", spare="two").secrets() == ["one", "two"]
    assert Pair(key_id="AKIA", secret="one").secrets() == ["one"]


def test_the_form_for_people_tells_what_to_give_and_hides_it() -> None:
    schema = PersonalToken(pattern=r"lks_\w+", example="lks_…", help="Where it is").credential.model_json_schema()
    assert schema["properties"]["token"] == {
        "title": "Token", "description": "Where it is", "examples": ["lks_…"], "pattern": r"lks_\w+",
        "type": "string", "format": "password", "writeOnly": True, "minLength": 1, "maxLength": 20_000,
    }  # fmt: skip
    assert schema["additionalProperties"] is False


def test_auths_are_values() -> None:
    assert PersonalToken(field="a") == PersonalToken(field="a")
    assert pickle.loads(pickle.dumps(ApiKey(header="X"))) == ApiKey(header="X")
