"""The key ring and its file: who may read it, what is refused, and that first starts agree."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
import subprocess
import sys
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tieline.errors import KeyRingError
from tieline.vault import KeyRingFile, LocalKeyRing, Place, Vault, load_or_create, retire, save, with_new_key
from tieline.vault.keys import FIRST_KEYS
from tieline.vault.keys import SINGLE_KEYS as SINGLES

PLACE = Place("org_a", "conn_1", "token", 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def material(ring: LocalKeyRing) -> list[str]:
    """Every key of a ring, in the spellings in which it might leak."""
    content = ring.reveal()
    texts = [*content["keys"].values(), *(content[name] for name in SINGLES)]
    raw = [getattr(ring, name) for name in SINGLES]
    return [*texts, *(key.hex() for key in raw), *(repr(key)[2:-1] for key in raw)]


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)


def test_a_first_start_makes_an_owner_only_file_and_the_next_reads_it(path: Path) -> None:
    made = load_or_create(path, may_create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(path, may_create=False).reveal() == made.reveal()
    assert load_or_create(path, may_create=True).reveal() == made.reveal()
    assert entries(path.parent) == ["keys.json"]


def test_a_missing_folder_is_made_for_the_owner_alone(path: Path) -> None:
    below = path.parent / "data" / "keys.json"
    load_or_create(below, may_create=True)
    assert stat.S_IMODE(below.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_umask_does_not_open_the_file(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        ring = load_or_create(path, may_create=True)
        save(with_new_key(ring), path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_ring_has_eight_different_random_keys() -> None:
    rings = [LocalKeyRing.generate() for _ in range(20)]
    keys = [key for ring in rings for key in (*ring.reveal()["keys"].values(), *(getattr(ring, n) for n in SINGLES))]
    assert len(set(keys)) == 160
    assert len({ring.current_id for ring in rings}) == 20
    assert all(ring.ids == [ring.current_id] for ring in rings)


def test_a_missing_file_is_not_replaced_where_data_exists(path: Path) -> None:
    with pytest.raises(KeyRingError, match="is missing") as caught:
        load_or_create(path, may_create=False)
    assert str(path) in caught.value.message
    assert f"Put the key ring back at {path}" in caught.value.what_to_do
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o604, 0o602, 0o610, 0o601, 0o644, 0o777])
def test_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    load_or_create(path, may_create=True)
    path.chmod(mode)
    with pytest.raises(KeyRingError, match="open to other users") as caught:
        load_or_create(path, may_create=True)
    assert caught.value.what_to_do == f"Run: chmod 600 {path}"


def test_a_read_only_file_of_the_owner_is_good(path: Path) -> None:
    made = load_or_create(path, may_create=True)
    path.chmod(0o400)
    assert load_or_create(path, may_create=False).ids == made.ids


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_is_refused_even_if_it_leads_nowhere(path: Path, *, there: bool) -> None:
    target = path.parent / "elsewhere.json"
    if there:
        load_or_create(target, may_create=True)
    path.symlink_to(target)
    with pytest.raises(KeyRingError, match="symbolic link"):
        load_or_create(path, may_create=True)
    assert target.exists() == there


def test_a_folder_or_a_pipe_is_not_a_key_ring(path: Path) -> None:
    path.mkdir(mode=0o700)
    with pytest.raises(KeyRingError, match="directory"):
        load_or_create(path, may_create=True)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyRingError, match="is not a file"):
        load_or_create(path, may_create=True)


@contextmanager
def as_another_user() -> Iterator[None]:
    """Give up root's right to read everything, if we have it, for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_cannot_be_read_is_an_error_not_a_missing_file(path: Path) -> None:
    load_or_create(path, may_create=True)
    path.chmod(0o000)
    with as_another_user(), pytest.raises(KeyRingError, match="cannot be read"):
        load_or_create(path, may_create=True)


def test_a_file_where_a_folder_should_be_is_an_error(path: Path) -> None:
    write(path, "{}")
    with pytest.raises(KeyRingError, match="cannot be read"):
        load_or_create(path / "keys.json", may_create=True)


