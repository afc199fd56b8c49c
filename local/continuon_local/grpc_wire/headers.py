"""Header blocks of gRPC over HTTP/2: how a call begins, and how its answer begins and ends.

A client repeats the same few blocks for as long as it lives, mostly as references into the table it
shares with us; a block seen before, since the table last changed, is not decoded again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable

from continuon_local.grpc_wire.frames import H2Error, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from continuon_local.grpc_wire.codes import Code

__all__ = ["ANSWER_HEAD", "MAX_BLOCK_BYTES", "Head", "HeadReader", "only_trailers", "trailers"]

MAX_BLOCK_BYTES = 64 * 1024
"""Of headers, encoded or decoded; more ends the connection."""

_REMEMBERED_BLOCKS = 64
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])", re.ASCII)
_TIMEOUT_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_RESIZE = 0x20
_SEVEN_BITS = 0x7F
_STATUS_200 = b"\x88"  # entry 8 of the static table
_OWN = frozenset({"te", "content-type", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"})
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}


@dataclass(frozen=True, slots=True)
class Head:
    """How a call begins.

    Attributes:
        path: ``/package.Service/Method``.
        metadata: What the client sent along, names in lower case, without what is gRPC's own.
        encoding: How the client compresses its messages.
        timeout_s: How long the client will wait, None for ever.
        is_grpc: Whether it is a gRPC call at all.
    """

    path: str
    metadata: tuple[tuple[str, str], ...]
    encoding: str
    timeout_s: float | None
    is_grpc: bool


class _Table(HeaderTable):
    """A table of headers that counts what is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)


class HeadReader:
    """Decodes the header blocks of one connection; every block has to pass through, in order."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_BLOCK_BYTES)
        self._table = self._decoder.header_table = _Table()
        self._known: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """Decode one block.

        Raises:
            H2Error: It is malformed; the connection's table is lost with it.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        before = self._table.changes
        try:
            fields = self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise H2Error(Reason.COMPRESSION_ERROR, str(error)) from error
        head = _head((bytes(name), bytes(value)) for name, value in fields)
        # A block may also begin by making the table smaller (RFC 7541, section 6.3).
        changed = self._table.changes != before or (block[:1] and block[0] & 0xE0 == _RESIZE)
        if changed or len(self._known) >= _REMEMBERED_BLOCKS:
            self._known.clear()
        if not changed:
            self._known[block] = head
        return head


def _head(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    named: dict[str, str] = {}
    metadata = []
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name.startswith(":") or name in _OWN:
            named[name] = value
        else:
            metadata.append((name, value))
    is_grpc = named.get("content-type", "").startswith("application/grpc")
    return Head(
        path=named.get(":path", ""),
        metadata=tuple(metadata),
        encoding=named.get("grpc-encoding", "identity"),
        timeout_s=_seconds(named.get("grpc-timeout", "")),
        is_grpc=is_grpc and named.get(":method") == "POST",
    )


def _seconds(timeout: str) -> float | None:
    found = _TIMEOUT.fullmatch(timeout)
    return None if found is None else int(found[1]) * _TIMEOUT_UNITS_S[found[2]]


def _length(size: int) -> bytes:
    """Return a string's length as HPACK writes it, not Huffman-coded (RFC 7541, section 5.1)."""
    if size < _SEVEN_BITS:
        return bytes([size])
    out, size = bytearray([_SEVEN_BITS]), size - _SEVEN_BITS
    while size > _SEVEN_BITS:
        out.append(size & _SEVEN_BITS | 0x80)
        size >>= 7
    return bytes([*out, size])


def _field(name: bytes, value: bytes) -> bytes:
    """Return a field that leaves the peer's table alone (RFC 7541, section 6.2.2)."""
    return b"".join((b"\x00", _length(len(name)), name, _length(len(value)), value))


def _percent_encoded(message: str) -> bytes:
    """Encode ``grpc-message`` as the protocol lays down: UTF-8, what is not plain as ``%XX``."""
    raw = message.encode()
    return b"".join(bytes([one]) if one in _PLAIN else b"%%%02X" % one for one in raw)


ANSWER_HEAD = (
    _STATUS_200
    + _field(b"content-type", b"application/grpc")
    + _field(b"grpc-accept-encoding", b"identity, deflate, gzip")
)
"""The block with which every answer begins."""


def trailers(code: Code, message: str) -> bytes:
    """Return the block with which an answer ends."""
    status = _field(b"grpc-status", b"%d" % code)
    return status + _field(b"grpc-message", _percent_encoded(message)) if message else status


def only_trailers(code: Code, message: str) -> bytes:
    """Return the block of an answer that is nothing but its end."""
    return ANSWER_HEAD + trailers(code, message)
