"""An episode as one JSON document: `{"metadata": {...}, "steps": [...]}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from continuon.rlds import codes
from continuon.rlds.errors import StopReading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from continuon.limits import Limits
    from continuon.rlds.episode import EpisodeCheck

STEPS_PATH: Final = "steps"
"""What findings name as the file of a step: the member of the document."""


class _Document(msgspec.Struct):
    metadata: msgspec.Raw
    steps: list[msgspec.Raw]
    assets: Any = None


_DECODER: Final = msgspec.json.Decoder(_Document)


def check_document(chunks: Iterable[bytes], check: EpisodeCheck, limits: Limits) -> None:
    """Read a document into `check`. The document itself is held in memory, its values are not.

    Raises:
        StopReading: It is too large or not of the documented form.
    """
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limits.document_bytes:
            message = f"larger than {limits.document_bytes} bytes"
            raise StopReading(codes.LIMITS_DOCUMENT_SIZE, message)
    _check_text(data)
    try:
        document = _DECODER.decode(data)
    except RecursionError as error:
        raise StopReading(codes.LIMITS_DEPTH, "nested too deeply") from error
    except msgspec.DecodeError as error:
        raise StopReading(codes.DOCUMENT_INVALID, str(error)) from error
    if len(document.metadata) > limits.metadata_bytes:
        message = f"metadata larger than {limits.metadata_bytes} bytes"
        raise StopReading(codes.LIMITS_METADATA_SIZE, message)
    check.add_metadata(bytes(document.metadata))
    check.add_steps(STEPS_PATH, (_line(step) for step in document.steps))


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


def _line(step: msgspec.Raw) -> bytes:
    """Put one value on one line; line ends inside strings would not have been decoded."""
    return bytes(step).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
