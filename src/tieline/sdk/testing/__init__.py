"""For authors of providers: replayed answers and the conformance suite, which proves a provider with no test written by hand."""

from tieline.sdk.testing.fixtures import Case, Example, Failure, Fixtures, NotConforming, Recorded, read_fixtures
from tieline.sdk.testing.reading import Connected, Reading
from tieline.sdk.testing.replay import Replay, UnforeseenError
from tieline.sdk.testing.rules import RULES, Rule
from tieline.sdk.testing.subject import Subject, find_subject
from tieline.sdk.testing.suite import Verdict, conformance, name_of, run_suite

__all__ = [
    "RULES",
    "Case",
    "Connected",
    "Example",
    "Failure",
    "Fixtures",
    "NotConforming",
    "Reading",
    "Recorded",
    "Replay",
    "Rule",
    "Subject",
    "UnforeseenError",
    "Verdict",
    "conformance",
    "find_subject",
    "name_of",
    "read_fixtures",
    "run_suite",
]
