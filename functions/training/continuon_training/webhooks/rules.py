"""Which addresses may be called, and when to call again. Pure.

A callback is a request that a stranger has this cloud make. What must not happen is that it
reaches what only this cloud can reach: itself, its neighbours, the metadata server. So names are
judged here, and addresses too, each time, right before the connection is made to exactly them.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from continuon import limits
from continuon.errors import FieldProblem, ProblemError
from continuon_training.webhooks.errors import WEBHOOK_URL_REFUSED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

__all__ = ["Target", "check_url", "is_public", "next_attempt", "refused_addresses"]

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PRINTABLE: Final = re.compile(r"[!-~]+")
_INTERNAL: Final = (".internal", ".local", ".localhost", ".localdomain", ".home.arpa")
_WEB_PORTS: Final = frozenset({80, 443})
_FIRST_FREE_PORT: Final = 1024
"""Ports below belong to system services: mail, shells, directories. 80 and 443 are the web's."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LINK_LOCAL: Final = (
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fe80::/10"),
)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """Where a callback goes.

    Attributes:
        is_allowed: The operator named this host: it may be private, and without TLS.
    """

    host: str
    port: int
    is_tls: bool
    is_allowed: bool


def check_url(url: str, allowed_hosts: Collection[str]) -> Target:
    """Take an address apart and judge it by its text.

    Args:
        url: What the user gave.
        allowed_hosts: Hosts that the operator trusts, though they may be private.

    Raises:
        ProblemError: ``webhook.url_refused``.
    """
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise _refused("holds a character that no URL has")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise _refused("is no URL") from error
    is_allowed = host in allowed_hosts
    if parts.scheme not in {"https", "http"}:
        raise _refused("must begin with https://")
    if parts.scheme == "http" and not is_allowed:
        raise _refused("must begin with https://: what is sent must not be readable on its way")
    if parts.username is not None or parts.password is not None:
        raise _refused("must not hold a user name or password")
    if parts.fragment:
        raise _refused("must not have a fragment")
    is_tls = parts.scheme == "https"
    port = port if port is not None else (443 if is_tls else 80)
    if port not in _WEB_PORTS and port < _FIRST_FREE_PORT:
        raise _refused("must use port 80, 443, or one from 1024 on")
    _check_host(host, is_allowed=is_allowed)
    return Target(host, port, is_tls, is_allowed)


def _check_host(host: str, *, is_allowed: bool) -> None:
    address = _address(host)
    if address is None and not _HOST.fullmatch(host):
        raise _refused("has no usable host name")
    if is_allowed:
        return
    if address is not None and not is_public(host):
        raise _refused("is a private address")
    if address is None and ("." not in host or host.endswith(_INTERNAL)):
        raise _refused("names a host of a private network")


def _refused(message: str) -> ProblemError:
    field = FieldProblem(WEBHOOK_URL_REFUSED.code, "callback_url", message)
    return ProblemError(WEBHOOK_URL_REFUSED, f"callback_url {message}.", errors=[field])


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def is_public(text: str) -> bool:
    """Say whether an address belongs to the open internet, whatever it is wrapped in."""
    address = _address(text)
    return address is not None and all(
        one.is_global and not (one.is_multicast or one.is_reserved or one.is_unspecified)
        for one in _unwrapped(address)
    )


def _unwrapped(address: _Address) -> list[_Address]:
    """Return the address and every IPv4 address that packets to it may be turned into."""
    found: list[_Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return [address.ipv4_mapped]
        found += [one for one in (address.sixtofour, *(address.teredo or ())) if one]
        if address in _NAT64:
            return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return found


def refused_addresses(addresses: Iterable[str], target: Target) -> list[str]:
    """Return those of a host's addresses that must not be connected to.

    A host that the operator allowed may be private, but never link-local: that is where metadata
    servers give out credentials.
    """
    if not target.is_allowed:
        return [one for one in addresses if not is_public(one)]
    return [one for one in addresses if _is_link_local(one)]


def _is_link_local(text: str) -> bool:
    address = _address(text)
    return address is None or any(
        one in network
        for one in _unwrapped(address)
        for network in _LINK_LOCAL
        if one.version == network.version
    )


def next_attempt(attempts: int, now: datetime) -> datetime | None:
    """Return when to try again after ``attempts`` failed ones; None when that was the last."""
    if attempts > len(limits.WEBHOOK_BACKOFF_S):
        return None
    return now + timedelta(seconds=limits.WEBHOOK_BACKOFF_S[attempts - 1])