def _set(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update(fields)


def _equal_singles(content: dict[str, Any]) -> None:
    content["cursor_key"] = content["fingerprint_key"]


def _single_equal_to_kek(content: dict[str, Any]) -> None:
    content["api_key_pepper"] = content["keys"][content["current"]]


def _equal_keks(content: dict[str, Any]) -> None:
    content["keys"]["kek_again"] = content["keys"][content["current"]]


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.pop(name)


def _encoded(length: int) -> str:
    return b64encode(os.urandom(length)).decode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set(extra=1), "fields must be"),
        (_without("cursor_key"), "fields must be"),
        (_without("format"), "fields must be"),
        (_without("keys"), "fields must be"),
        (_set(format=2), "format must be 1"),
        (_set(current=None), "must be a name"),
        (_set(keys=[]), "an object"),
        (_set(current="kek_gone"), "current key is not among"),
        (_set(keys={}), "current key is not among"),
        (_set(fingerprint_key=_encoded(31)), "32 bytes"),
        (_set(api_key_pepper=_encoded(33)), "32 bytes"),
        (_set(cursor_key=""), "32 bytes"),
        (_set(cursor_key=7), "32 bytes"),
        (_set(cursor_key="*" * 44), "32 bytes"),
        (_set(cursor_key="é" * 44), "32 bytes"),
        (_set(cursor_key=_encoded(32) + " "), "32 bytes"),
        (_set(keys={"kek_1": _encoded(16)}, current="kek_1"), "32 bytes"),
        (_set(keys={"kek_1": None}, current="kek_1"), "32 bytes"),
        (_equal_singles, "equal"),
        (_single_equal_to_kek, "equal"),
        (_equal_keks, "equal"),
    ],
)
def test_a_damaged_ring_is_refused_and_not_quoted(
    path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    content = LocalKeyRing.generate().reveal()
    change(content)
    write(path, json.dumps(content))
    with pytest.raises(KeyRingError, match=reason) as caught:
        load_or_create(path, may_create=True)
    assert str(path) in caught.value.message
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caught.value.what_to_do
    secrets = [text for text in (*content.get("keys", []), *map(content.get, SINGLES)) if text and len(str(text)) > 30]
    assert not [secret for secret in secrets if str(secret) in shown]
    assert json.loads(path.read_text()) == content


@pytest.mark.parametrize(
    "lacking", [["session_key"], ["audit_key", "checkpoint_key"], [name for name in SINGLES if name not in FIRST_KEYS]]
)
def test_a_ring_of_an_older_version_is_given_the_keys_that_it_lacks(path: Path, lacking: list[str]) -> None:
    content = LocalKeyRing.generate().reveal()
    older = {name: value for name, value in content.items() if name not in lacking}
    write(path, json.dumps(older))
    completed = load_or_create(path, may_create=False).reveal()
    assert {name: completed[name] for name in older} == older
    assert load_or_create(path, may_create=False).reveal() == completed
    assert json.loads(path.read_text()) == completed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert entries(path.parent) == ["keys.json"]


def test_a_ring_that_cannot_be_completed_is_refused(path: Path) -> None:
    content = LocalKeyRing.generate().reveal()
    del content["session_key"]
    write(path, json.dumps(content))
    path.parent.chmod(0o500)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    with as_another_user(), pytest.raises(KeyRingError, match="cannot be"):
        load_or_create(path, may_create=False)
    path.parent.chmod(0o700)
    assert json.loads(path.read_text()) == content


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1, "format": 1}']
)
def test_a_file_that_is_not_a_json_object_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    write(path, content)
    with pytest.raises(KeyRingError, match="not a JSON object"):
        load_or_create(path, may_create=True)
    assert path.read_bytes() == content


def test_an_error_carries_no_document_along(path: Path) -> None:
    load_or_create(path, may_create=True)
    write(path, path.read_text().rstrip()[:-1])
    with pytest.raises(KeyRingError) as caught:
        load_or_create(path, may_create=True)
    error: BaseException | None = caught.value
    while error is not None:
        assert isinstance(error, KeyRingError)
        error = error.__context__


