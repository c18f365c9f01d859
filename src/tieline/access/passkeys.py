"""Passkeys: what a browser is asked to make or to sign with, and whether what it answers holds (Web Authentication Level 3).

No e-mail address is typed: a passkey is *discoverable*, and its user handle names the member and the organization, by ids alone.
User verification (a finger, a face, a PIN) is always required, so a passkey is two factors by itself. Attestation is not asked
for: which make of authenticator a person trusts is theirs to say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from tieline.errors import RequestError
from tieline.ids import from_uuid, to_uuid
from tieline.store.members import Member
from tieline.store.organizations import Organization
from tieline.store.passkeys import Passkey

if TYPE_CHECKING:
    from webauthn.helpers.structs import AuthenticationCredential

T = TypeVar("T")
SECONDS = 300
"""How long a challenge can be answered."""

_LONGEST = 16_384  # characters of an answer; without attestation it has about 1,000
_LOCAL = "localhost"
_DEFAULT_PORTS = {"https": 443, "http": 80}
_log = logging.getLogger(__name__)


class PasskeyRefused(RequestError):
    """What the browser answered does not prove that a passkey of a member was used, here and now."""

    slug = "passkey-refused"
    status = 422
    advice = "Try again, or sign in another way: by a link, which an admin can make for you."


class CounterWentBack(PasskeyRefused):
    """A passkey's counter is not above what it was: somebody may have a copy of it."""

    slug = "passkey-counter"
    advice = "Sign in another way, remove this passkey on the page Access, and make a new one."


@dataclass(frozen=True)
class Site:
    """Where passkeys are made and used: the relying party's id, which is a host name, and the one origin that may ask."""

    id: str
    origin: str


@dataclass(frozen=True)
class NewPasskey:
    """What a browser has made, proved."""

    credential_id: bytes
    public_key: bytes
    counter: int
    backed_up: bool
    transports: list[str]


@dataclass(frozen=True)
class Claim:
    """Who a browser says it signs in, of which nothing is proved yet."""

    org_id: str
    member_id: str
    credential_id: bytes
    signed: AuthenticationCredential = field(repr=False)


@dataclass(frozen=True)
class Use:
    """What an authenticator says of itself when it is used."""

    counter: int
    backed_up: bool


def site_of(public_url: str) -> Site | None:
    """Where passkeys work; `None` if they cannot: they need a host with a name, and https unless that is localhost.

    An IP address can be no relying party's id (Web Authentication, section 5.1.2), not even 127.0.0.1.
    """
    split = urlsplit(public_url.lower())
    host, port = split.hostname or "", split.port
    local = host == _LOCAL or host.endswith(f".{_LOCAL}")
    if _is_address(host) or not (split.scheme == "https" or local):
        return None
    shown = "" if port in {None, _DEFAULT_PORTS[split.scheme]} else f":{port}"
    return Site(host, f"{split.scheme}://{host}{shown}")


def ask_to_make(
    site: Site, member: Member, organization: Organization, *, challenge: bytes, known: Sequence[Passkey]
) -> dict[str, Any]:
    """`PublicKeyCredentialCreationOptionsJSON`; an authenticator that holds one of those `known` makes no second."""
    from webauthn import generate_registration_options
    from webauthn.helpers import options_to_json_dict
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=site.id,
        rp_name="Tieline",
        user_id=_handle(member),
        user_name=f"{member.email} ({organization.name})",
        user_display_name=member.name or member.email,
        challenge=challenge,
        timeout=SECONDS * 1_000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one.credential_id) for one in known],
    )
    return options_to_json_dict(options)


def check_made(site: Site, answer: str, *, challenge: bytes) -> NewPasskey:
    """The passkey that a browser has made; raises `PasskeyRefused`."""
    from webauthn import verify_registration_response
    from webauthn.helpers import parse_registration_credential_json

    def check() -> NewPasskey:
        made = parse_registration_credential_json(_short(answer))
        _refuse_embedded(made.response.client_data_json)
        proved = verify_registration_response(
            credential=made,
            expected_challenge=challenge,
            expected_rp_id=site.id,
            expected_origin=site.origin,
            require_user_verification=True,
        )
        transports = sorted({one.value for one in made.response.transports or ()})
        return NewPasskey(
            proved.credential_id,
            proved.credential_public_key,
            proved.sign_count,
            proved.credential_backed_up,
            transports,
        )

    return _or_refuse(check)


def ask_to_sign(site: Site, *, challenge: bytes) -> dict[str, Any]:
    """`PublicKeyCredentialRequestOptionsJSON` for whichever passkey of this site the person chooses."""
    from webauthn import generate_authentication_options
    from webauthn.helpers import options_to_json_dict
    from webauthn.helpers.structs import UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=site.id,
        challenge=challenge,
        timeout=SECONDS * 1_000,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def read_claim(answer: str) -> Claim:
    """Who an answer speaks of; raises `PasskeyRefused`."""
    from webauthn.helpers import parse_authentication_credential_json

    def read() -> Claim:
        signed = parse_authentication_credential_json(_short(answer))
        handle = signed.response.user_handle or b""
        org, member = UUID(bytes=handle[:16]), UUID(bytes=handle[16:])
        return Claim(from_uuid("org", org), from_uuid("mem", member), signed.raw_id, signed)

    return _or_refuse(read)


def check_signed(site: Site, claim: Claim, passkey: Passkey, *, challenge: bytes) -> Use:
    """That the passkey has signed the challenge, here, for a verified user; raises `PasskeyRefused`, `CounterWentBack`."""
    from webauthn import verify_authentication_response

    def check() -> Use:
        _refuse_embedded(claim.signed.response.client_data_json)
        proved = verify_authentication_response(
            credential=claim.signed,
            expected_challenge=challenge,
            expected_rp_id=site.id,
            expected_origin=site.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,  # looked at below, once the signature is known to be good
            require_user_verification=True,
        )
        return Use(proved.new_sign_count, proved.credential_backed_up)

    use = _or_refuse(check)
    if (use.counter or passkey.counter) and use.counter <= passkey.counter:  # section 6.1.1; 0 is: it does not count
        raise CounterWentBack("This passkey may have been copied, and was not accepted")
    return use


def _handle(member: Member) -> bytes:
    """The user handle: 32 bytes that tell nothing of the person, and by which they are found in their organization's rows alone."""
    return to_uuid(member.org_id, "org").bytes + to_uuid(member.id, "mem").bytes


def _refuse_embedded(client_data: bytes) -> None:
    """Raises for an answer given within a page of another site; none of our pages can be there."""
    from webauthn.helpers import parse_client_data_json

    if parse_client_data_json(client_data).cross_origin:
        raise ValueError("another site's page was around this one")


def _or_refuse(check: Callable[[], T]) -> T:
    """What a check finds; whatever it makes of bytes that anybody may send is one refusal, and why is for the log alone."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001  parsers of CBOR and ASN.1 raise of every kind
        _log.info("A passkey was refused", extra={"error": type(error).__name__, "reason": str(error)[:200]})
        raise PasskeyRefused("The passkey was not accepted") from None


def _short(answer: str) -> str:
    if len(answer) > _LONGEST:
        raise ValueError("too long")
    return answer


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
