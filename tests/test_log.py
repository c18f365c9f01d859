"""The log: one JSON object a line, and nothing in it that a vendor's library would have let slip."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
import botocore.config
import botocore.parsers
import httpx2
import pytest
from sqlalchemy import text
from tests.sdk.conftest import Loopback, raw

from tieline.errors import SetupError, VaultError
from tieline.log import JsonLines, bind, set_up
from tieline.store.db import Db

SECRET = "Zx9-hunter2-Qq"


class Lines(io.StringIO):
    """A stream that reads back what was logged."""

    def __iter__(self) -> Iterator[Any]:
        return iter([json.loads(line) for line in self.getvalue().splitlines()])


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The log at DEBUG; as it was before, afterwards."""
    root, own, stream = logging.getLogger(), logging.getLogger("tieline"), Lines()
    before = root.handlers[:], root.level, own.level
    set_up("debug", stream)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


LOG = logging.getLogger("tieline.test")


# What a line holds


def test_a_line_is_one_json_object(lines: Lines) -> None:
    LOG.info("It %s", "went\nwell", extra={"count": 3})
    (line,) = lines
    assert line.pop("at")
    assert line == {"level": "info", "logger": "tieline.test", "message": "It went\nwell", "count": 3}


@pytest.mark.parametrize("text", ['"}\n{"level": "error"', "\x1b[31m", "\u2028", "ü 🙂", "\0"], ids=ascii)
def test_no_text_breaks_out_of_its_line_or_stops_the_log(lines: Lines, text: str) -> None:
    LOG.warning(text)
    LOG.warning("%s", "next", extra={"more": {"text": text}})
    assert lines.getvalue().isascii()
    assert [(line["message"], line.get("more")) for line in lines] == [(text, None), ("next", {"text": text})]


def test_half_a_surrogate_pair_does_not_stop_the_log() -> None:
    # Formatted here and not logged: pytest's own log capture could not be sent between processes.
    line = JsonLines().format(logging.makeLogRecord({"name": "tieline", "msg": "\ud800", "levelname": "WARNING"}))
    assert line.isascii()
    assert json.loads(line)["message"] == "\ud800"


def test_what_is_bound_is_on_every_line_of_the_block_and_its_tasks(lines: Lines) -> None:
    async def work(number: int) -> None:
        with bind(page=number):
            await asyncio.sleep(0)
            LOG.info("page")

    async def main() -> None:
        with bind(run_id="run_1"):
            await asyncio.gather(work(1), work(2))
            LOG.info("run")
        LOG.info("after")

    asyncio.run(main())
    found = [(line["message"], line.get("run_id"), line.get("page")) for line in lines]
    assert found == [("page", "run_1", 1), ("page", "run_1", 2), ("run", "run_1", None), ("after", None, None)]


def test_what_json_has_no_form_for_is_told_in_words(lines: Lines) -> None:
    LOG.info("x", extra={"when": datetime(2026, 1, 1, tzinfo=UTC), "why": ValueError(SECRET)})
    (line,) = lines
    assert (line["when"], line["why"]) == ("2026-01-01 00:00:00+00:00", "ValueError")


@pytest.mark.parametrize(("level", "told"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_that_of_our_own_loggers(lines: Lines, level: str, told: int) -> None:
    set_up(level, lines)
    for severity in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        LOG.log(severity, "x")
    assert len(list(lines)) == told


@contextmanager
def at_level(name: str, level: int) -> Iterator[None]:
    """A library that sets the level of its own logger."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_loggers_of_others_are_quiet_below_warning_and_obey_a_higher_level(lines: Lines, level: str) -> None:
    set_up(level, lines)
    for name in (
        "httpx2",
        "httpcore2.http11",
        "botocore.auth",
        "sqlalchemy.engine.Engine",
        "urllib3",
        "some.new.sdk",
        "tielined",
    ):
        for severity in (logging.DEBUG, logging.INFO):
            logging.getLogger(name).log(severity, SECRET)
            with at_level(name, logging.DEBUG):
                logging.getLogger(name).log(severity, SECRET)
        logging.getLogger(name).warning("careful")
    assert {line["message"] for line in lines} == (set() if level == "error" else {"careful"})


# Exceptions


def failing(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, httpx2.ConnectError])
def test_an_exception_of_others_is_told_without_its_message(lines: Lines, kind: type[Exception]) -> None:
    try:
        failing(kind(SECRET))
    except kind:
        LOG.exception("It failed")
    (line,) = lines
    assert line["exception"]["type"] == kind.__qualname__
    assert line["exception"]["message"] is None
    assert line["exception"]["frames"][-1].endswith(" failing")
    assert SECRET not in lines.getvalue()


def test_one_of_ours_is_told_with_its_message_and_without_its_cause(lines: Lines) -> None:
    try:
        try:
            failing(ValueError(SECRET))
        except ValueError as cause:
            raise SetupError("The ring is gone") from cause
    except SetupError:
        LOG.exception("It failed")
    (line,) = lines
    assert line["exception"]["message"] == "The ring is gone"
    assert SECRET not in lines.getvalue()


def test_a_group_of_exceptions_is_told_by_its_type(lines: Lines) -> None:
    try:
        failing(ExceptionGroup(SECRET, [ValueError(SECRET), VaultError("x")]))
    except ExceptionGroup:
        LOG.exception("They failed")
    assert [line["exception"]["type"] for line in lines] == ["ExceptionGroup"]
    assert SECRET not in lines.getvalue()


def test_an_exception_that_nobody_fetched_is_told_without_its_message(lines: Lines) -> None:
    async def fail() -> None:
        raise RuntimeError(SECRET)

    async def main() -> None:
        task = asyncio.create_task(fail())
        await asyncio.wait({task})
        del task

    asyncio.run(main())
    (line,) = lines
    assert line["message"] == "Task exception was never retrieved"
    assert line["exception"]["type"] == "RuntimeError"
    assert SECRET not in lines.getvalue()


# Libraries at work


@pytest.fixture
async def loopback(lines: Lines) -> Any:
    serving = Loopback()
    serving.will(raw(b"{}", set_cookie=f"session={SECRET}"))
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield serving
    server.close()
    await serving.stop()


async def test_httpx_logs_neither_urls_nor_headers_nor_cookies(lines: Lines, loopback: Loopback) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        url = f"{loopback.url.replace('//', f'//user:{SECRET}@')}/hooks/{SECRET}?code={SECRET}"
        await client.get(url, headers={"Authorization": f"Bearer {SECRET}"})
    assert loopback.received
    assert lines.getvalue() == ""


async def test_botocore_logs_no_signed_headers(lines: Lines, loopback: Loopback) -> None:
    def call() -> None:
        client = boto3.client(
            "sts", region_name="eu-west-1", endpoint_url=loopback.url, aws_access_key_id="AKIA", aws_secret_access_key=SECRET,
            aws_session_token=SECRET, config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip
        client.get_caller_identity()

    with pytest.raises(botocore.parsers.ResponseParserError):
        await asyncio.to_thread(call)
    assert loopback.received
    assert lines.getvalue() == ""


async def test_sqlalchemy_logs_no_statement_and_no_value(lines: Lines, db: Db) -> None:
    async with db.system() as work:
        await work.connection.execute(text("SELECT CAST(:secret AS text)"), {"secret": SECRET})
    assert lines.getvalue() == ""
