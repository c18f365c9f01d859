"""The keepers of keys as fixtures; the servers behind them run once for the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from tests.emulators.emulate import MissingCounterpartError
from tests.emulators.moto import serving_moto
from tests.emulators.openbao import OpenBao, start_openbao
from tests.vault import keepers
from tests.vault.keepers import Keeper

SERVICES = ("aws", "transit", "gcp")


@pytest.fixture(scope="session")
def moto_kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running moto."""
    with serving_moto(tmp_path_factory.mktemp("moto"), MOTO_ALLOW_NONEXISTENT_REGION="true") as url:
        yield url


@pytest.fixture(scope="session")
def openbao_for_all() -> Iterator[OpenBao]:
    """A running OpenBao, or a skip that says why there is none."""
    try:
        with start_openbao() as started:
            yield started
    except MissingCounterpartError as error:
        pytest.skip(str(error))


@pytest.fixture
def openbao(openbao_for_all: OpenBao) -> Iterator[OpenBao]:
    """OpenBao, unsealed again afterwards."""
    yield openbao_for_all
    openbao_for_all.unseal()


@pytest.fixture
def aws_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where AWS programs look for credentials, and no other place."""
    nowhere = str(tmp_path_factory.mktemp("aws") / "none")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-tests")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, nowhere)


async def _ready(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Keeper]:
    with ExitStack() as stack:
        match kind:
            case "local":
                keeper = keepers.local()
            case "aws":
                request.getfixturevalue("aws_surroundings")
                keeper = stack.enter_context(keepers.aws(request.getfixturevalue("moto_kms")))
            case "transit":
                keeper = stack.enter_context(keepers.transit(request.getfixturevalue("openbao")))
            case _:
                keeper = stack.enter_context(keepers.gcp())
        yield keeper
        if keeper.front:
            keeper.front.gone.set()
            await keeper.keys.close()


@pytest.fixture(params=("local", *SERVICES))
async def keeper(request: pytest.FixtureRequest) -> AsyncIterator[Keeper]:
    """Each keeper of keys in turn."""
    async for one in _ready(request.param, request):
        yield one


@pytest.fixture(params=SERVICES)
async def far(request: pytest.FixtureRequest) -> AsyncIterator[Keeper]:
    """Each key service in turn."""
    async for one in _ready(request.param, request):
        yield one
