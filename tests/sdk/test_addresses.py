"""No connection is made to an address that is neither public nor allowed by the operator."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, ClassVar

import httpcore2
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tieline.errors import Invalid, Unavailable
from tieline.sdk.addresses import AddressPolicy, GuardedBackend, GuardedTransport, resolve_name

PUBLIC = ip_address("93.184.215.14")
NOBODY = AddressPolicy()

HOSTILE_HOSTS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "0",
    "0.0.0.0",
    "0x7f.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "0x7F000001",
    "2130706433",
    "017700000001",
    "0177.1",
    "0177.0.0.1",
    "00177.0.0.1",
    "0177.0x0.0.1",
    "127.0.0.1.",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "localhost.localdomain",
    "a.localhost",
    "127.0x1",
    "127.00.0.1",
    "0.0.0.0.0",
    "0x",
    "0x.1",
    "3232235521",
    "10.0.0.1",
    "10.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.1",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.43518",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.254",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.9",
    "198.18.0.1",
    "198.19.255.254",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "0xa83f8110",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::ffff:0:127.0.0.1]",
    "[::ffff:0:7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:1::1]",
    "[2002:a00:1::1]",
    "[2002:a9fe:a9fe::]",
    "[2001::1]",
    "[2001:0:53aa:64c:0:fbc8:80ff:fffe]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[3fff:0fff::1]",
    "[5f00::1]",
    "[100::1]",
    "[100::ffff:ffff]",
    "[fc00::1]",
    "[fd00::1]",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "[fdff:ffff::1]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fe80::1%25eth0]",
    "[fe80::a9fe:a9fe]",
    "[febf::1]",
    "[fec0::1]",
    "[feff::1]",
    "[ff00::1]",
    "[ff02::1]",
    "[ff05::1:3]",
    "[ff0e::1]",
    "[4000::1]",
    "[2606:4700::5efe:7f00:1]",
    "[2606:4700::5efe:127.0.0.1]",
    "[2606:4700::200:5efe:a00:1]",
    "[8000::1]",
    "[::2]",
    "[2620:4f:8000::1]",
    "[3ffe::1]",
    "metadata",
    "metadata.google.internal",
    "METADATA.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "metadata.packet.net",
    "intranet",
    "printer.local",
    "db.corp.internal",
    "nas.lan",
    "kubernetes.default.svc",
    "router.home.arpa",
    "private.example",
    "mixed.example",
    "mapped.example",
    "six.example",
    "own.example",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "ｌｏｃａｌｈｏｓｔ",
    "169。254。169。254",
    "1²7.0.0.1",
    "⑯⑨。②⑤④。⑯⑨｡②⑤④",
    "-a.example",
    "a..example",
    ".example",
    "example.",
    "a_.-b.example",
    "xn--.example",
    "%31%32%37.0.0.1",
    "127.0.0.1%23.example",
    "%00.example",
]

HOSTILE_URLS = [
    "file:///etc/passwd", "gopher://93.184.215.14/_x", "ftp://good.example/", "unix:/var/run/docker.sock",
    "http+unix://%2fvar%2frun%2fdocker.sock/", "dict://good.example:11211/", "ldap://good.example/", "data:text/html,x",
    "javascript:alert(1)", "//good.example/", "good.example", "", " ", "https:", "https:/good.example", "https:///x",
    "https://", "https://user@good.example/", "https://user:pass@good.example/", "https://good.example@127.0.0.1/",
    "https://127.0.0.1@good.example/", "https://@good.example/", "https://good.example%40127.0.0.1/",
    "https://127.0.0.1#@good.example/", "https://127.0.0.1%23@good.example/", "https://good.example/#@127.0.0.1/",
    "https://good.example/x#fragment", "https://127.0.0.1\\@good.example/", "https://good.example\\@127.0.0.1/",
    "https:\\\\127.0.0.1/", "https://good.example\\.evil/", "https://good.example/\r\nHost: 127.0.0.1",
    "https://good.example\r\n/", "https://good.example\t/", "https://good.example /", " https://good.example/",
    "https://good.example\x00.evil/", "https://good\u00ad.example\x7f/", "http://good.example/", "http://93.184.215.14/",
    "http://[2606:4700::1111]/", "https://good.example:22/", "https://good.example:6379/", "https://good.example:5432/",
    "https://93.184.215.14:9200/", "https://good.example:0x1bb/", "https://good.example:99999/", "https://good.example:-1/",
    "https://[::1/", "https://::1/", "https://[::1]extra/", "https://[good.example]/", "https://127.0.0.1:443:80/",
    "https://good.example:443@127.0.0.1/",
]  # fmt: skip


class Dials:
    """Takes the place of the network: notes each dial and answers none."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []

    async def connect_tcp(self, host: str, port: int, *_: Any) -> httpcore2.AsyncNetworkStream:
        self.made.append((host, port))
        raise httpcore2.ConnectError("nobody there")


