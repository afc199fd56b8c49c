"""One request out, to an address that was checked and to no other.

The name is resolved here, each address is judged, and the connection is made to one of exactly
these: a name that changes its answer between check and connection gains nothing. TLS still proves
the name. Redirects are not followed, and no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpcore

from continuon import limits
from continuon_training.webhooks.rules import refused_addresses

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from continuon_training.webhooks.rules import Target

__all__ = ["AddressRefusedError", "Sender", "Sent", "resolve"]

_MAX_ADDRESSES: Final = 3
"""Addresses of one host that are tried."""


class AddressRefusedError(Exception):
    """The host's addresses are not all public, or it has none."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one request: a status, or why there is none."""

    status: int | None
    error: str | None

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - 2xx


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the system's order.

    Raises:
        AddressRefusedError: It has none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefusedError(f"{host} does not resolve") from error
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to what a target's name resolves to, once every address of it is judged."""

    def __init__(
        self, target: Target, resolver: Callable[[str, int], Awaitable[list[str]]]
    ) -> None:
        self._target = target
        self._resolve = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        if refused_addresses(addresses, self._target):
            # Which one is not said: what names mean inside is not for strangers to learn.
            raise AddressRefusedError(f"{host} resolves to an address that is not public")
        failure: Exception = AddressRefusedError(f"{host} does not resolve")
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class Sender:
    """Sends callbacks.

    Attributes:
        resolver: How names become addresses.
        tls: What certificates are trusted; None for the public authorities.
    """

    def __init__(
        self,
        resolver: Callable[[str, int], Awaitable[list[str]]] = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._resolver = resolver
        self._tls = tls

    async def send(self, target: Target, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """POST ``body`` and return what came of it. Raises nothing for what a receiver can do."""
        backend = _CheckedBackend(target, self._resolver)
        try:
            async with (
                asyncio.timeout(limits.WEBHOOK_TIMEOUT_S),
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls, network_backend=backend, max_keepalive_connections=0
                ) as pool,
                pool.stream("POST", url, headers=list(headers.items()), content=body) as answer,
            ):
                await _drained(answer)
                return _judged(answer.status)
        except AddressRefusedError as error:
            return Sent(None, str(error))
        except TimeoutError:
            return Sent(None, f"no answer within {limits.WEBHOOK_TIMEOUT_S:.0f} s")
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            OSError,
        ) as error:
            return Sent(None, f"the connection failed ({type(error).__name__})")


async def _drained(answer: httpcore.Response) -> None:
    """Read the answer's body as far as it is of a decent length."""
    size = 0
    async for chunk in answer.aiter_stream():
        size += len(chunk)
        if size > limits.WEBHOOK_MAX_ANSWER_BYTES:
            return


def _judged(status: int) -> Sent:
    if 300 <= status < 400:  # noqa: PLR2004 - 3xx
        return Sent(status, "redirects are not followed")
    return Sent(status, None if 200 <= status < 300 else "the receiver refused it")  # noqa: PLR2004
