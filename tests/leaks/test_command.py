"""The command shows no secret: in what it writes, in its log at DEBUG with tracebacks, and in the arguments of its processes."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from sqlalchemy import make_url
from tests.canaries import hatch
from tests.cli.conftest import Ended, Started, Tieline
from tests.consent import address_in, agree
from tests.leaks.careless import Careless
from tests.leaks.test_known import secret
from tests.leaks.watching import Watch, new_pem, process_arguments

KINDS = {
    "API key", "token", "OAuth client secret", "OAuth app private key", "KMS token", "database password", "key ring", "state", "authorization code",
    "cookie of an attempt", "signed ticket",
}  # fmt: skip


@pytest.fixture(scope="session")
def forks_here(place: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that these commands are forked from."""
    command = [sys.executable, str(Path(__file__).parent.parent / "cli/forks.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=place) as process:
        yield process
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=60)


@pytest.fixture
def tieline(
    forks_here: subprocess.Popen[str],
    place: Path,
    fresh_database_url: str,
    watch: Watch,
    careless: Careless,
    tmp_path: Path,
) -> Tieline:
    """The command, every setting of which that may hold a secret holds one."""
    folder = place / f"leaks-{uuid4().hex[:12]}"
    folder.mkdir()
    pem, port = new_pem(), careless.url.rpartition(":")[2]
    watch.add_key("OAuth app private key", pem)
    url = make_url(fresh_database_url).set(password=secret(watch, "database password"))
    return Tieline(forks_here, folder, {
        "PYTHONUTF8": "1", "HOME": str(tmp_path), "TIELINE_DATABASE_URL": url.render_as_string(hide_password=False), "TIELINE_DATA_DIR": str(folder),
        "TIELINE_ALLOW_PRIVATE_ADDRESSES": "127.0.0.1", "TIELINE_LOG_LEVEL": "debug", "TIELINE_TRANSIT_TOKEN": secret(watch, "KMS token"),
        "TIELINE_OAUTH_ASANA_CLIENT_ID": "c", "TIELINE_OAUTH_ASANA_CLIENT_SECRET": secret(watch, "OAuth client secret"),
        "TIELINE_OAUTH_ASANA_PRIVATE_KEY": pem.replace("\n", "\\n"), "TIELINE_HOST_ASANA_WEB": f"http://127.0.0.1:{port}/web",
        "TIELINE_HOST_ASANA_API": f"http://127.0.0.1:{port}/api",
    })  # fmt: skip


async def test_no_command_shows_a_secret(tieline: Tieline, watch: Watch, careless: Careless, tmp_path: Path) -> None:
    """Connect, rotate, import, apps, settings, keys and the audit log: what works and what fails."""

    async def run(*arguments: str, stdin: str = "", code: int | None = None, **settings: str) -> Ended:
        level = (
            () if code else ("--log-level", "debug")
        )  # at DEBUG what is refused ends in a traceback, and in another code
        started = tieline.start(*arguments, *level, stdin=stdin, **settings)
        ended = await asyncio.to_thread(_end, started, watch)
        watch.note(" ".join(arguments[:2]), ended.out + ended.err)
        assert code is None or ended.code == code, (arguments[:2], ended.code)
        return ended

    def token() -> str:
        watch.canaries.append(made := hatch("token", before="lks_"))
        return made.text

    made = await asyncio.to_thread(tieline, "api-keys", "create", "--name", "ours", "--role", "admin", "--json")
    assert made.code == 0, made.err[-300:]
    watch.add("API key", *re.findall(r"tl_\w{45}", made.out))
    _know_the_ring(watch, Path(tieline.environment["TIELINE_DATA_DIR"]))
    careless.modes |= {"web/-/oauth_token": "quoted"}
    pat = ("connect", "asana", "--by", "token")
    await asyncio.gather(
        run(*pat, "--credential", f"token={token()}", code=2),
        run(*pat, "--credential", f"{token()}=", code=2),
        run(*pat, "--credential", f"{token()}=x", "--credential", "token=-", stdin=token(), code=2),
        run(*pat, "--credential", "token=@/nowhere/x", code=1),
        run("oauth-apps", "set", "asana", "--credential", "client_id=c", "--credential", "client_secret=-", "--json", stdin=token(), code=0),
        run("oauth-apps", "set", "asana", "--credential", "client_id=c", "--credential", "slug=-", stdin=token() + "%", code=1),
        run("settings", code=0), run("settings", "--json", code=0), run("doctor", code=0), run("keys", "list", code=0),
        run("doctor", TIELINE_KEY_SERVICE=f"transit:{careless.url}/web/transit/key"),
        run("keys", "list", TIELINE_KEY_SERVICE=f"transit:{careless.url}/web/key"),
        run("doctor", TIELINE_DATABASE_URL=f"postgresql://t:{token()}@127.0.0.1:1/none", code=4),
    )  # fmt: skip
    for mode in ("401", "html", "shape", "redirect"):
        careless.modes["api"] = mode
        await run(*pat, "--credential", "token=-", "--json", stdin=token(), code=1)
    rows = [
        {"provider": "asana", "by": "token", "credential": {"token": token()}},
        {"provider": token()},
        {"provider": "asana", "by": token()},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    await run("connections", "import", str(tmp_path / "rows.json"), "--dry-run", "--json", code=3)
    await run("connections", "import", str(tmp_path / "rows.json"), code=3)
    (tmp_path / "rows.csv").write_text(f"provider,{token()}\nasana,{token()}\n")
    await run("connections", "import", str(tmp_path / "rows.csv"), code=1)
    await _sandbox(run, watch)
    await _sign_in(tieline, watch)
    await asyncio.gather(
        run("oauth-apps", "list", "--json"), run("oauth-apps", "availability"), run("audit", "list", "--json", code=0),
        run("audit", "export", code=0), run("audit", "verify", code=0), run("keys", "rotate", code=0), run("runs", "--json"),
    )  # fmt: skip
    await _look_at_tables(tieline, watch)
    assert watch.kinds >= KINDS, KINDS - watch.kinds


async def _sandbox(run: Any, watch: Watch) -> None:
    """Connect the sandbox, whose token no other knows, and do to its connection what there is to do."""
    command = [sys.executable, "-m", "tieline.providers.sandbox", "--until-stdin-closes", "--people", "60"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220  it is at once
        assert process.stdin
        assert process.stdout
        said = json.loads(await asyncio.to_thread(process.stdout.readline))
        watch.add("token", said["token"])
        url, given = ("--option", f"base_url={said['url']}"), ("--credential", "token=-")
        one = (await run("connect", "sandbox", *url, *given, "--json", stdin=said["token"], code=0)).out
        one = json.loads(one)["id"]
        await run("connections", "rotate", one, *given, stdin=said["token"], code=0)
        await run("connections", "rotate", one, *given, "--json", stdin=secret(watch, "token").replace("/", ""), code=1)
        await asyncio.gather(
            run("connections", "credentials", one, "--json", code=0), run("connections", "show", one, code=0),
            run("connections", "test", one, code=0), run("sync", one, "--wait"),
        )  # fmt: skip
        await run("connections", "disconnect", one, "--yes", code=0)
        process.stdin.close()


async def _sign_in(tieline: Tieline, watch: Watch) -> None:
    """Wait for a person, whose code the provider quotes."""
    public = f"http://127.0.0.1:{_free_port()}"
    started = tieline.start("connect", "asana", "--by", "oauth2", "--json", TIELINE_PUBLIC_URL=public)
    try:
        shown = await asyncio.to_thread(started.until, lambda text: "/v1/oauth/begin/" in text, "stderr")
        (address,) = re.findall(rf"{public}/v1/oauth/begin/\S+", shown)
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
            sent = await agree(browser, address)
            cookie = sent.headers["set-cookie"].split(";")[0]
            (state,) = re.findall(r"state=([^&]+)", address_in(sent.text))
            query = {"state": state, "code": secret(watch, "authorization code")}
            watch.add("state", state)
            watch.add("cookie of an attempt", cookie.partition("=")[2])
            back = await browser.get(f"{public}/v1/oauth/callback/asana", params=query, headers={"Cookie": cookie})
            watch.note("page", f"{back.headers!r} {back.text}")
        ended = await asyncio.to_thread(_end, started, watch)
    except BaseException:
        started.kill()
        raise
    ticket = address.rpartition("/")[2]
    watch.add("signed ticket", ticket)
    assert ended.err.count(ticket) == 1
    watch.note("connect that waited", ended.out + ended.err.replace(ticket, ""))
    assert ended.code == 1


def _end(started: Started, watch: Watch) -> Ended:
    """Wait for the end of a command, with a look at its arguments and those of all others."""
    watch.note("arguments of processes", process_arguments())
    return started.wait()


def _know_the_ring(watch: Watch, folder: Path) -> None:
    """The keys of the key ring that the first command made."""
    from base64 import b64decode

    kept = json.loads((folder / "keys.json").read_text())
    material = [*kept["keys"].values(), *(one for name, one in kept.items() if name.endswith(("_key", "_pepper")))]
    watch.add("key ring", *map(b64decode, material))


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def _look_at_tables(tieline: Tieline, watch: Watch) -> None:
    """Every row, as text."""
    import io

    connection = await asyncpg.connect(tieline.environment["TIELINE_DATABASE_URL"])
    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        out = io.BytesIO()
        await connection.copy_from_query(f'SELECT * FROM "{table}"', output=out)
        watch.note(f"table {table}", out.getvalue().decode())
    await connection.close()
