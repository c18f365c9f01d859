"""The suite catches what it says it does: each test breaks one thing in a provider that conforms."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tieline.sdk.testing.failures import FAILURES

READ = 'async for person in ctx.pages("/people", pages=PAGES, items="data"):\n        yield person'
DEEPER = READ.replace("\n    ", "\n        ")
NUMBERED = """number = 0
    async for person in ctx.pages("/people", pages=PAGES, items="data"):
        number += 1
        yield person | {"name": f"{person['name']} {number}"}"""
XLINK = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" viewBox="0 0 32 32">'


def test_a_provider_that_keeps_every_rule_has_no_fault(acme: Any) -> None:
    assert acme.faults() == {}


@pytest.mark.parametrize(
    ("before", "after", "rule", "told"),
    [
        (READ, 'page = await ctx.get("/people")\n    for person in page["data"]:\n        yield person', "every_page_is_read", "after=two"),
        (
            READ,
            f"try:\n        {DEEPER}\n    except Unauthorised:\n        return",
            "failures_become_the_right_error",
            "401 on its first call must become Unauthorised, and is no error",
        ),
        (
            READ,
            f"seen = False\n    try:\n        {DEEPER}\n            seen = True\n    except Unavailable:\n        if not seen:\n            raise",
            "no_failure_passes_for_the_end",
            "503 at GET /people?after=two must become Unavailable, and is no error",
        ),
        ("        yield person", '        yield person | {"key": ctx.credential.api_key.get_secret_value()}', "no_secret_leaves", "people lets a secret out"),
        ("        yield person", '        ctx.log.info("read with %s", ctx.credential.api_key.get_secret_value())\n        yield person', "no_secret_leaves", "people lets a secret out"),
        (
            READ,
            f'{READ}\n    await ctx.get("/me")\n    raise Forbidden("no: " + ctx.credential.api_key.get_secret_value().encode().hex())',
            "no_secret_leaves",
            "people lets a secret out (hex)",
        ),
        ("        yield person", '        yield person | {"at": __import__("time").perf_counter_ns()}', "a_second_reading_is_the_same", "people yields other records"),
        (
            READ,
            NUMBERED,
            "a_resumed_reading_is_whole",
            "people resumed at Checkpoint(spine=0, cursor='two')",
        ),
        ('display_name="payload.name"', 'display_name="payload.mail"', "operations_yield_the_entities", '"display_name": ["Ada", "ada@example.com"]'),
        ('external_id="payload.id", email', 'external_id="payload.number", email', "operations_yield_the_entities", "a record is rejected"),
        ('Account.map(external_id="payload.id"', 'Account.map(filter="false", external_id="payload.id"', "operations_yield_the_entities", "people"),
        ('ctx.get("/policies")', 'ctx.get("/policies/all")', "operations_yield_the_entities", "GET /policies/all was asked, and is not recorded; nearest: GET /policies"),
        ('id="account.id"', 'id="account.name"', "identity_names_the_account", "not 'a-1'"),
        ('name="account.name"', 'name="account.title"', "identity_names_the_account", "does not say whose account"),
        (', help="Acme → Settings → New key"', "", "the_forms_render", "help must say where"),
        (', description="The acme of acme.example.com."', "", "the_forms_render", "the option site needs"),
        ('    description="People and policies.",\n', "", "the_forms_render", "acme has no description"),
        ("return policy.mfa_required", "return True", "checks_have_passed_and_failed", "gives pass, not fail"),
    ],
)  # fmt: skip
def test_a_fault_in_the_code_is_found(acme: Any, before: str, after: str, rule: str, told: str) -> None:
    acme.code(before, after)
    assert told in acme.faults()[rule]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", "Unauthorised"),
        ("403", "Forbidden"),
        ("429", "RateLimited"),
        ("503", "Unavailable"),
        ("html", "Unexpected"),
    ],
)
def test_an_identity_that_swallows_a_refusal_is_found(acme: Any, fault: str, error: str) -> None:
    acme.code('identity=Identity("/me", id="account.id", name="account.name")', "identity=lenient")
    acme.code(
        "acme: Provider",
        "async def lenient(ctx: Any) -> Any:\n    from tieline.sdk import Identified, ProviderError\n    try:\n"
        '        await ctx.get("/me")\n    except ProviderError:\n        pass\n    return Identified("a-1", "Acme")\n\n\nacme: Provider',
    )
    others = {f"identity.{name}": None for name in FAILURES if name != fault}
    acme.fixture("case", lambda case: case | {"errors": others})
    told = acme.faults()["failures_become_the_right_error"]
    assert told == f"case: identity: {fault} on its first call must become {error}, and is no error"


@pytest.mark.parametrize("fault", ["html", "truncated", "empty"])
def test_an_answer_that_is_no_json_taken_for_an_empty_list_is_found(acme: Any, fault: str) -> None:
    acme.code('(await ctx.get("/policies"))["data"]', "await lenient(ctx)")
    acme.code(
        "PAGES = ",
        "async def lenient(ctx: Any) -> Any:\n    import json\n\n"
        '    answer = await ctx.request("GET", "/policies")\n    try:\n        return json.loads(answer.body)["data"]\n'
        "    except ValueError:\n        return []\n\n\nPAGES = ",
    )
    others = {"html", "truncated", "empty"} - {fault}
    acme.fixture("case", lambda case: case | {"errors": {f"policies.{name}": None for name in others}})
    told = acme.faults()["failures_become_the_right_error"]
    assert told == f"case: policies: {fault} on its first call must become Unexpected, and is no error"


def test_a_vendor_s_own_wording_of_a_failure_is_given_in_its_place(acme: Any) -> None:
    wording = {"status": 403, "body": {"message": "too many requests, slow down"}}
    acme.fixture("case", lambda case: case | {"failures": {"403": wording}})
    assert (
        "403 on its first call must become Forbidden, and is RateLimited"
        in acme.faults()["failures_become_the_right_error"]
    )
    acme.fixture("case", lambda case: case | {"errors": {"403": "RateLimited"}})
    assert acme.faults() == {}


def test_a_secret_that_the_vendor_repeats_in_a_record_is_found(acme: Any) -> None:
    acme.fixture(
        "answers", lambda answers: answers[1]["body"]["data"][0].update(note="made with acme_madeUpKeyOfNobody0001")
    )
    assert "people lets a secret out" in acme.faults()["no_secret_leaves"]


def test_an_answer_that_is_never_asked_for_is_found(acme: Any) -> None:
    acme.fixture("answers", lambda answers: answers.append({"ask": "GET /teams", "body": []}))
    assert (
        "1 recorded answers were never asked for (pages left unread?): GET /teams"
        in acme.faults()["every_page_is_read"]
    )


def test_a_list_that_never_turns_a_page_is_found_unless_it_is_said_to_have_one(acme: Any) -> None:
    def one_page(answers: Any) -> Any:
        answers[1]["body"] = {"data": [*answers[1]["body"]["data"], *answers[2]["body"]["data"]], "next": None}
        return [answers[0], answers[1], answers[3]]

    acme.fixture("answers", one_page)
    assert "people is never seen to turn a page" in acme.faults()["every_page_is_read"]
    acme.fixture("case", lambda case: case | {"unpaged": ["people"]})
    assert acme.faults() == {}


def test_a_check_that_was_never_seen_to_fail_is_found(acme: Any) -> None:
    (acme.folder / "fixtures" / "checks.json").unlink()
    assert "acme.mfa-is-required was never seen to fail" in acme.faults()["checks_have_passed_and_failed"]


@pytest.mark.parametrize(
    ("logo", "told"),
    [
        ("<svg", "is not well-formed"),
        ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><script>alert(1)</script></svg>', "<script>"),
        ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" onload="alert(1)"/>', "onload"),
        ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="url(https://x.example/a)"/></svg>', "fill"),
        (XLINK + '<path x:href="//x.example/a"/></svg>', "href"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"/>', "document type"),
        ('<svg xmlns="http://www.w3.org/2000/svg"/>', "viewBox"),
        ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path d="' + "M0 0" * 600 + '"/></svg>', "2048 are the most"),
    ],
)  # fmt: skip
def test_a_logo_that_does_more_than_draw_is_found(acme: Any, logo: str, told: str) -> None:
    (acme.folder / "logo.svg").write_text(logo)
    assert told in acme.faults()["the_papers_are_there"]


@pytest.mark.parametrize("name", ["README.md", "logo.svg", "fixtures/case.json", "fixtures/entities.json"])
def test_a_missing_file_is_named(acme: Any, name: str) -> None:
    (acme.folder / name).unlink()
    assert any(name.rpartition("/")[2] in fault for fault in acme.faults().values())


def test_a_misspelt_key_of_a_case_is_named(acme: Any) -> None:
    acme.fixture("case", lambda case: case | {"unpagd": []})
    assert "unpagd" in acme.faults()["identity_names_the_account"]


def test_an_author_needs_one_line(acme: Any) -> None:
    for name, way in (("here", "Path(__file__).parent"), ("there", repr(str(acme.folder)))):
        line = f"test_conformance = conformance({way})\n"
        test = "from pathlib import Path\nfrom tieline.sdk.testing import conformance\n\n" + line
        (acme.folder / f"test_{name}.py").write_text(test)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-c",
        "/dev/null",
        str(acme.folder),
    ]
    ended = subprocess.run(command, cwd=acme.folder, capture_output=True, text=True, check=False)
    assert "22 passed" in ended.stdout, ended.stdout
    acme.code('name="account.name"', 'name="account.id"')
    ended = subprocess.run(command, cwd=acme.folder, capture_output=True, text=True, check=False)
    told = [line for line in ended.stdout.splitlines() if line.startswith("FAILED")]
    for name in ("here", "there"):
        assert any(f"test_{name}.py" in line and "identity_names_the_account" in line for line in told), ended.stdout