class Names:
    """Takes the place of DNS; what is spelt as a number goes to the system's own resolver, which needs no network."""

    ANSWERS: ClassVar = {
        "good.example": ["93.184.215.14", "2606:4700::1111"],
        "private.example": ["10.0.0.7"],
        "mixed.example": ["93.184.215.14", "10.0.0.7"],
        "mapped.example": ["::ffff:127.0.0.1"],
        "six.example": ["2606:4700::1111", "fd00::1"],
        "localhost": ["127.0.0.1", "::1"],
        "metadata.google.internal": ["93.184.215.14"],
        "own.example": ["93.184.215.14"],
    }

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[IPv4Address | IPv6Address]:
        self.asked.append(host)
        name = host.lower().rstrip(".")
        if name in self.ANSWERS:
            return [ip_address(word) for word in self.ANSWERS[name]]
        if name and all(character in "0123456789abcdefx.:%" for character in name):
            return await resolve_name(host, port)
        return [ip_address("10.9.9.9")]


@pytest.fixture
def dials() -> Dials:
    return Dials()


@pytest.fixture
def policy() -> AddressPolicy:
    return AddressPolicy.parse("", own_hosts=["own.example"])


def test_the_list_of_hostile_targets_is_long_enough() -> None:
    assert len(set(HOSTILE_HOSTS) | set(HOSTILE_URLS)) >= 200


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
async def test_a_hostile_host_is_never_dialled(host: str, dials: Dials, policy: AddressPolicy) -> None:
    for url in (f"https://{host}/", f"http://{host}/", f"https://{host}:8443/x"):
        transport = GuardedTransport(policy, resolve=Names(), dial=dials)  # type: ignore[arg-type]
        with pytest.raises((Invalid, httpx2.InvalidURL, httpx2.ConnectError)):
            await transport.handle_async_request(httpx2.Request("GET", url))
    for plain in (True, False):
        backend = GuardedBackend(policy, plain=plain, resolve=Names(), dial=dials)  # type: ignore[arg-type]
        with pytest.raises((Invalid, httpcore2.ConnectError)):
            await backend.connect_tcp(host.strip("[]"), 80 if plain else 443)
    assert dials.made == []


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_hostile_url_is_refused_as_it_is_written(url: str, policy: AddressPolicy) -> None:
    with pytest.raises(Invalid, match=r"^address not allowed"):
        policy.check_url(url)


@pytest.mark.parametrize("host", [h for h in HOSTILE_HOSTS if not h.endswith(".example") or h[0] in "-.%" or ".." in h])
def test_a_hostile_host_is_refused_before_it_is_saved(host: str, policy: AddressPolicy) -> None:
    if host == "kubernetes.default.svc":
        policy.check_url(f"https://{host}/")  # only resolving it tells
        return
    with pytest.raises(Invalid, match=r"^address not allowed") as caught:
        policy.check_url(f"https://{host}/")
    assert "TIELINE_ALLOW_PRIVATE_ADDRESSES" in caught.value.what_to_do
    assert host not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example", "https://good.example:8443/a?b=c", "HTTPS://Good.Example:443/", "https://93.184.215.14/",
        "https://[2606:4700::1111]/", "https://müller.example/", "https://a-b.c_d.example/~x%2F?q=%23", "https://1e100.example/",
        "https://[::ffff:93.184.215.14]/", "https://[64:ff9b::5db8:d70e]/",
    ],
)  # fmt: skip
def test_public_https_is_permitted(url: str) -> None:
    NOBODY.check_url(url)


def test_what_the_operator_allows_may_be_called_at_any_port_and_without_tls() -> None:
    policy = AddressPolicy.parse("127.0.0.1, 10.0.0.0/8 fd00::/8")
    for url in ("http://127.0.0.1:9200/x", "https://10.1.2.3:22", "http://[fd00::5]:80/", "http://gitlab.lan:8080/"):
        policy.check_url(url)
    for url in ("http://127.0.0.2/", "https://192.168.0.1/", "http://93.184.215.14/", "https://[fe80::1]/"):
        with pytest.raises(Invalid):
            policy.check_url(url)


