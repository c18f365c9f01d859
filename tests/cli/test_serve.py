"""Serving: it says where, answers there, works beside other processes, and stops when told to."""

from __future__ import annotations

import json
import re
import signal
import socket
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tieline.cli.serve import listening


def get(url: str, **headers: str) -> tuple[int, Any]:
    try:
        with build_opener(ProxyHandler({})).open(Request(url, headers=headers), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_answers_with_a_key_from_the_command_and_stops_cleanly(
    tieline: Any, company: Any, number: int
) -> None:
    assert company.connect(tieline).code == 0
    key = tieline("api-keys", "create").out.strip()
    serving = tieline.start("serve", "--port", "0", "--role", "api")
    said = serving.until(lambda text: "Ctrl-C ends it" in text)
    url = re.search(r"http://127\.0\.0\.1:\d+", said)[0]
    status, answer = get(f"{url}/v1/connections", **{"X-API-Key": key})
    assert status == 200
    assert answer["items"] == tieline("connections", "--json").json["items"]
    assert get(f"{url}/v1/connections")[0] == 401
    serving.kill(number)
    ended = serving.wait()
    assert ended.code == 0, ended.err
    assert key not in ended.out + ended.err


def test_a_server_carries_out_what_the_command_queues(tieline: Any, company: Any) -> None:
    serving = tieline.start("serve", "--port", "0")
    serving.until(lambda text: "Ctrl-C ends it" in text)
    connection = company.connect(tieline, "--json").json["id"]
    ended = tieline("sync", connection, "--wait", "--json")
    assert {run["status"] for run in ended.json["items"]} == {"succeeded"}
    serving.kill(signal.SIGTERM)
    assert serving.wait().code == 0


def test_a_worker_works_until_it_is_told_to_stop(tieline: Any, company: Any) -> None:
    working = tieline.start("worker")
    working.until(lambda text: "Working" in text)
    company.connect(tieline)
    while {run["status"] for run in tieline("runs", "--json").json["items"]} != {"succeeded"}:
        assert not (working.folder / "code").exists()
    working.kill(signal.SIGTERM)
    assert working.wait().code == 0


def test_a_worker_that_stops_in_the_middle_of_a_page_says_so_in_its_log(tieline: Any, faulty: Any) -> None:
    faulty.connect(tieline)
    faulty.fault(match=r"/v1/.*limit.*", delay_ms=4_000, times=None)
    working = tieline.start("worker")
    while "running" not in {run["status"] for run in tieline("runs", "--json").json["items"]}:
        assert not (working.folder / "code").exists()
    working.kill(signal.SIGTERM)
    ended = working.wait()
    assert ended.code == 0
    assert "handed back" in " ".join(json.loads(line)["message"] for line in ended.err.splitlines())


def test_the_second_part_of_an_answer_does_not_wait_for_the_first_to_be_acknowledged() -> None:
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
