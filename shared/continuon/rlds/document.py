"""An episode as one JSON document: `{"metadata": {...}, "steps": [...]}`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from continuon.rlds import codes
from continuon.rlds.errors import StopReading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from continuon.limits import Limits
    from continuon.rlds.episode import EpisodeCheck

STEPS_PATH: Final = "steps"
"""What findings name as the file of a step: the member of the document."""


class _Document(msgspec.Struct):
    metadata: msgspec.Raw
    steps: msgspec.Raw


_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]')
_OPENING, _CLOSING, _COMMA = b"[{", b"]}", ord(",")
_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")
_DECODER: Final = msgspec.json.Decoder(_Document)


def check_document(chunks: Iterable[bytes], check: EpisodeCheck, limits: Limits) -> None:
    """Read a document into `check`. The document itself is held in memory, its values are not.

    Raises:
        StopReading: It is too large or not of the documented form.
    """
    document = _read(chunks, limits)
    if len(document.metadata) > limits.metadata_bytes:
        message = f"metadata larger than {limits.metadata_bytes} bytes"
        raise StopReading(codes.LIMITS_METADATA_SIZE, message)
    check.add_metadata(bytes(document.metadata))
    check.add_steps(STEPS_PATH, _step_lines(document))


def document_lines(chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """Yield each step of a document as a line. The document itself is held in memory.

    Raises:
        StopReading: It is too large or not of the documented form.
    """
    return _step_lines(_read(chunks, limits))


def _read(chunks: Iterable[bytes], limits: Limits) -> _Document:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limits.document_bytes:
            message = f"larger than {limits.document_bytes} bytes"
            raise StopReading(codes.LIMITS_DOCUMENT_SIZE, message)
    _check_text(data)
    try:
        return _DECODER.decode(data)
    except RecursionError as error:
        raise StopReading(codes.LIMITS_DEPTH, "nested too deeply") from error
    except msgspec.DecodeError as error:
        raise StopReading(codes.DOCUMENT_INVALID, str(error)) from error


def _step_lines(document: _Document) -> Iterator[bytes]:
    steps = bytes(document.steps)
    if not steps.startswith(b"["):
        raise StopReading(codes.DOCUMENT_INVALID, "steps is not a list")
    return _lines(steps)


def _check_text(data: bytearray) -> None:
    """Look at the whole text: skipped values are not checked for UTF-8 by the decoder."""
    try:
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError as error:
        message = f"bad byte at offset {error.start}"
        raise StopReading(codes.TEXT_NOT_UTF8, message) from error
    if data.startswith(b"\xef\xbb\xbf"):
        raise StopReading(codes.TEXT_NOT_UTF8, "starts with a byte order mark")


def _lines(array: bytes) -> Iterator[bytes]:
    """Yield each value of a valid JSON array on a line of its own, one at a time.

    A list of all values would take twenty times the document's memory when they are tiny. Line
    ends inside strings need no care: the grammar does not allow them.
    """
    depth = start = 0
    for token in _TOKEN.finditer(array):
        mark = array[token.start()]
        if mark in _OPENING:
            depth += 1
            start = start or token.end()
        elif mark in _CLOSING:
            depth -= 1
        if (depth == 1 and mark == _COMMA) or depth == 0:
            value = array[start : token.start()].translate(_SPACES).strip()
            start = token.end()
            if value:
                yield value + b"\n"