def test_a_ring_shows_its_names_and_never_a_key() -> None:
    ring = with_new_key(LocalKeyRing.generate())
    shown = [repr(ring), str(ring), f"{ring}", f"{ring!r:>9}", repr(Vault(ring)), repr([ring])]
    assert not [key for key in material(ring) for text in shown if key in text]
    assert all(key_id in repr(ring) for key_id in ring.ids)
    assert not hasattr(ring, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_ring_cannot_be_pickled(protocol: int) -> None:
    for holder in (LocalKeyRing.generate(), Vault(LocalKeyRing.generate())):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(holder, protocol)


def test_a_ring_cannot_be_copied_or_written_as_json() -> None:
    ring = LocalKeyRing.generate()
    with pytest.raises(TypeError):
        copy.deepcopy(ring)
    with pytest.raises(TypeError):
        copy.copy(ring)
    with pytest.raises(TypeError):
        json.dumps(ring)


async def test_rotation_adds_a_current_key_and_keeps_all_else(path: Path) -> None:
    before = load_or_create(path, may_create=True)
    sealed = await Vault(before).seal(b"secret", PLACE)
    save(with_new_key(before), path)
    after = load_or_create(path, may_create=False)
    assert after.ids == [*before.ids, after.current_id]
    assert after.current_id != before.current_id
    assert [getattr(after, name) for name in SINGLES] == [getattr(before, name) for name in SINGLES]
    assert await Vault(after).open(sealed, PLACE) == b"secret"
    assert entries(path.parent) == ["keys.json"]


def test_of_two_rotations_from_one_state_the_second_is_refused_and_no_key_is_lost(path: Path) -> None:
    ring = load_or_create(path, may_create=True)
    first, second = with_new_key(ring), with_new_key(ring)
    save(first, path)
    with pytest.raises(KeyRingError, match="would be lost"):
        save(second, path)
    assert load_or_create(path, may_create=False).reveal() == first.reveal()
    assert entries(path.parent) == ["keys.json"]


def test_a_foreign_ring_does_not_replace_the_file(path: Path) -> None:
    ring = load_or_create(path, may_create=True)
    changed = ring.reveal() | {"cursor_key": _encoded(32)}
    write(path.with_name("other.json"), json.dumps(changed))
    for foreign in (LocalKeyRing.generate(), load_or_create(path.with_name("other.json"), may_create=False)):
        with pytest.raises(KeyRingError, match="would be lost"):
            save(foreign, path)
    assert load_or_create(path, may_create=False).reveal() == ring.reveal()


def test_saving_does_not_create_a_ring(path: Path) -> None:
    with pytest.raises(KeyRingError, match="is missing"):
        save(LocalKeyRing.generate(), path)
    assert entries(path.parent) == []


def test_a_save_under_way_or_cut_short_is_named_and_nothing_is_touched(path: Path) -> None:
    ring = load_or_create(path, may_create=True)
    draft = path.with_name("keys.json.new")
    write(draft, "half")
    with pytest.raises(KeyRingError, match="being replaced") as caught:
        save(with_new_key(ring), path)
    assert str(draft) in caught.value.what_to_do
    assert draft.read_text() == "half"
    assert load_or_create(path, may_create=False).reveal() == ring.reveal()


def test_saving_to_a_folder_that_cannot_be_written_is_an_error(path: Path) -> None:
    ring = load_or_create(path, may_create=True)
    path.parent.chmod(0o500)
    with as_another_user(), pytest.raises(KeyRingError, match="cannot be replaced"):
        save(with_new_key(ring), path)
    path.parent.chmod(0o700)
    assert entries(path.parent) == ["keys.json"]


FIRST_START = """
import hashlib, json, sys
from pathlib import Path
from tieline.vault import load_or_create
for line in sys.stdin:
    ring = load_or_create(Path(line.strip()), may_create=True)
    print(hashlib.sha256(json.dumps(ring.reveal()).encode()).hexdigest(), flush=True)
"""


def test_processes_that_start_first_at_once_agree_on_one_ring(tmp_path: Path) -> None:
    starts = [
        subprocess.Popen([sys.executable, "-c", FIRST_START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    warm, *paths = [tmp_path / str(number) / "keys.json" for number in range(41)]
    try:
        for path in (warm, *paths):
            rings = _ask_all(starts, path)
            assert len(set(rings)) == 1, f"{path} became several rings"
            assert entries(path.parent) == ["keys.json"]
    finally:
        for process in starts:
            process.communicate()
    assert [process.returncode for process in starts] == [0] * 4


def test_processes_that_complete_an_older_ring_at_once_agree_on_its_keys(tmp_path: Path) -> None:
    starts = [
        subprocess.Popen([sys.executable, "-c", FIRST_START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        for number in range(30):
            path = tmp_path / str(number) / "keys.json"
            path.parent.mkdir()
            content = LocalKeyRing.generate().reveal()
            write(path, json.dumps({name: content[name] for name in ("format", "current", "keys", *FIRST_KEYS)}))
            assert len(set(_ask_all(starts, path))) == 1
            assert entries(path.parent) == ["keys.json"]
    finally:
        for process in starts:
            process.communicate()
    assert [process.returncode for process in starts] == [0] * 4


def _ask_all(starts: list[subprocess.Popen[str]], path: Path) -> list[str]:
    """Tell all processes to start on a path, and only then hear which ring each has."""
    for process in starts:
        assert process.stdin is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
    return [process.stdout.readline().strip() for process in starts if process.stdout is not None]


async def test_what_another_process_sealed_under_a_key_it_added_opens_here(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring = load_or_create(path, may_create=True)
    here, place = Vault(KeyRingFile(path, ring)), Place("org_1", "conn_1", "default", 1)
    rotated = with_new_key(ring)
    save(rotated, path)
    sealed = await Vault(rotated).seal(b"secret", place)

    assert await here.open(sealed, place) == b"secret"
    assert await here.open(await Vault(ring).seal(b"older", place), place) == b"older"


async def test_a_running_process_seals_under_a_key_that_another_has_added(path: Path) -> None:
    ring = load_or_create(path, may_create=True)
    here = Vault(KeyRingFile(path, ring))
    assert await here.current_key() == ring.current_id
    rotated = with_new_key(ring)
    save(rotated, path)
    assert await here.current_key() == rotated.current_id
    assert await Vault(rotated).open(await here.seal(b"secret", PLACE), PLACE) == b"secret"


async def test_a_running_process_goes_on_with_what_it_has_while_the_file_is_damaged_or_gone(path: Path) -> None:
    ring = load_or_create(path, may_create=True)
    here = Vault(KeyRingFile(path, ring))
    sealed = await here.seal(b"secret", PLACE)
    good = json.dumps(ring.reveal())
    write(path, "half")
    assert await here.open(sealed, PLACE) == b"secret"
    os.unlink(path)  # noqa: PTH108
    assert await here.open(await here.seal(b"secret", PLACE), PLACE) == b"secret"
    write(path, good)
    rotated = with_new_key(ring)
    save(rotated, path)
    assert await here.current_key() == rotated.current_id


def test_retiring_removes_exactly_one_key_and_never_the_current_one(path: Path) -> None:
    ring = load_or_create(path, may_create=True)
    rotated = with_new_key(ring)
    save(rotated, path)
    with pytest.raises(KeyRingError, match="current key cannot be retired"):
        retire(path, rotated.current_id)
    with pytest.raises(KeyRingError, match="no such key"):
        retire(path, "kek_gone")
    left = retire(path, ring.current_id).reveal()
    assert left == rotated.reveal() | {"keys": {rotated.current_id: rotated.reveal()["keys"][rotated.current_id]}}
    assert load_or_create(path, may_create=False).reveal() == left
    assert entries(path.parent) == ["keys.json"]
