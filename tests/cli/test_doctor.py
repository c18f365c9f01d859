"""`tieline doctor` and the port of a worker's metrics, as commands."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener


def subjects(ended: Any) -> dict[str, str]:
    return {one["subject"]: one["status"] for one in ended.json["items"]}


def test_the_doctor_looks_at_everything_and_asks_nobody_if_told_so(synced: Any) -> None:
    asked, offline = synced("doctor", "--json"), synced("doctor", "--json", "--offline")
    assert (asked.code, offline.code) == (0, 0), asked.err
    always = [
        "settings",
        "database",
        "isolation",
        "clock",
        "disk",
        "key ring",
        "keys",
        "backup",
        "engine",
        "holds",
        "workers",
        "upkeep",
        "providers",
    ]
    assert list(subjects(offline)) == always
    assert list(subjects(asked)) == [*always, "reach", "address"]
    assert all(set(one) == {"subject", "status", "said", "advice"} for one in asked.json["items"])
    assert all(one["status"] == "ok" or one["advice"] for one in asked.json["items"])
    plain = synced("doctor", "--offline")
    assert re.search(r"^ok +database +PostgreSQL \d+", plain.out, re.MULTILINE)


def test_a_key_ring_that_others_can_read_is_an_error(
    commands: Any, environment: dict[str, str], tmp_path: Path, synced: Any
) -> None:
    copy = tmp_path / "keys.json"
    shutil.copy(Path(environment["TIELINE_DATA_DIR"]) / "keys.json", copy)
    copy.chmod(0o644)
    ended = commands("doctor", "--json", TIELINE_KEY_RING=str(copy))
    assert (ended.code, subjects(ended)) == (4, {"settings": "ok", "key ring": "error"})
    assert f"chmod 600 {copy}" in ended.json["items"][1]["advice"]


def test_a_worker_shows_its_metrics_on_a_port_of_its_own_and_sends_its_traces(tieline: Any, company: Any) -> None:
    working = tieline.start("worker", "--metrics-port", "0", OTEL_TRACES_EXPORTER="console")
    said = working.until(lambda text: "Working" in text)
    company.connect(tieline)
    while {run["status"] for run in tieline("runs", "--json").json["items"]} != {"succeeded"}:
        assert not (working.folder / "code").exists()
    url = re.search(r"http://127\.0\.0\.1:\d+/metrics", said)
    assert url
    with build_opener(ProxyHandler({})).open(url[0], timeout=30) as answer:
        text = answer.read().decode()
    assert re.search(r'tieline_pages_total\{provider="sandbox"\} [1-9]', text)
    assert 'tieline_build_info{role="worker"' in text
    working.kill(signal.SIGTERM)
    ended = working.wait()
    assert ended.code == 0, ended.err
    decoder, names = json.JSONDecoder(), set()
    for begin in (found.start() for found in re.finditer(r"^\{", ended.out, re.MULTILINE)):
        names.add(decoder.raw_decode(ended.out, begin)[0]["name"])
    assert {"run sandbox", "ask sandbox", "store a page"} <= names
    assert company.token not in ended.out + ended.err + text


def test_a_port_that_others_reach_needs_the_token(commands: Any) -> None:
    ended = commands("worker", "--metrics-port", "0", "--json", TIELINE_METRICS_HOST="0.0.0.0")
    assert ended.code == 4
    assert "so TIELINE_METRICS_TOKEN must be set" in ended.error["message"]
    assert "TIELINE_:" not in ended.error["message"]
