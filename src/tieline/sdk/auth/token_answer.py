"""What a token endpoint answered, read as it is in the wild (RFC 6749, section 5): tolerant of form, strict about the token.

Times may be text, scopes may be a list, errors may come with a 200; but a token that is not printable text of a sane length is
never passed on. No error shows more of an answer than its error code and description: the rest may hold a token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import orjson
from pydantic import SecretStr

from tieline.errors import Forbidden, ProviderError, RateLimited, Unauthorised, Unavailable, Unexpected
from tieline.sdk.answers import Answer, dig, judge, read_json
from tieline.sdk.auth.credential import Grant

LONGEST_LIFE = 10 * 365 * 86_400  # seconds; who says more does not mean it
_LONGEST_TOKEN = 20_000
_LONGEST_DETAIL = 500
_TOKEN = re.compile(r"[\x21-\x7e]+")  # VSCHAR (RFC 6749, appendix A.12) without the space, which no header would carry
_CODE = re.compile(r"[A-Za-z][A-Za-z_.]{0,49}")  # without digits: a token in its place is not shown
_PROOF_NEEDED = frozenset({"dpop", "mac", "pop"})  # such a token is of no use to whoever merely holds it

DEAD = frozenset({
    "invalid_grant", "bad_refresh_token", "bad_verification_code", "code_already_used", "consent_required",
    "expired_token", "interaction_required", "invalid_code", "invalid_refresh_token", "invalid_token", "login_required",
    "token_expired", "token_revoked",
})  # fmt: skip
"""Error codes which mean that what was shown is used up, expired or revoked."""

APP_REFUSED = frozenset({
    "invalid_client", "unauthorized_client", "application_suspended", "bad_client_secret", "incorrect_client_credentials",
    "invalid_client_id",
})  # fmt: skip
"""Error codes which mean that the OAuth app itself is refused."""

_AWAY = frozenset({"internal_error", "server_error", "service_unavailable", "temporarily_unavailable"})
_TOO_MANY = frozenset({"rate_limited", "ratelimited", "slow_down", "too_many_requests"})
_WRONG_ADDRESS = frozenset({"bad_redirect_uri", "invalid_redirect_uri", "redirect_uri_mismatch"})


@dataclass(frozen=True)
class Reading:
    """How one provider's token answers are laid out; names are dotted.

    `keep` says which values become a grant's details. `ok_field` is the field that is false in a 200 that is an error.
    `lifetime` is assumed, in seconds, of a token whose end is not told. `dead` are the codes of a dead grant, `app_refused` those
    of a refused app; a code that is in neither is judged by its meaning. `ends_at` holds a time (RFC 3339) in place of `expires_in`.
    """

    token_at: str = "access_token"  # noqa: S105  a name
    scope_at: str = "scope"
    ends_at: str | None = None
    keep: Mapping[str, str] = field(default_factory=dict)
    ok_field: str | None = None
    lifetime: int | None = None
    dead: frozenset[str] = DEAD
    app_refused: frozenset[str] = APP_REFUSED


def read_answer(answer: Answer, reading: Reading) -> dict[str, Any]:
    """What was told, if it is no error; raises the `ProviderError` that it means otherwise."""
    read_status(answer, reading)
    told = _parse(answer)
    if told is None:
        raise _bare(answer).fail(Unexpected, f"answered {_form(answer)} where a token was expected ({answer.asked})")
    return told


def read_status(answer: Answer, reading: Reading) -> None:
    """Raise the `ProviderError` that an answer means by its error code, or by its status if it has none."""
    if answer.status in (408, 429) or answer.status >= 500:  # then the other side is not itself, whatever it says
        _raise(_bare(answer))
    told = _parse(answer) or {}
    code = _error_code(told, reading)
    if code is None and answer.status == 401:
        code = "invalid_client"
    if code is not None:
        raise _judge_code(_shown(answer, told, code), code, reading)
    if not 200 <= answer.status < 300:
        _raise(_bare(answer))


def read_error(answer: Answer, reading: Reading) -> str | None:
    """The error code that was told, if any, whatever the status."""
    told = _parse(answer)
    return None if told is None else _error_code(told, reading)


def read_grant(answer: Answer, reading: Reading) -> Grant:
    """The grant in an answer; raises the `ProviderError` that the answer means if there is none."""
    told = read_answer(answer, reading)
    beside = reading.token_at.rpartition(".")[0]

    def find(name: str) -> Any:
        return dig(told, f"{beside}.{name}" if beside else name)

    kind = find("token_type")
    if isinstance(kind, str) and kind.lower() in _PROOF_NEEDED:
        raise _bare(answer).fail(Unexpected, "gave a token that is bound to a key, which was not asked for")
    ends = read_time(dig(told, reading.ends_at)) if reading.ends_at else None
    seconds = read_lifetime(find("expires_in")) or reading.lifetime
    refresh = find("refresh_token")
    return Grant(
        access_token=SecretStr(_token(answer, dig(told, reading.token_at), "access token")),
        refresh_token=SecretStr(_token(answer, refresh, "refresh token")) if refresh else None,
        expires_at=ends or (answer.received + timedelta(seconds=seconds) if seconds else None),
        scopes=read_scopes(dig(told, reading.scope_at)),
        obtained_at=answer.received,
        details={name: text for name, path in reading.keep.items() if (text := _detail(dig(told, path))) is not None},
    )


def read_lifetime(value: Any) -> int | None:
    """Seconds from a number or its text; `None` for what is not a sensible one: absent, negative, absurd."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return int(seconds) if math.isfinite(seconds) and 1 <= seconds <= LONGEST_LIFE else None


