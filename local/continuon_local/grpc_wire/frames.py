"""HTTP/2 frames as bytes (RFC 9113, sections 4 and 6). No I/O."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

__all__ = [
    "DEFAULT_WINDOW",
    "FRAME_HEAD",
    "MAX_FRAME_BYTES",
    "MAX_WINDOW",
    "PREFACE",
    "Flag",
    "FrameType",
    "H2Error",
    "Reason",
    "Setting",
    "frame",
    "pad_stripped",
    "read_settings",
    "reset",
    "settings",
    "window_update",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

FRAME_HEAD = struct.Struct(">BHBBL")
"""The length (high byte, low bytes), the type, the flags and the stream."""

MAX_FRAME_BYTES = 16_384
"""The most in one frame without asking; we never ask for more."""

DEFAULT_WINDOW = 65_535
"""Bytes that may be sent before the first word about windows (RFC 9113, section 6.9.2)."""

MAX_WINDOW = 2**31 - 1

_SETTING = struct.Struct(">HL")


class FrameType(IntEnum):
    """Frame types (RFC 9113, section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag(IntFlag):
    """Flags; ``ACK`` shares its bit with ``END_STREAM``, on other frames."""

    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting(IntEnum):
    """Settings (RFC 9113, section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Reason(IntEnum):
    """Error codes of RST_STREAM and GOAWAY (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class H2Error(Exception):
    """A peer that breaks the protocol: the connection ends with GOAWAY.

    Attributes:
        reason: The error code it hears.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame; the payload has at most :data:`MAX_FRAME_BYTES`."""
    size = len(payload)
    return FRAME_HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join(_SETTING.pack(name, value) for name, value in values.items())
    return frame(FrameType.SETTINGS, 0, 0, payload)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the pairs of a SETTINGS frame, checked as far as their ranges are laid down.

    Raises:
        H2Error: A length that is no whole number of settings, or a value out of its range.
    """
    if len(payload) % _SETTING.size:
        raise H2Error(Reason.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
    pairs = list(_SETTING.iter_unpack(payload))
    for name, value in pairs:
        if name == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise H2Error(Reason.FLOW_CONTROL_ERROR, "initial window too large")
        if name == Setting.MAX_FRAME_SIZE and not MAX_FRAME_BYTES <= value < 1 << 24:
            raise H2Error(Reason.PROTOCOL_ERROR, "frame size out of range")
        if name == Setting.ENABLE_PUSH and value > 1:
            raise H2Error(Reason.PROTOCOL_ERROR, "push is neither on nor off")
    return pairs


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(FrameType.WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def pad_stripped(flags: int, payload: bytes) -> bytes:
    """Return what a frame carries besides its padding.

    Raises:
        H2Error: The padding is longer than the frame.
    """
    if not flags & Flag.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise H2Error(Reason.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def reset(stream: int, reason: Reason) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(FrameType.RST_STREAM, 0, stream, int(reason).to_bytes(4, "big"))
