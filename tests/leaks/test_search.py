"""That the search finds what there is to find, and that enough is searched for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from tests.canaries import codings, convict, hatch, sightings
from tests.leaks import test_command, test_given, test_minted, test_sign_in


@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: b"user:" + value, lambda value: b"12" + value + b"3"]
)
def test_the_search_finds_each_coding(wrap: Callable[[bytes], bytes]) -> None:
    canary = hatch("test", after='/+="&\\ü')
    whole = wrap(canary.value)
    spoken = {
        "plain": whole.decode(), "URL": quote(whole, safe=""), "JSON": json.dumps({"a": whole.decode()}), "hex": whole.hex().upper(),
        "base64": base64.b64encode(whole).decode(), "base64 ": base64.urlsafe_b64encode(whole).decode(),
    }  # fmt: skip
    for coding, text in spoken.items():
        assert [seen for seen in sightings(f"before {text} after", [canary]) if coding.strip() in seen], coding
    assert len(codings(canary.value)) == 7
    assert sightings("nothing", [canary]) == []


@pytest.mark.parametrize("section", ["Captured stdout call", "Captured log call", "the account of a failure"])
@pytest.mark.parametrize("coding", ["plain", "hex", "base64 at offset 1"])
def test_the_plugin_fails_a_test_that_lets_a_canary_out_and_does_not_repeat_it(section: str, coding: str) -> None:
    text = f"before {codings(hatch('test').value)[coding]} after"
    sections = [] if "failure" in section else [(section, text)]
    report = pytest.TestReport(
        "a_test", ("a.py", 1, "a_test"), {}, "passed", text if not sections else None, "call", sections
    )
    convict(report)
    assert report.outcome == "failed"
    assert report.longreprtext.startswith("a_test showed a canary (")
    assert text not in report.longreprtext + repr(report.sections)


def test_the_plugin_leaves_other_tests_alone() -> None:
    report = pytest.TestReport(
        "a_test", ("a.py", 1, "a_test"), {}, "passed", None, "call", [("Captured stdout call", "fine")]
    )
    convict(report)
    assert report.outcome == "passed"
    assert report.sections == [("Captured stdout call", "fine")]


def test_enough_kinds_of_secrets_are_let_loose() -> None:
    """Each of these is asserted to have been, by the test of its journeys."""
    assert len(test_given.KINDS | test_sign_in.KINDS | test_minted.KINDS | test_command.KINDS) >= 24
