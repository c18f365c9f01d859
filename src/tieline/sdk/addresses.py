"""Which addresses Tieline may talk to, and a network layer that talks to no other.

Customers name hosts (a self-hosted GitLab, a webhook endpoint), so any host may be an attempt to reach the operator's
own network. The judgement falls where it cannot be dodged: after a name is resolved and before the connection is made,
and the connection goes to the very address that was judged. `check_url` says no earlier, when a URL is saved, so that a
person is told.

The tables are those of the IANA special-purpose registries (RFC 6890) and the clouds' metadata addresses, kept here
because `ipaddress.is_global` calls several of them public, multicast and NAT64 among them.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias, cast

import httpcore2
import httpx2

from tieline.errors import Invalid

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[Address]]]

SETTING = "TIELINE_ALLOW_PRIVATE_ADDRESSES"


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(word) for word in text.split())


_SPECIAL_4 = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 "
    "203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
)
_UNICAST_6 = ip_network("2000::/3")
_SPECIAL_6 = _networks("2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20")
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052; what a resolver answers for an IPv4-only name on an IPv6-only network
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214: the upper half of an interface id that holds an IPv4 address
_METADATA = frozenset(
    network.network_address
    for network in _networks(
        "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 192.0.0.192 168.63.129.16 "
        "fd00:ec2::254 fd00:ec2::23 fd20:ce::254"
    )
)
_METADATA_HOSTS = frozenset({
    "instance-data", "instance-data.ec2.internal", "metadata", "metadata.azure.com", "metadata.azure.internal",
    "metadata.goog", "metadata.google.internal", "metadata.packet.net", "metadata.platformequinix.com",
    "metadata.tencentyun.com",
})  # fmt: skip
_LOCAL_HOST = re.compile(r"[^.]+|.*\.(localhost|localdomain|local|internal|intranet|lan|home|corp|home\.arpa)")
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # then it is an IPv4 address, however it is spelt
_AUTHORITY = re.compile(r"(https?)://([^/?#]+)(?:[/?].*)?", re.IGNORECASE)
_FORBIDDEN_IN_URL = re.compile(r"[\x00-\x20\x7f-\x9f\\#]")
_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)
_PORTS = frozenset({80, 443, 8443})


@dataclass(frozen=True)
class AddressPolicy:
    """Public addresses are permitted, others only if the operator allows them.

    `own_hosts` are the public host names of this Tieline itself, which is never asked to call itself.
    """

    allowed: tuple[Network, ...] = ()
    own_hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str, *, own_hosts: Iterable[str] = ()) -> AddressPolicy:
        """Read a list such as `127.0.0.1, 10.0.0.0/8`; raises `ValueError` that names the wrong entry."""
        allowed = []
        for word in re.split(r"[,\s]+", text.strip()):
            if not word:
                continue
            try:
                allowed.append(ip_network(word))
            except ValueError as error:
                raise ValueError(
                    f"{word!r} is not an address or network such as 10.0.0.7 or 10.0.0.0/8: {error}"
                ) from None
        return cls(tuple(allowed), frozenset(host.lower() for host in own_hosts))

    def permits(self, address: Address) -> bool:
        """Whether a connection to this address may be made."""
        return self.is_allowed(address) or is_public(address)

    def is_allowed(self, address: Address) -> bool:
        """Whether the operator's list holds it; a metadata address must be named by itself, not by a network around it."""
        address = _effective(address)
        return any(
            network.version == address.version
            and address in network
            and (address not in _METADATA or network.num_addresses == 1)
            for network in self.allowed
        )

    def check_url(self, url: str) -> None:
        """Raise `Invalid` unless the URL, as written, may be called; what its name resolves to is judged when dialling.

        https to a public host at port 443, 8443 or 80; http and other ports only to what the operator allows.
        """
        parsed = _parse(url)
        if parsed is None:
            raise not_allowed()
        plain, host, port = parsed
        address = _literal(host)
        if address is not None:
            if not self.may_dial(address, port, plain=plain):
                raise not_allowed()
        elif not self._may_name(host, port, plain=plain):
            raise not_allowed()

    def may_dial(self, address: Address, port: int, *, plain: bool) -> bool:
        """Whether this address may be dialled at this port, encrypted or `plain`."""
        return self.is_allowed(address) or (not plain and port in _PORTS and is_public(address))

    def _may_name(self, host: str, port: int, *, plain: bool) -> bool:
        if not _NAME.fullmatch(host) or _ENDS_IN_A_NUMBER.fullmatch(host):
            return False
        if host in _METADATA_HOSTS or host in self.own_hosts:
            return False
        special = plain or port not in _PORTS or _LOCAL_HOST.fullmatch(host) is not None
        return bool(self.allowed) or not special


