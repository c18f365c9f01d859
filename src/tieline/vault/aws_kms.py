"""AWS KMS, by botocore in threads: Encrypt, Decrypt and ReEncrypt, bound by the encryption context.

The context is a digest of the place, since AWS writes it in plain into its trail. Credentials come from where AWS programs look
for them (environment, profile, container or instance role): it is the operator's own account. Besides them nothing is needed but
the key's ARN, or that of an alias; what is stored names the key that the alias stood for. The role needs `kms:Encrypt`,
`kms:Decrypt` and, for re-wrapping, `kms:ReEncryptFrom` and `kms:ReEncryptTo`.

https://docs.aws.amazon.com/kms/latest/APIReference/
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tieline.vault.encryption import Bound, DataKey, KeyFailure, Reason, Wrapped, only
from tieline.vault.keys import KEY_BYTES

if TYPE_CHECKING:
    from botocore.client import BaseClient

SCHEME: Final = "aws-kms"
_THREADS: Final = 16
_REASONS: Final[Mapping[str, Reason]] = {
    "InvalidCiphertextException": "damaged",
    "IncorrectKeyException": "damaged",
    "NotFoundException": "missing",
    "DisabledException": "disabled",
    "KMSInvalidStateException": "disabled",  # disabled, or waiting to be deleted
    "AccessDeniedException": "denied",
    "UnrecognizedClientException": "denied",
    "InvalidSignatureException": "denied",
    "ExpiredTokenException": "denied",
    "ThrottlingException": "throttled",
    "LimitExceededException": "throttled",
    "DependencyTimeoutException": "away",
    "KMSInternalException": "away",
    "KeyUnavailableException": "away",
}
T = TypeVar("T")
V = TypeVar("V")


class AwsKeys:
    """The keys of one account in one region, one of them current. Their names are `aws-kms:<ARN>`."""

    ids: list[str] = []  # noqa: RUF012  no key of it is here

    def __init__(self, arn: str, *, endpoint: str | None = None, patience: float = 5.0) -> None:
        self._arn = arn
        self._region = arn.split(":")[3]
        self._family = f"{SCHEME}:{arn.rpartition(':')[0]}:"
        self._endpoint = endpoint
        self._patience = patience
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aws-kms")
        self._making = threading.Lock()
        self._client: BaseClient | None = None

    def owns(self, key_id: str) -> bool:
        """Whether it is a key of this account and region."""
        return key_id.startswith(self._family)

    async def current(self) -> str:
        """The name of the key that the ARN stands for."""
        return only(await self.wrap([DataKey(os.urandom(KEY_BYTES), b"")])).key_id

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys under the current key."""
        return await self._each(data_keys, self._wrap)

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        """Decrypt data keys."""
        return await self._each(several, self._unwrap)

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        """Have AWS encrypt data keys anew; they do not leave it."""
        return await self._each(several, self._rewrap)

    async def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _each(self, several: Sequence[T], do: Callable[[T], V | KeyFailure]) -> list[V | KeyFailure]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(self._threads, do, one) for one in several))

    def _wrap(self, one: DataKey) -> Wrapped | KeyFailure:
        answer = self._ask("encrypt", KeyId=self._arn, Plaintext=one.key, EncryptionContext=_context(one.aad))
        return _wrapped(answer)

    def _unwrap(self, one: Bound) -> bytes | KeyFailure:
        key = _key_of(one.wrapped)
        text, context = one.wrapped.text, _context(one.aad)
        answer = self._ask("decrypt", KeyId=key, CiphertextBlob=text, EncryptionContext=context)
        if isinstance(answer, KeyFailure):
            return answer
        return bytes(answer["Plaintext"]) if answer["KeyId"] == key else KeyFailure("damaged")

    def _rewrap(self, one: Bound) -> Wrapped | KeyFailure:
        context = _context(one.aad)
        answer = self._ask(
            "re_encrypt",
            CiphertextBlob=one.wrapped.text,
            SourceKeyId=_key_of(one.wrapped),
            SourceEncryptionContext=context,
            DestinationKeyId=self._arn,
            DestinationEncryptionContext=context,
        )
        return _wrapped(answer)

    def _ask(self, operation: str, **given: Any) -> dict[str, Any] | KeyFailure:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

        try:
            answer: dict[str, Any] = getattr(self._connected(), operation)(**given)
        except ClientError as error:
            code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            return KeyFailure(_REASONS.get(code, "away" if status >= 500 else "unexpected"))
        except NoCredentialsError:
            return KeyFailure("denied")
        except ParamValidationError:  # as with a name or a ciphertext of an impossible length
            return KeyFailure("damaged")
        except BotoCoreError:
            return KeyFailure("away")
        except (KeyError, ValueError):  # how its parser meets an answer that is none of AWS's
            return KeyFailure("unexpected")
        return answer

    def _connected(self) -> BaseClient:
        """The client, made when it is first needed; clients, unlike their making, are thread-safe."""
        with self._making:
            if self._client is None:
                from botocore.config import Config
                from botocore.session import Session

                config = Config(
                    connect_timeout=self._patience,
                    read_timeout=self._patience,
                    max_pool_connections=_THREADS,
                    retries={"mode": "standard", "total_max_attempts": 3},
                )
                self._client = Session().create_client(
                    "kms", region_name=self._region, endpoint_url=self._endpoint, config=config
                )
            return self._client


def _wrapped(answer: dict[str, Any] | KeyFailure) -> Wrapped | KeyFailure:
    if isinstance(answer, KeyFailure):
        return answer
    return Wrapped(f"{SCHEME}:{answer['KeyId']}", bytes(answer["CiphertextBlob"]))


def _key_of(wrapped: Wrapped) -> str:
    return wrapped.key_id.removeprefix(f"{SCHEME}:")


def _context(aad: bytes) -> dict[str, str]:
    return {"tieline:place": sha256(aad).hexdigest()}
