"""Settings: bad ones are named and never quoted, secrets may come from files, and what is misspelt is not ignored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tieline.environment import PREFIX
from tieline.errors import SetupError
from tieline.settings import Settings, describe_settings, read_settings, variable_of

URL = "postgresql://tieline:hunter2@db.internal/tieline"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting in the environment but those that a test sets."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def refusal(**given: Any) -> SetupError:
    with pytest.raises(SetupError) as refused:
        read_settings(**given)
    return refused.value


def test_with_nothing_set_everything_has_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    settings = read_settings()
    assert settings.data_dir == Path("/home/anna/.local/share/tieline")
    assert settings.key_ring_path == settings.data_dir / "keys.json"
    assert settings.database_url is None
    assert (settings.log_level, settings.brake_share) == ("info", 0.3)


def test_the_data_directory_follows_the_desktops_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert read_settings().data_dir == Path("/srv/data/tieline")


def test_the_environment_sets_and_the_caller_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIELINE_WORKER_SLOTS", "16")
    monkeypatch.setenv("TIELINE_ORG_SLOTS", "")
    monkeypatch.setenv("tieline_provider_slots", "9")
    assert read_settings().worker_slots == 16
    assert read_settings(worker_slots=3).worker_slots == 3
    assert read_settings().org_slots == 4, "an empty variable is one that is not set"
    assert read_settings().provider_slots == 9


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WORKER_SLOTS", "many", "Input should be a valid integer"),
        ("HISTORY_DAYS", "0", "greater than or equal to 1"),
        ("HISTORY_DAYS_BY_KIND", "acount=3", "account is one"),
        ("HISTORY_DAYS_BY_KIND", "account", "a number of days"),
        ("HISTORY_DAYS_BY_KIND", "account=9,alert=36501", "give alert a number of days"),
        ("WORKER_SLOTS", "1", "greater than or equal to 2"),
        ("WORKER_SLOTS", "257", "less than or equal to 256"),
        ("ORG_SLOTS", "0", "greater than or equal to 1"),
        ("PROVIDER_SLOTS", "1.5", "Input should be a valid integer"),
        ("HEARTBEAT_SECONDS", "0.1", "greater than 0.2"),
        ("HEARTBEAT_SECONDS", "nan", "Input should be"),
        ("BRAKE_SHARE", "0", "greater than 0"),
        ("BRAKE_SHARE", "30", "less than or equal to 1"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("ALLOW_PRIVATE_ADDRESSES", "10.0.0.0/99", ""),
        ("ALLOW_PRIVATE_ADDRESSES", "everything", ""),
    ],
)
def test_a_bad_value_is_named_with_what_it_should_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    refused = refusal()
    assert refused.message.startswith(f"{PREFIX}{name}: ")
    assert told in refused.message
    assert "`tieline settings` explains" in refused.what_to_do


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIELINE_WORKER_SLOTS", "hunter2")
    monkeypatch.setenv("TIELINE_BRAKE_SHARE", "hunter3")
    message = refusal().message
    assert "TIELINE_WORKER_SLOTS: " in message
    assert "TIELINE_BRAKE_SHARE: " in message
    assert "hunter" not in message


def test_a_setting_that_there_is_not_is_refused_when_given() -> None:
    assert refusal(colour="red").message == "TIELINE_COLOUR: Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("TIELINE_DATABSE_URL", "TIELINE_DATABASE_URL"),
        ("TIELINE_DATABSE_URL_FILE", "TIELINE_DATABASE_URL"),
        ("TIELINE_KEYRING", "TIELINE_KEY_RING"),
        ("TIELINE_DATA_DRI", "TIELINE_DATA_DIR"),
        ("TIELINE_ALLOW_PRIVATE_ADRESSES", "TIELINE_ALLOW_PRIVATE_ADDRESSES"),
        ("TIELINE_WORKERS_SLOTS", "TIELINE_WORKER_SLOTS"),
    ],
)
def test_a_misspelt_variable_is_refused_rather_than_ignored(
    monkeypatch: pytest.MonkeyPatch, wrong: str, right: str
) -> None:
    monkeypatch.setenv(wrong, URL)
    assert refusal().message == f"{wrong} is not a setting; {right} is"


@pytest.mark.parametrize(
    "name", ["TIELINE_FAULT", "TIELINE_FAULT_LOG", "TIELINE_TEST_DATABASE_URL", "TIELINE_SOMETHING"]
)
def test_variables_of_other_tools_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert read_settings()


# Secrets, and files


def test_a_setting_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text(f"  {URL}\n")
    monkeypatch.setenv("TIELINE_DATABASE_URL_FILE", str(path))
    settings = read_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == URL
    assert read_settings(database_url="postgresql://other").database_url != settings.database_url


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"", b" \n"])
def test_a_file_that_gives_nothing_is_refused_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "hunter2"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("TIELINE_DATABASE_URL_FILE", str(path))
    refused = refusal()
    assert refused.message.startswith("TIELINE_DATABASE_URL_FILE names a")
    assert "hunter2" not in refused.message


def test_a_folder_in_place_of_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIELINE_KEY_RING_FILE", str(tmp_path))
    assert refusal().message == "TIELINE_KEY_RING_FILE names a file that cannot be read"


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIELINE_DATABASE_URL", URL)
    settings = read_settings()
    described = describe_settings(settings)
    assert "hunter2" not in repr(settings) + str(settings) + str(described) + settings.model_dump_json()
    (line,) = [one for one in described if one["name"] == "TIELINE_DATABASE_URL"]
    assert line["set"] is True
    assert line["value"] == "**********"


def test_every_setting_is_explained() -> None:
    described = describe_settings(read_settings(worker_slots=5))
    assert {one["name"] for one in described} == {variable_of(name) for name in Settings.model_fields}
    assert all(one["about"].endswith((".", "/db", "127.0.0.1")) for one in described)
    assert [one["name"] for one in described if one["set"]] == ["TIELINE_WORKER_SLOTS"]


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_settings().worker_slots = 3  # type: ignore[misc]


def test_without_a_home_a_data_directory_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert "TIELINE_DATA_DIR must be set" in refusal().message
    assert read_settings(data_dir="/srv/tieline").data_dir == Path("/srv/tieline")


def test_private_addresses_are_refused_unless_allowed() -> None:
    allowed = read_settings(allow_private_addresses="127.0.0.1, 10.1.0.0/16").address_policy
    allowed.check_url("http://127.0.0.1:4000")
    with pytest.raises(Exception, match="address"):
        read_settings().address_policy.check_url("http://127.0.0.1:4000")


# What is about providers

APP = {"TIELINE_OAUTH_ACME_HR_CLIENT_ID": "id-1", "TIELINE_OAUTH_ACME_HR_CLIENT_SECRET": "hunter2"}


def put(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_an_app_is_set_field_by_field_and_found_by_its_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, APP | {"TIELINE_OAUTH_BOX_CLIENT_ID": "id-2", "TIELINE_OAUTH_BOX_APP_ID": ""})
    found = read_settings().apps_by_provider(["acme-hr", "box", "okta"])
    assert {slug: app.client_id for slug, app in found.items()} == {"acme-hr": "id-1", "box": "id-2"}
    secret = found["acme-hr"].client_secret
    assert secret is not None
    assert secret.get_secret_value() == "hunter2"
    assert found["box"].app_id is None


def test_an_apps_private_key_may_come_from_a_file_or_with_its_lines_escaped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text("-----BEGIN\nkey\n")
    put(monkeypatch, APP | {"TIELINE_OAUTH_ACME_HR_PRIVATE_KEY_FILE": str(path)})
    put(monkeypatch, {"TIELINE_OAUTH_BOX_CLIENT_ID": "b", "TIELINE_OAUTH_BOX_PRIVATE_KEY": "-----BEGIN\\nkey"})
    for app in read_settings().oauth_apps.values():
        assert app.private_key is not None
        assert app.private_key.get_secret_value() == "-----BEGIN\nkey"


def test_an_apps_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, APP)
    settings = read_settings()
    described = describe_settings(settings)
    assert "hunter2" not in repr(settings) + str(described) + settings.model_dump_json()
    values = {one["name"]: one["value"] for one in described if "ACME" in one["name"]}
    assert values == {"TIELINE_OAUTH_ACME_HR_CLIENT_ID": "id-1", "TIELINE_OAUTH_ACME_HR_CLIENT_SECRET": "**********"}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"TIELINE_OAUTH_ACME_HR_CLIENT_SECRET": "hunter2"}, "TIELINE_OAUTH_ACME_HR_CLIENT_ID: Field required"),
        (APP | {"TIELINE_OAUTH_ACME_HR_SLUG": "hunter2 /"}, "TIELINE_OAUTH_ACME_HR_SLUG: "),
        ({"TIELINE_OAUTH_ACME_CLIENTID": "hunter2"}, "TIELINE_OAUTH_ACME_CLIENTID is not a setting"),
        ({"TIELINE_OAUTH_CLIENT_ID": "hunter2"}, "TIELINE_OAUTH_CLIENT_ID is not a setting"),
    ],
)
def test_a_bad_app_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    put(monkeypatch, variables)
    refused = refusal()
    assert refused.message.startswith(told)
    assert "hunter2" not in refused.message + refused.what_to_do


def test_what_is_about_no_provider_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, APP | {"TIELINE_HOST_ACME_HR_WBE": "https://web.example"})
    settings = read_settings()
    with pytest.raises(SetupError, match="TIELINE_OAUTH_ACME_HR_") as refused:
        settings.apps_by_provider(["acme-hrm", "okta"])
    assert refused.value.what_to_do == "Did you mean TIELINE_OAUTH_ACME_HRM_…?"
    with pytest.raises(SetupError, match="TIELINE_HOST_ACME_HR_WBE") as refused:
        settings.hosts_by_provider({"acme-hr": ["web", "api"], "okta": []})
    assert refused.value.what_to_do == "Did you mean TIELINE_HOST_ACME_HR_WEB?"


def test_a_host_takes_the_place_of_a_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    put(
        monkeypatch,
        {"TIELINE_HOST_ACME_HR_WEB": "https://web.example/x/", "TIELINE_HOST_OKTA_API": "http://10.1.2.3:4000"},
    )
    declared = {"acme-hr": ["web", "api"], "okta": ["api"]}
    with pytest.raises(SetupError, match="TIELINE_HOST_OKTA_API: address not allowed"):
        read_settings().hosts_by_provider(declared)
    found = read_settings(allow_private_addresses="10.1.2.3").hosts_by_provider(declared)
    assert found == {"acme-hr": {"web": "https://web.example/x"}, "okta": {"api": "http://10.1.2.3:4000"}}


@pytest.mark.parametrize("url", ["https://tieline.example", "https://x.example:8443/tieline/", "http://127.0.0.1:9", "http://[::1]:9", "http://localhost"])  # fmt: skip
def test_the_public_url_is_https_or_this_machine(url: str) -> None:
    assert read_settings(public_url=url).public_url == url.rstrip("/")


@pytest.mark.parametrize("url", ["http://tieline.example", "ftp://x.example", "tieline.example", "https://a@x.example", "https://x.example/?a=1", "https://x.example/#a", "http://10.0.0.1", "https://x.example\\a", "https://x .example"])  # fmt: skip
def test_any_other_public_url_is_refused(url: str) -> None:
    assert refusal(public_url=url).message.startswith("TIELINE_PUBLIC_URL: ")


def test_tieline_is_never_asked_to_call_itself() -> None:
    policy = read_settings(public_url="https://tieline.example").address_policy
    with pytest.raises(Exception, match="address not allowed"):
        policy.check_url("https://tieline.example/v1")
    policy.check_url("https://other.example/v1")


def test_return_origins_are_origins_in_one_spelling() -> None:
    settings = read_settings(
        return_origins="https://App.example/, https://b.example:8443,http://localhost:3000, https://c.example:443"
    )
    assert settings.origins == {
        "https://app.example",
        "https://b.example:8443",
        "http://localhost:3000",
        "https://c.example",
    }
    for bad in (
        "https://a.example/path",
        "http://a.example",
        "*",
        "https://a@b.example",
        "null",
        "javascript:alert(1)",
    ):
        assert refusal(return_origins=bad).message.startswith("TIELINE_RETURN_ORIGINS: ")


def test_history_is_kept_by_kind_and_else_for_as_long_as_set() -> None:
    kept = read_settings(history_days=90, history_days_by_kind="account=1200, alert=7").history_days_of_kinds
    assert (kept["account"], kept["alert"], kept["device"]) == (1200, 7, 90)