def is_public(address: Address) -> bool:
    """Whether an address is ordinary public unicast, judged by the IPv4 address inside it where there is one."""
    address = _effective(address)
    if address in _METADATA:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_4)
    if address.scope_id is not None or address not in _UNICAST_6:
        return False
    low = int(address) & 0xFFFF_FFFF_FFFF_FFFF
    if low >> 32 in _ISATAP and not is_public(IPv4Address(low & 0xFFFF_FFFF)):
        return False
    return not any(address in network for network in _SPECIAL_6)


def not_allowed() -> Invalid:
    """The one error for every refused target, so that the answers do not map the operator's network."""
    return Invalid(
        "address not allowed: only public https addresses may be called",
        advice=f"Use a public https address, or let the operator add this one to {SETTING}.",
    )


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves a name once, refuses it if any of its addresses is refused, and dials an address that was judged.

    TLS is not affected: its name stays the host's. `plain` tells whether this backend carries unencrypted connections.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        plain: bool,
        resolve: Resolve | None = None,
        dial: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._policy = policy
        self._plain = plain
        self._resolve = resolve or resolve_name
        self._dial = dial or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the signature is httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that answers; raises `Invalid` without dialling if one is refused."""
        addresses = await self._judged(host, port)
        for address in addresses[:-1]:
            try:
                return await self._dial.connect_tcp(
                    str(address), port, _at_most(3.0, timeout), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue  # a host with several addresses is down only when the last one is
        return await self._dial.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: no provider lives on a socket file."""
        raise not_allowed()

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)

    async def _judged(self, host: str, port: int) -> list[Address]:
        if host.lower() in _METADATA_HOSTS or host.lower() in self._policy.own_hosts:
            raise not_allowed()
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError, ValueError):
            addresses = []
        if not addresses:
            raise httpcore2.ConnectError("the name does not resolve")
        if not all(self._policy.may_dial(address, port, plain=self._plain) for address in addresses):
            raise not_allowed()
        return addresses


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Carries requests over connections that a `GuardedBackend` made; knows no proxy, no environment and no netrc."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        dial: httpcore2.AsyncNetworkBackend | None = None,
        connections: int = 10,
    ) -> None:
        self._pools = {
            scheme: httpcore2.AsyncConnectionPool(
                ssl_context=tls or _trusted(),
                max_connections=connections,
                keepalive_expiry=30,
                network_backend=GuardedBackend(policy, plain=scheme == "http", resolve=resolve, dial=dial),
            )
            for scheme in ("https", "http")
        }

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; raises httpx2's transport errors, and `Invalid` for a refused address."""
        pool = self._pools.get(request.url.scheme)
        if pool is None:
            raise not_allowed()
        url = request.url
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        with _as_httpx2():
            response = await pool.handle_async_request(
                httpcore2.Request(
                    request.method,
                    target,
                    headers=request.headers.raw,
                    content=cast("AsyncIterable[bytes]", request.stream),
                    extensions=request.extensions,
                )
            )
        stream = _Stream(cast("AsyncIterable[bytes]", response.stream))
        return httpx2.Response(response.status, headers=response.headers, stream=stream, extensions=response.extensions)

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx2():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        if close := getattr(self._stream, "aclose", None):
            await close()


async def resolve_name(host: str, port: int) -> list[Address]:
    """All addresses of a name, in the order the system prefers; raises `OSError` if there is none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))


@contextmanager
def _as_httpx2() -> Iterator[None]:
    """Raise the error of the same name in httpx2; without its text where that would quote a header's value."""
    try:
        yield
    except _ERRORS as error:
        kind: type[httpx2.TransportError] = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise kind("" if isinstance(error, httpcore2.LocalProtocolError) else str(error)) from None


@cache
def _trusted() -> ssl.SSLContext:
    return httpx2.create_ssl_context()  # the system's certificates, or the operator's SSL_CERT_FILE


def _parse(url: str) -> tuple[bool, str, int] | None:
    """Whether it is plain http, the host in the form that is dialled, and the port; `None` for what is not accepted."""
    written = None if _FORBIDDEN_IN_URL.search(url) else _AUTHORITY.fullmatch(url)
    if written is None or "@" in written[2] or "%" in written[2]:
        return None
    try:
        parsed = httpx2.URL(url)
        port = parsed.port or (80 if parsed.scheme == "http" else 443)
    except (httpx2.InvalidURL, ValueError):
        return None
    host = parsed.raw_host.decode("ascii")
    return (parsed.scheme == "http", host, port) if host and port < 65_536 else None


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _effective(address: Address) -> Address:
    """The IPv4 address that is really reached through an IPv4-mapped or NAT64 one."""
    if isinstance(address, IPv6Address) and address.scope_id is None:
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _at_most(seconds: float, timeout: float | None) -> float:
    return seconds if timeout is None else min(seconds, timeout)