def read_time(value: Any) -> datetime | None:
    """A time in RFC 3339, aware; `None` if it is none."""
    try:
        time = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    return time if time.tzinfo else None


def read_scopes(value: Any) -> tuple[str, ...] | None:
    """Scopes from a list, or from text separated by spaces or commas; `None` if not told.

    Microsoft's `…/.default` asks for all that was consented to, so that to hear it again tells nothing.
    """
    if isinstance(value, str):
        value = re.split(r"[\s,]+", value)
    if not isinstance(value, list):
        return None
    told = tuple(dict.fromkeys(scope for scope in value if isinstance(scope, str) and scope))
    named = tuple(scope for scope in told if not scope.endswith("/.default"))
    return None if told and not named else named


def _parse(answer: Answer) -> dict[str, Any] | None:
    """JSON, or a form (which is what GitHub answers by default); `None` for anything else."""
    try:
        told = read_json(answer.body)
    except ValueError:
        told = _parse_form(answer.body)
    return told if isinstance(told, dict) else None


def _parse_form(body: bytes) -> dict[str, str] | None:
    try:
        told = dict(parse_qsl(body.decode("ascii").strip(), strict_parsing=True, max_num_fields=50))
    except ValueError:
        return None
    return told if told.keys() & {"access_token", "error"} else None


def _error_code(told: dict[str, Any], reading: Reading) -> str | None:
    """The error that is told, whatever the status; `unknown` if it has no readable code."""
    error = told.get("error") or told.get("errorCode")
    if isinstance(error, dict):  # as Google's APIs tell it
        error = error.get("status") or error.get("code")
    refused = reading.ok_field is not None and dig(told, reading.ok_field) is False
    if not error and not refused:
        return None
    return error if isinstance(error, str) and _CODE.fullmatch(error) else "unknown"


def _judge_code(answer: Answer, code: str, reading: Reading) -> ProviderError:
    """The error that a code means (RFC 6749, section 5.2, and what providers say besides)."""
    code = code.lower()
    if code in reading.dead:
        return answer.fail(Unauthorised, f"refused the grant: it is expired, revoked or used up ({code})")
    if code in reading.app_refused:
        return answer.fail(
            Unexpected,
            f"refused the OAuth app's id or secret ({code})",
            advice="Let the operator check the OAuth app's id, secret or key, and that the app is still there and active.",
        )
    if code in _WRONG_ADDRESS:
        return answer.fail(
            Unexpected,
            f"does not know the callback address ({code})",
            advice="Register the callback address that Tieline shows on the OAuth app, exactly as it is.",
        )
    if code in _TOO_MANY:
        return answer.fail(RateLimited, f"asks to wait until {answer.until:%H:%M:%S} UTC", until=answer.until)
    if code in _AWAY:
        return answer.fail(Unavailable, f"cannot give tokens at present ({code})")
    if code in {"access_denied", "invalid_scope", "invalid_target", "permission_denied", "unauthorized_client"}:
        return answer.fail(Forbidden, f"does not allow what was asked for ({code})")
    return answer.fail(Unexpected, f"refused to give a token ({answer.asked.redact(code)})")


def _raise(answer: Answer) -> NoReturn:
    raise judge(answer) or answer.fail(Unexpected, f"answered {answer.status} to {answer.asked}")


def _bare(answer: Answer) -> Answer:
    """The answer without its body, which may hold a token."""
    return replace(answer, body=b"")


def _shown(answer: Answer, told: dict[str, Any], code: str) -> Answer:
    """The answer with nothing in it but the error and what is said of it."""
    said = {name: told[name] for name in ("error_description", "errorSummary") if isinstance(told.get(name), str)}
    return replace(answer, body=orjson.dumps({"error": code, **said}))


def _form(answer: Answer) -> str:
    body = answer.body.strip()
    if not body:
        return "nothing"
    return "HTML" if body[:1] == b"<" else "something that cannot be read"


def _token(answer: Answer, value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise _bare(answer).fail(Unexpected, f"gave no {name} ({answer.asked})")
    if len(value) > _LONGEST_TOKEN or not _TOKEN.fullmatch(value):
        raise _bare(answer).fail(Unexpected, f"gave {name}s that are too long or hold odd characters ({answer.asked})")
    return value


def _detail(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return text if 0 < len(text) <= _LONGEST_DETAIL and text.isprintable() else None
