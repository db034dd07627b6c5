"""Which network addresses a server of ours may be sent to by somebody's URL."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

PRIVATE = "is private"
_NAT64 = IPv6Network("64:ff9b::/96")


def fault(address: str, allow_private: bool) -> str:
    """Why nothing is sent to `address`; empty when it may be. Raises ValueError on what is no address.

    `address` is what a name resolved to, or stands in the URL itself: a name tells nothing of where it leads.
    """
    ip = _inner(ip_address(address.partition("%")[0]))
    if ip.is_multicast or ip.is_unspecified:
        return "is not a host's"
    if not allow_private and not ip.is_global:
        return PRIVATE
    return ""


def _inner(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)


def literal_fault(host: str, allow_private: bool) -> str:
    """`fault` of an address that stands in a URL itself, which no resolver sees; empty for a name."""
    try:
        return fault(host, allow_private)
    except ValueError:
        return ""