def test_allowing_a_network_does_not_allow_the_metadata_service_inside_it() -> None:
    wide = AddressPolicy.parse("0.0.0.0/0 ::/0")
    assert wide.permits(ip_address("10.0.0.1"))
    for address in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "::ffff:169.254.169.254"):
        assert not wide.permits(ip_address(address))
    assert AddressPolicy.parse("169.254.169.254").permits(ip_address("169.254.169.254"))


@pytest.mark.parametrize(
    "text", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "1,2,x", "127.1", "[::1]", "http://10.0.0.1"]
)
def test_a_wrong_entry_in_the_setting_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address or network"):
        AddressPolicy.parse(text)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_however_it_is_wrapped(address: IPv4Address) -> None:
    mapped = IPv6Address(0xFFFF << 32 | int(address))
    nat64 = IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))
    assert NOBODY.permits(mapped) == NOBODY.permits(nat64) == NOBODY.permits(address)
    assert not NOBODY.permits(IPv6Address(int(address)))


@given(st.text(max_size=60))
def test_any_text_is_either_permitted_or_refused_in_one_way(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/"):
        try:
            NOBODY.check_url(url)
        except Invalid as error:
            assert error.message.startswith("address not allowed")  # noqa: PT017


async def test_a_name_is_resolved_once_and_the_judged_address_is_dialled(dials: Dials) -> None:
    answers: list[list[IPv4Address | IPv6Address]] = [[PUBLIC], [ip_address("127.0.0.1")]]

    async def rebinding(_host: str, _port: int) -> list[IPv4Address | IPv6Address]:
        return answers.pop(0)

    transport = GuardedTransport(NOBODY, resolve=rebinding, dial=dials)  # type: ignore[arg-type]
    request = httpx2.Request("GET", "https://rebinding.example/")
    with pytest.raises(httpx2.ConnectError):
        await transport.handle_async_request(request)
    assert len(answers) == 1
    assert dials.made == [(str(PUBLIC), 443)]
    with pytest.raises(Invalid):
        await transport.handle_async_request(request)
    assert dials.made == [(str(PUBLIC), 443)]


async def test_all_addresses_of_a_name_are_tried_in_their_order(dials: Dials) -> None:
    backend = GuardedBackend(NOBODY, plain=False, resolve=Names(), dial=dials)  # type: ignore[arg-type]
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp("good.example", 443)
    assert dials.made == [("93.184.215.14", 443), ("2606:4700::1111", 443)]


async def test_an_unencrypted_connection_to_a_public_address_is_never_dialled(dials: Dials) -> None:
    policy = AddressPolicy.parse("127.0.0.1")  # http to a name passes `check_url` then
    backend = GuardedBackend(policy, plain=True, resolve=Names(), dial=dials)  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        await backend.connect_tcp("good.example", 80)
    assert dials.made == []


async def test_a_socket_file_is_never_opened(policy: AddressPolicy) -> None:
    with pytest.raises(Invalid):
        await GuardedBackend(policy, plain=True).connect_unix_socket("/var/run/docker.sock")


async def test_proxies_of_the_environment_are_not_used(bench: Any, acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await bench.serve()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    acme.will(bench.answer([]))
    assert await bench.client(acme.url).get_json("/x") == []
    assert proxy.received == []


def _certificate(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return certificate.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)


@pytest.fixture
async def tls(tmp_path: Any) -> AsyncIterator[tuple[int, ssl.SSLContext, list[str | None]]]:
    """A TLS server for provider.test: its port, a context that trusts it, and the names it was asked for."""
    for part, content in zip(("cert", "key"), _certificate("provider.test"), strict=True):
        (tmp_path / part).write_bytes(content)
    asked: list[str | None] = []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    yield server.sockets[0].getsockname()[1], ssl.create_default_context(cafile=tmp_path / "cert"), asked
    server.close()


async def _loopback(_host: str, _port: int) -> Iterable[IPv4Address]:
    return [IPv4Address("127.0.0.1")]


async def test_tls_is_for_the_name_although_the_address_is_dialled(bench: Any, tls: Any) -> None:
    port, trusting, asked = tls
    transport = GuardedTransport(bench.policy, tls=trusting, resolve=_loopback)  # type: ignore[arg-type]
    assert await bench.client(f"https://provider.test:{port}", transport=transport).get_json("/") == {}
    assert asked == ["provider.test"]


async def test_a_certificate_of_another_name_is_refused(bench: Any, tls: Any) -> None:
    port, trusting, _ = tls
    transport = GuardedTransport(bench.policy, tls=trusting, resolve=_loopback)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"^Acme cannot be reached: its certificate is not trusted"):
        await bench.client(f"https://other.test:{port}", transport=transport, max_tries=1).get_json("/")
