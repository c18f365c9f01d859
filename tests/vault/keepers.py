"""The four keepers of keys, each made ready to be tried: a ring in memory, AWS by moto, a real OpenBao, and Google played by us."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.emulators.openbao import ROOT, OpenBao
from tests.vault.faulty import Answer, Front, say, standing_before
from tests.vault.google import KEY, Google

from tieline.vault import KeyEncryption, LocalKeyRing, with_new_key
from tieline.vault.aws_kms import AwsKeys
from tieline.vault.cache import KeyService
from tieline.vault.gcp_kms import GcpKeys
from tieline.vault.gcp_token import AccessTokens
from tieline.vault.rest import Rest
from tieline.vault.transit import TransitKeys

ACCOUNT = "arn:aws:kms:eu-central-1:123456789012"
PATIENCE = 2.0

AWS_WORDS = {
    "throttled": "ThrottlingException", "denied": "AccessDeniedException", "disabled": "DisabledException",
    "missing": "NotFoundException",
}  # fmt: skip
GOOGLE_WORDS = {
    "throttled": (429, "RESOURCE_EXHAUSTED"), "denied": (403, "PERMISSION_DENIED"),
    "disabled": (400, "FAILED_PRECONDITION"), "missing": (404, "NOT_FOUND"),
}  # fmt: skip


@dataclass
class Keeper:
    """A keeper of keys and the strings by which a test pulls it; `front` stands before it, if it is a service."""

    keys: Any
    rotate: Callable[[], None]
    disable: Callable[[str], None]
    front: Front | None = None
    refusing: dict[str, Answer] = field(default_factory=dict)

    @property
    def encryption(self) -> KeyEncryption:
        """It as the vault sees it."""
        keys: KeyEncryption = self.keys
        return keys

    @property
    def service(self) -> KeyService:
        """It as a key service."""
        keys: KeyService = self.keys
        return keys

    @property
    def before(self) -> Front:
        """What stands before the service."""
        assert self.front
        return self.front


class Turning:
    """A local ring that can be rotated, and lose a key, behind one object."""

    def __init__(self) -> None:
        self.ring = LocalKeyRing.generate()
        self.lost: set[str] = set()

    def rotate(self) -> None:
        self.ring = with_new_key(self.ring)

    def lose(self, key_id: str) -> None:
        self.ring = self.ring.minus(key_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ring, name)


def local() -> Keeper:
    """A ring in memory, which loses a key where others disable it."""
    turning = Turning()
    return Keeper(turning, turning.rotate, turning.lose)


@contextmanager
def transit(bao: OpenBao, **options: Any) -> Iterator[Keeper]:
    """A key of its own in OpenBao; older versions are disabled by raising the oldest that may decrypt."""
    name = f"key-{uuid4().hex[:12]}"
    bao.ask("POST", f"transit/keys/{name}", {"derived": options.pop("derived", True)})

    def disable(key_id: str) -> None:
        least = int(key_id.rpartition(":v")[2]) + 1
        bao.ask("POST", f"transit/keys/{name}/config", {"min_decryption_version": least})

    with standing_before(bao.url) as front:
        given = {"token": lambda: ROOT, "patience": PATIENCE} | options
        keys = TransitKeys(front.url, "transit", name, **given)
        refusing: dict[str, Answer] = {
            "throttled": lambda asked: say(429, {"errors": [asked.body.decode()]}),
            "denied": lambda asked: say(403, {"errors": ["permission denied", asked.body.decode()]}),
            "missing": lambda _: say(400, {"errors": ["encryption key not found"]}),
        }
        rotate = lambda: bao.ask("POST", f"transit/keys/{name}/rotate") and None
        yield Keeper(keys, rotate, disable, front, refusing)


@contextmanager
def aws(moto: str) -> Iterator[Keeper]:
    """An alias in moto, which is pointed at another key by rotation; moto opens with disabled keys, so those are played."""
    import boto3

    client = boto3.client("kms", endpoint_url=moto, region_name="eu-central-1")
    alias, disabled = f"alias/tieline-{uuid4().hex[:12]}", set[str]()

    def make() -> str:
        made: str = client.create_key()["KeyMetadata"]["KeyId"]
        return made

    def refusal(word: str) -> Answer:
        return lambda asked: say(400, {"__type": AWS_WORDS[word], "message": asked.body.decode()})

    with standing_before(moto) as front:

        def instead(asked: Any) -> Any:
            named = json.loads(asked.body) if asked.body else {}
            key = named.get("SourceKeyId") or named.get("KeyId") or ""
            return refusal("disabled")(asked) if key in disabled else None

        front.instead = instead
        client.create_alias(AliasName=alias, TargetKeyId=make())
        keys = AwsKeys(f"{ACCOUNT}:{alias}", endpoint=front.url, patience=PATIENCE)
        yield Keeper(
            keys,
            lambda: client.update_alias(AliasName=alias, TargetKeyId=make()) and None,
            lambda key_id: disabled.add(key_id.removeprefix("aws-kms:")),
            front,
            {word: refusal(word) for word in AWS_WORDS},
        )
    client.close()


@contextmanager
def gcp(google: Google | None = None) -> Iterator[Keeper]:
    """A key of Google's."""
    google = google or Google()

    def refusal(word: str) -> Answer:
        status, told = GOOGLE_WORDS[word]
        return lambda asked: say(status, {"error": {"status": told, "message": asked.body.decode()}})

    with standing_before(google.answer) as front:
        google.url = front.url
        rest = Rest(patience=PATIENCE)
        keys = GcpKeys(KEY, tokens=AccessTokens(rest, None, metadata=front.url), rest=rest, endpoint=front.url)
        yield Keeper(
            keys,
            google.rotate,
            lambda key_id: google.disabled.add(int(key_id.rpartition("/")[2])),
            front,
            {word: refusal(word) for word in GOOGLE_WORDS},
        )
