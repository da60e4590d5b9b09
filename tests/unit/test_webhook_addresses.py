"""Where a delivery may go: every way to spell an inner address, and names that lead to several."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import httpcore
import pytest

from sluice.delivery.address import Address, Network, is_named, is_public
from sluice.delivery.connect import ADDRESSES_MAX, Pinned, Resolver
from sluice.delivery.target import Forbidden, check_addresses, check_literal, parse_target

PUBLIC = ["1.1.1.1", "93.184.215.14", "223.255.255.254", "2606:4700::1111", "2a00:1450:4001::8b"]
INNER = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # 127.0.0.1 in the old compatible form
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",  # 127.0.0.1 through NAT64
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",  # Teredo
    "2001:db8::1",
    "2002:7f00:1::",  # 127.0.0.1 through 6to4
    "2002:a00:1::1",  # 10.0.0.1
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


def address(text: str) -> Address:
    return ipaddress.ip_address(text)


def networks(*texts: str) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public(text: str) -> None:
    assert is_public(address(text))


@pytest.mark.parametrize("text", INNER)
def test_an_inner_address_is_not(text: str) -> None:
    assert not is_public(address(text))


def test_a_public_address_in_mapped_form_is_what_it_is() -> None:
    assert is_public(address("::ffff:1.1.1.1"))


def test_an_address_with_a_zone_is_nobodys_on_the_internet() -> None:
    assert not is_public(address("2606:4700::1111%eth0"))
    assert not is_named(address("fe80::1%eth0"), networks("fe80::/10"))


def test_a_named_network_holds_its_addresses_in_either_form_and_no_others() -> None:
    named = networks("10.1.0.0/16", "fd00::/8")
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1"):
        assert is_named(address(text), named)
    for text in ("10.2.0.1", "::ffff:10.2.0.1", "::1", "127.0.0.1"):
        assert not is_named(address(text), named)


# --- URLs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "header"),
    [
        ("https://shop.example", "shop.example", 443, "/", "shop.example"),
        ("https://Shop.Example:8443/a/b?c=d", "shop.example", 8443, "/a/b?c=d", None),
        ("https://1.1.1.1/hook", "1.1.1.1", 443, "/hook", "1.1.1.1"),
        ("https://[2606:4700::1111]:444/", "2606:4700::1111", 444, "/", "[2606:4700::1111]:444"),
        ("https://[::FFFF:1.1.1.1]/", "::ffff:101:101", 443, "/", None),
        ("http://shop.example:80/", "shop.example", 80, "/", "shop.example"),
        ("https://a_b.shop.example./x", "a_b.shop.example.", 443, "/x", None),
    ],
)
def test_a_url_is_taken_apart(
    url: str, host: str, port: int, path: str, header: str | None
) -> None:
    target = parse_target(url)
    assert (target.host, target.port, target.path) == (host, port, path)
    assert header is None or target.host_header == header


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",  # 127.0.0.1 as one number
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.000.000.001",
        "127.0.0.1.",
        "1.2.3.4.5",
        "999.1.1.1",
        "shop.0x7f",
        "0x",
    ],
)
def test_an_address_has_one_spelling(host: str) -> None:
    with pytest.raises(ValueError, match=r"must (spell an IPv4 address|name a host)"):
        parse_target(f"https://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example/hook",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:word@shop.example/",
        "https://shop.example@127.0.0.1/",
        "https://@shop.example/",
        "https://shop.example/#part",
        "https://shop.example/#",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://shop.example:x/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://shop.example/a b",
        "https://shop.example\\@127.0.0.1/",
        "https://shop.example/\r\nHost: other",
        "https://ｓｈｏｐ.example/",
        "https://127。0。0。1/",
        "https://-shop.example/",
        "https://shop..example/",
        "https://" + "a" * 64 + ".example/",
        "https://shop.example/" + "a" * 500,
    ],
)
def test_a_url_that_can_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_target(url)


@pytest.mark.parametrize("text", INNER)
def test_an_inner_address_is_refused_when_it_is_written_down(text: str) -> None:
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(ValueError, match="SLUICE_WEBHOOK_NETWORKS"):
        check_literal(parse_target(f"https://{host}/"), [])


def test_plain_http_is_for_named_networks() -> None:
    named = networks("10.0.0.0/8")
    check_literal(parse_target("http://10.0.0.1/"), named)
    check_literal(parse_target("http://inner.example/"), named)  # decided when it is connected
    for url, allowed in (("http://1.1.1.1/", named), ("http://shop.example/", [])):
        with pytest.raises(ValueError, match="https"):
            check_literal(parse_target(url), allowed)


def test_one_bad_address_among_good_ones_is_too_many() -> None:
    good, bad = address("1.1.1.1"), address("169.254.169.254")
    check_addresses("https", [good], [])
    for mixed in ([good, bad], [bad, good], [address("2606:4700::1111"), address("::1")]):
        with pytest.raises(Forbidden):
            check_addresses("https", mixed, [])
    with pytest.raises(Forbidden):
        check_addresses("https", [], [])
    check_addresses("https", [good, bad], networks("169.254.0.0/16"))


# --- connecting -----------------------------------------------------------------------------------


class Backend(httpcore.AsyncMockBackend):
    """Notes where connections go; those to `dead` addresses fail."""

    def __init__(self, *dead: str) -> None:
        super().__init__([])
        self.dead = dead
        self.went: list[str] = []

    async def connect_tcp(self, host: str, *args: object) -> httpcore.AsyncNetworkStream:
        self.went.append(host)
        if host in self.dead:
            raise httpcore.ConnectError("refused")
        return await super().connect_tcp(host, 443)


def pinned(backend: Backend, *answers: Sequence[str], scheme: str = "https") -> Pinned:
    """Whose name server gives each answer once, in turn."""
    left = list(answers)

    async def resolve(_host: str) -> list[Address]:
        return [address(text) for text in left.pop(0)]

    made = Pinned(scheme, [], resolve)
    made._backend = backend
    return made


async def test_what_was_checked_is_what_is_connected_to() -> None:
    backend = Backend()
    # A name server that answers another address a moment later is not asked a moment later.
    await pinned(backend, ["1.1.1.1"], ["127.0.0.1"]).connect_tcp("shop.example", 443)
    assert backend.went == ["1.1.1.1"]


async def test_a_name_that_leads_inside_is_not_connected_to() -> None:
    backend = Backend()
    for answer in (["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["::ffff:7f00:1"], []):
        with pytest.raises(Forbidden):
            await pinned(backend, answer).connect_tcp("shop.example", 443)
    with pytest.raises(Forbidden):
        await pinned(backend, ["1.1.1.1"], scheme="http").connect_tcp("shop.example", 80)
    assert backend.went == []


async def test_the_next_address_is_tried_where_one_is_dead() -> None:
    backend = Backend("1.1.1.1")
    await pinned(backend, ["1.1.1.1", "1.0.0.1"]).connect_tcp("shop.example", 443)
    assert backend.went == ["1.1.1.1", "1.0.0.1"]


async def test_only_so_many_dead_addresses_are_tried() -> None:
    many = [f"1.1.1.{n}" for n in range(1, 20)]
    backend = Backend(*many)
    with pytest.raises(httpcore.ConnectError):
        await pinned(backend, many).connect_tcp("shop.example", 443)
    assert len(backend.went) == ADDRESSES_MAX


async def test_a_name_that_leads_nowhere_is_a_failed_connection() -> None:
    async def resolve(_host: str) -> list[Address]:
        raise socket.gaierror("no such name")

    with pytest.raises(httpcore.ConnectError, match="cannot be resolved"):
        await Pinned("https", [], resolve).connect_tcp("shop.example", 443)


async def test_the_systems_own_resolver_reads_addresses_and_names() -> None:
    resolver = Resolver()
    try:
        assert address("127.0.0.1") in await resolver("localhost") or address(
            "::1"
        ) in await resolver("localhost")
        assert await resolver("127.0.0.1") == [address("127.0.0.1")]
        assert await resolver("0x7f.1") == [address("127.0.0.1")]  # and so it must be checked
    finally:
        resolver.close()
