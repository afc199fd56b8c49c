"""The sender against receivers that are slow, rude or somewhere else than they said."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from continuon import limits
from continuon_training.webhooks.rules import Target
from continuon_training.webhooks.sender import AddressRefusedError, Sender, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

Answer = bytes | None
"""What a receiver sends; None for nothing at all."""

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """A server that writes down what it got and answers as it was told."""

    def __init__(self, answer: Answer, *, endless: bytes = b"") -> None:
        self.requests: list[bytes] = []
        self.sent = 0
        self.handlers: list[asyncio.Task[Any]] = []
        self._answer = answer
        self._endless = endless

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.handlers.append(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._answered(reader, writer)
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        if self._answer is None:
            await reader.read()
        writer.write(self._answer or b"")
        while self._endless:
            writer.write(self._endless)
            self.sent += len(self._endless)
            await writer.drain()
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(receiver: Receiver, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in receiver.handlers:
            task.cancel()
        await asyncio.gather(*receiver.handlers, return_exceptions=True)


def to(*addresses: str) -> Callable[[str, int], Awaitable[list[str]]]:
    """Return a resolver that gives these addresses."""

    async def resolver(_host: str, _port: int) -> list[str]:
        return list(addresses)

    return resolver


async def send(port: int, sender: Sender, *, host: str = "127.0.0.1", **changes: Any) -> Any:
    fields: dict[str, Any] = {"is_tls": False, "is_allowed": True} | changes
    target = Target(host, port, **fields)
    scheme = "https" if target.is_tls else "http"
    headers = {"host": f"{host}:{port}", "content-length": "4"}
    return await sender.send(target, f"{scheme}://{host}:{port}/hook?a=b", headers, b"body")


async def test_a_receiver_gets_the_request_as_it_was_made() -> None:
    receiver = Receiver(OK)
    async with listening(receiver) as port:
        sent = await send(port, Sender())
    assert sent.is_delivered
    [request] = receiver.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert (head.splitlines()[0], body) == (b"POST /hook?a=b HTTP/1.1", b"body")


async def test_the_connection_goes_to_the_address_that_was_checked_and_names_the_host() -> None:
    receiver = Receiver(OK)
    async with listening(receiver) as port:
        sent = await send(port, Sender(to("127.0.0.1")), host="receiver.example")
    assert sent.is_delivered
    assert f"host: receiver.example:{port}".encode() in receiver.requests[0]


async def test_a_name_that_turns_private_after_its_check_is_not_connected_to() -> None:
    # DNS rebinding: public when the job was made, loopback when the callback is sent.
    receiver = Receiver(OK)
    async with listening(receiver) as port:
        sender = Sender(to("93.184.216.34", "127.0.0.1"))
        sent = await send(port, sender, host="rebinding.example", is_allowed=False)
    assert sent.status is None
    assert "not public" in sent.error
    assert "127.0.0.1" not in sent.error, "what names mean inside is not told"
    assert receiver.requests == []


async def test_the_answer_that_was_checked_is_the_answer_that_is_used() -> None:
    # A name asked twice may answer twice: it is asked once, and never by the HTTP library.
    asked = []

    async def alternating(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) > 1 else ["169.254.169.254"]

    receiver = Receiver(OK)
    async with listening(receiver) as port:
        sent = await send(port, Sender(alternating), host="two-faced.example", is_allowed=False)
    assert (sent.status, asked, receiver.requests) == (None, ["two-faced.example"], [])


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"])
async def test_private_addresses_are_refused_at_connection_time(address: str) -> None:
    sent = await send(443, Sender(to(address)), host="example.com", is_allowed=False)
    assert sent.status is None
    assert "not public" in sent.error


async def test_an_allowed_host_that_resolves_to_the_metadata_server_is_refused() -> None:
    sent = await send(80, Sender(to("169.254.169.254")), host="receiver.lab")
    assert "not public" in sent.error


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, None),
        (b"HTTP/1.1 500 Oops\r\n\r\n", 500, "refused"),
        (b"HTTP/1.1 410 Gone\r\n\r\n", 410, "refused"),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n",
            302,
            "redirects are not followed",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", None, "connection failed"),
        (b"", None, "connection failed"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000, None, "connection failed"),
    ],
)
async def test_what_a_receiver_answers_is_its_status_and_nothing_else(
    answer: bytes, status: int | None, error: str | None
) -> None:
    receiver = Receiver(answer)
    async with listening(receiver) as port:
        sent = await send(port, Sender())
    assert sent.status == status
    assert (sent.error is None) == (error is None)
    assert (error or "") in (sent.error or "")
    assert len(receiver.requests) == 1


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    receiver = Receiver(b"HTTP/1.1 200 OK\r\n\r\n", endless=b"x" * 65_536)
    async with listening(receiver) as port:
        sent = await send(port, Sender())
    assert sent.status == 200
    # What both ends' buffers hold, and not a stream.
    assert receiver.sent < 64 * limits.MIB


async def test_a_receiver_that_never_answers_ends_with_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WEBHOOK_TIMEOUT_S", 0.2)
    receiver = Receiver(None)
    async with listening(receiver) as port:
        sent = await send(port, Sender())
    assert sent.status is None
    assert "no answer within" in sent.error


async def test_nobody_listening_is_a_failure_that_may_be_repeated() -> None:
    receiver = Receiver(OK)
    async with listening(receiver) as port:
        pass
    sent = await send(port, Sender())
    assert "connection failed" in sent.error


async def test_a_name_without_addresses_is_said_to_have_none() -> None:
    with pytest.raises(AddressRefusedError, match="does not resolve"):
        await resolve("does-not-exist.invalid", 443)
    sent = await send(443, Sender(to()), host="example.com", is_allowed=False)
    assert "does not resolve" in sent.error


# --- TLS ----------------------------------------------------------------------------------------


def certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context with a certificate for ``name``, and one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "server.pem"
    path.write_bytes(secret + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cadata=pem.decode())
    return server, client


@pytest.mark.parametrize(("host", "delivered"), [("good.example", True), ("bad.example", False)])
async def test_tls_proves_the_name_and_not_the_address(
    host: str,
    delivered: bool,  # noqa: FBT001 - a test's parameter
    tmp_path: Path,
) -> None:
    server, client = certificate("good.example", tmp_path)
    receiver = Receiver(OK)
    async with listening(receiver, server) as port:
        sent = await send(port, Sender(to("127.0.0.1"), client), host=host, is_tls=True)
    assert sent.is_delivered is delivered
    assert bool(receiver.requests) is delivered
