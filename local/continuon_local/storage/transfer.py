"""Bytes in and bytes out, in constant memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from continuon_local.meter import Operation
from continuon_local.storage.bodies import read_slice
from continuon_local.storage.encryption import check_read, customer_key, key_headers
from continuon_local.storage.fields import check_header_value
from continuon_local.storage.ranges import ByteRange, parse_range

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from continuon_local.storage.bodies import Digests
    from continuon_local.storage.call import Call
    from continuon_local.storage.checksums import Expected, SizeRange
    from continuon_local.storage.records import ObjectRecord

__all__ = ["download", "object_headers", "receive"]

# After a refusal the rest of a small upload is read, so that the client gets to see the answer
# instead of a reset connection. Larger or slower ones are cut off.
_MAX_DRAINED_BYTES = 64 << 20
_MAX_DRAIN_SECONDS = 5

# RFC 9110 tokens, less what quote() leaves alone anyway.
_HEADER_NAME_CHARACTERS = "!#$&'*+^`|"

_HEADER_OF_FIELD = {
    "cacheControl": "cache-control",
    "contentDisposition": "content-disposition",
    "contentEncoding": "content-encoding",
    "contentLanguage": "content-language",
}


async def receive(
    call: Call, chunks: AsyncIterator[bytes], expected: Expected, sizes: SizeRange
) -> tuple[str, Digests]:
    """Write ``chunks`` to a new body; return its name and checksums.

    Raises:
        StorageError: The size is not in ``sizes`` or a checksum is not the ``expected`` one (400);
            nothing is left behind.
    """
    writer = call.engine.bodies.create(sha256=expected.sha256 is not None)
    try:
        async for chunk in chunks:
            await writer.write(chunk)
            sizes.check_upper(writer.received)
        sizes.check(writer.received)
        digests = await writer.finish()
        expected.check(digests)
    except BaseException:
        await writer.abandon()
        raise
    call.count(Operation.STORAGE_INGRESS_BYTES, digests.size)
    return writer.body_id, digests


async def drain(call: Call) -> None:
    """Read and forget what is left of a small request body."""
    left = _MAX_DRAINED_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_MAX_DRAIN_SECONDS):
            async for chunk in call.stream():
                left -= len(chunk)
                if left < 0:
                    return


def object_headers(record: ObjectRecord) -> dict[str, str]:
    """Return the headers that describe an object in both APIs, without its size."""
    headers = {
        "content-type": _on_the_wire(record.content_type),
        "x-goog-generation": str(record.generation),
        "x-goog-metageneration": str(record.metageneration),
        "x-goog-hash": record.hash_header,
        "x-goog-storage-class": record.storage_class,
        "x-goog-stored-content-length": str(record.size),
        "x-goog-stored-content-encoding": str(record.fields.get("contentEncoding") or "identity"),
        "accept-ranges": "bytes",
    }
    if record.component_count is not None:
        headers["x-goog-component-count"] = str(record.component_count)
    for field, header in _HEADER_OF_FIELD.items():
        if record.fields.get(field):
            headers[header] = _on_the_wire(str(record.fields[field]))
    for key, value in (record.fields.get("metadata") or {}).items():
        name = quote(key, safe=_HEADER_NAME_CHARACTERS)
        headers[f"x-goog-meta-{name}"] = _encoded(str(value))
    return headers


def _on_the_wire(value: str) -> str:
    """Return a header value that travels as the UTF-8 octets of ``value``."""
    return value.encode().decode("latin-1")


def _encoded(value: str) -> str:
    """Percent-encode what no header can carry; printable ASCII passes unchanged."""
    if value.isascii() and value.isprintable():
        return value
    return quote(value, safe=" ")


def download(
    call: Call,
    record: ObjectRecord,
    *,
    entity_tag: str,
    overrides: Mapping[str, str] | None = None,
) -> Response:
    """Answer with the bytes of ``record``, or the range of them that the request names.

    Raises:
        StorageError: The range holds no byte of the object (416), an override is no header value
            (400), or the object's encryption key is missing or wrong (400).
    """
    check_read(record, customer_key(call.headers))
    headers = {**object_headers(record), **key_headers(record), "etag": entity_tag}
    for header, value in (overrides or {}).items():
        check_header_value(header, value)
        headers[header] = _on_the_wire(value)
    part = parse_range(call.headers.get("range"), record.size)
    chosen = part or ByteRange(0, record.size)
    status = 200
    if part is not None:
        status = 206
        last = part.start + part.length - 1
        headers["content-range"] = f"bytes {part.start}-{last}/{record.size}"
    headers["content-length"] = str(chosen.length)
    if call.method == "HEAD":
        return Response(status_code=status, headers=headers)
    # Opened before the first await: the file cannot be swept between the look-up and the read.
    file = call.engine.bodies.open(record.body_id)
    call.count(Operation.STORAGE_EGRESS_BYTES, chosen.length)
    content = read_slice(file, chosen.start, chosen.length)
    return StreamingResponse(content, status, headers)
