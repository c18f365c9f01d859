"""The frameworks: the data that ships is complete and sound, and a bad file is refused."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import FrozenInstanceError

import pytest

from tieline.catalog.frameworks import Control, Family, Framework, find_control, load_frameworks, parse_framework
from tieline.errors import DeclarationError

SOUND = """
slug = "house"
name = "House rules"
edition = "First"

[[families]]
id = "H1"
name = "Doors"

[[controls]]
id = "H1.1"
family = "H1"
title = "Doors are locked at night"
asks = "A log shows that doors were locked."
"""

# How many controls each family has: SOC 2 by category of the Trust Services Criteria, ISO by theme of Annex A.
SOC2_SIZES = {
    "CC1": 5, "CC2": 3, "CC3": 4, "CC4": 2, "CC5": 3, "CC6": 8, "CC7": 5, "CC8": 1, "CC9": 2,
    "A1": 3, "C1": 2, "PI1": 5,
    "P1": 1, "P2": 1, "P3": 2, "P4": 3, "P5": 2, "P6": 7, "P7": 1, "P8": 1,
}  # fmt: skip
ISO27001_SIZES = {"A.5": 37, "A.6": 8, "A.7": 14, "A.8": 34}

frameworks = pytest.mark.parametrize("framework", load_frameworks().values(), ids=lambda framework: framework.slug)


def test_soc_2_and_iso_27001_ship() -> None:
    assert set(load_frameworks()) == {"soc2", "iso27001"}


@pytest.mark.parametrize(("slug", "sizes", "total"), [("soc2", SOC2_SIZES, 61), ("iso27001", ISO27001_SIZES, 93)])
def test_every_control_of_the_standard_is_there_in_its_order(slug: str, sizes: dict[str, int], total: int) -> None:
    framework = load_frameworks()[slug]
    expected = [f"{slug}:{family}.{number}" for family, size in sizes.items() for number in range(1, size + 1)]
    assert [control.id for control in framework.controls] == expected
    assert [family.id for family in framework.families] == list(sizes)
    assert len(framework.controls) == total


def test_the_common_criteria_and_the_privacy_criteria_have_their_known_numbers() -> None:
    families = Counter(re.sub(r"\d", "", control.family) for control in load_frameworks()["soc2"].controls)
    assert families == {"CC": 33, "A": 3, "C": 2, "PI": 5, "P": 18}


@frameworks
def test_each_control_belongs_to_the_family_its_id_names(framework: Framework) -> None:
    for control in framework.controls:
        assert control.framework == framework.slug
        assert control.id.rpartition(".")[0] == f"{framework.slug}:{control.family}"


def test_no_two_controls_share_a_title_or_what_they_ask() -> None:
    controls = [control for framework in load_frameworks().values() for control in framework.controls]
    assert len({control.title.casefold() for control in controls}) == len(controls)
    assert len({control.asks.casefold() for control in controls}) == len(controls)


@frameworks
def test_a_title_has_three_to_ten_words_and_asks_is_one_sentence(framework: Framework) -> None:
    for control in framework.controls:
        assert 3 <= len(control.title.split()) <= 10, control
        assert re.fullmatch(r"[A-Z][^.!?]+\.", control.asks), control
        assert not control.title.endswith("."), control


@frameworks
def test_families_have_distinct_names(framework: Framework) -> None:
    assert len({family.name for family in framework.families}) == len(framework.families)


def test_a_control_is_found_by_its_full_id() -> None:
    control = find_control("soc2:CC6.1")
    assert control is not None
    assert (control.id, control.framework, control.family) == ("soc2:CC6.1", "soc2", "CC6")
    assert control in load_frameworks()["soc2"].controls


@pytest.mark.parametrize("control_id", ["", "CC6.1", "soc2:", "soc2:CC6.9", "soc2:cc6.1", "iso27001:CC6.1", "cis:1.1"])
def test_an_id_that_no_framework_has_finds_nothing(control_id: str) -> None:
    assert find_control(control_id) is None


def test_the_loaded_frameworks_cannot_be_changed() -> None:
    loaded = load_frameworks()
    with pytest.raises(TypeError):
        loaded["soc2"] = loaded["iso27001"]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        loaded["soc2"].name = "another"  # type: ignore[misc]


def test_a_sound_file_is_read_as_it_stands() -> None:
    assert parse_framework(SOUND) == Framework(
        slug="house",
        name="House rules",
        edition="First",
        families=(Family("H1", "Doors"),),
        controls=(
            Control("house:H1.1", "house", "H1", "Doors are locked at night", "A log shows that doors were locked."),
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('slug = "house"', 'slug = "house', "not TOML"),
        ('slug = "house"', "", "the framework has missing or unknown fields: slug"),
        ('slug = "house"', 'slug = "House"', "'House' is no slug"),
        ('slug = "house"', 'slug = "a:b"', "'a:b' is no slug"),
        ('edition = "First"', "edition = 1", "edition must be one line of text"),
        ('edition = "First"', 'edition = ""', "edition must be one line of text"),
        ('edition = "First"', 'edition = "First"\nauthor = "me"', "unknown fields: author"),
        (
            'name = "Doors"',
            'name = "Doors"\nnote = "x"',
            "number 1 of [[families]] has missing or unknown fields: note",
        ),
        ('title = "Doors are locked at night"\n', "", "number 1 of [[controls]] has missing or unknown fields: title"),
        ('asks = "A', 'framework = "soc2"\nasks = "A', "unknown fields: framework"),
        ('title = "Doors', 'title = "  Doors', "title must be one line of text"),
        ('title = "Doors', 'title = "\\nDoors', "title must be one line of text"),
        ('family = "H1"', 'family = "H2"', "unknown family: H1, H2"),
        ('id = "H1.1"', 'id = "H1 1"', "malformed ids in [[controls]]: H1 1"),
        ('id = "H1.1"', 'id = "house:H1.1"', "malformed ids in [[controls]]: house:H1.1"),
        ('id = "H1.1"', 'id = "H1."', "malformed ids in [[controls]]: H1."),
        ("[[families]]", '[[families]]\nid = "H1"\nname = "Windows"\n[[families]]', "repeated ids in [[families]]: H1"),
        ("[[families]]", '[[families]]\nid = "H9"\nname = "Windows"\n[[families]]', "families without controls"),
        ("[[families]]", "[families]", "[[families]] is missing or empty"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(old: str, new: str, complaint: str) -> None:
    text = SOUND.replace(old, new, 1)
    assert text != SOUND
    with pytest.raises(DeclarationError, match=re.escape(complaint)) as caught:
        parse_framework(text)
    assert caught.value.rule == "framework"


def test_a_repeated_control_is_refused() -> None:
    control = SOUND[SOUND.index("[[controls]]") :]
    with pytest.raises(DeclarationError, match=re.escape("repeated ids in [[controls]]: H1.1")):
        parse_framework(SOUND + control)


@pytest.mark.parametrize("rows", ["controls = []", "controls = 3", "controls = [1]", ""])
def test_a_file_without_proper_controls_is_refused(rows: str) -> None:
    head, _, rest = SOUND.partition("[[families]]")
    families = "[[families]]" + rest[: rest.index("[[controls]]")]
    with pytest.raises(DeclarationError, match="controls"):
        parse_framework(f"{head}{rows}\n{families}")


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(DeclarationError):
        parse_framework("")
