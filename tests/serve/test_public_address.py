"""Addresses of the inside are told from public ones, in every form in which they are written."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_edge.serve.public_address import is_public

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",  # the metadata of clouds
    "172.16.0.1",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_the_inside_is_refused_in_every_wrapping(address: str) -> None:
    number = int(IPv4Address(address))
    forms = [
        address,
        f"::ffff:{address}",
        f"64:ff9b::{address}",  # NAT64
        f"::{address}",  # IPv4-compatible
        str(IPv6Address((0x2002 << 112) | (number << 80))),  # 6to4
        str(IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (number ^ 0xFFFFFFFF))),  # Teredo
        str(IPv6Address((0x20010000 << 96) | (number << 64) | (0x08080808 ^ 0xFFFFFFFF))),
    ]
    assert [form for form in forms if is_public(form)] == []


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::7f00:1",
        "100::1",
        "2001:2::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_special_ipv6_addresses_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"],
)
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=6))
def test_beyond_the_unicast_addresses_only_wrapped_ones_pass(ip: IPv6Address) -> None:
    if is_public(str(ip)) and int(ip) >> 125 != 1:
        assert ip.ipv4_mapped or str(ip).startswith("64:ff9b::")
