"""The XML API's multipart uploads: initiate, send parts, list, complete, abort."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from starlette.responses import Response

from continuon_local.meter import Operation
from continuon_local.storage.bodies import Digests
from continuon_local.storage.checksums import Expected, SizeRange
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.objects import NewObject
from continuon_local.storage.preconditions import NO_CONDITIONS
from continuon_local.storage.records import encode_crc32c
from continuon_local.storage.transfer import receive
from continuon_local.storage.xml_documents import document, node

if TYPE_CHECKING:
    from typing import Any

    from continuon_local.storage.call import Call
    from continuon_local.storage.upload_parts import Part, Upload

__all__ = ["handle", "initiate", "list_uploads"]

# https://cloud.google.com/storage/quotas#requests: parts of one upload, and the least size of
# every part but the last.
_MAX_PARTS = 10_000
_MIN_PART_BYTES = 5 << 20
_MAX_PART_BYTES = 5 << 30

# 10,000 parts of about 150 bytes each.
_MAX_DOCUMENT_BYTES = 4 << 20


async def initiate(call: Call, bucket: str, name: str, fields: dict[str, Any]) -> Response:
    """Open an upload.

    Raises:
        StorageError: It is bound to be refused (400, 403, 404).
    """
    call.engine.objects.check_may_write(bucket, name, NO_CONDITIONS)
    upload = call.engine.parts.begin(bucket, name, fields)
    call.count(Operation.STORAGE_CLASS_A)
    return document(
        "InitiateMultipartUploadResult",
        [node("Bucket", bucket), node("Key", name), node("UploadId", upload.id)],
    )


async def handle(call: Call, bucket: str, name: str, digest: str | None) -> Response:
    """Answer a request with an ``uploadId``; ``digest`` is what a signature demands of the body.

    Raises:
        StorageError: The request is refused.
    """
    parts = call.engine.parts
    upload = parts.get(call.parameters["uploadId"], bucket, name)
    match call.method:
        case "PUT":
            return await _put_part(call, upload, digest)
        case "GET":
            call.count(Operation.STORAGE_CLASS_A)
            return _list_parts(call, upload)
        case "POST":
            return await _complete(call, upload)
        case "DELETE":
            await call.engine.bodies.discard(parts.end(upload))
            return Response(status_code=204)
        case _:
            raise StorageError(405, "methodNotAllowed", "MethodNotAllowed", "Not allowed.")


async def _put_part(call: Call, upload: Upload, digest: str | None) -> Response:
    text = call.parameters.get("partNumber", "")
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _MAX_PARTS:
        raise invalid(f"Part number must be an integer between 1 and {_MAX_PARTS}.")
    expected = Expected.from_headers(call.headers).with_sha256(digest)
    sizes = SizeRange(high=_MAX_PART_BYTES)
    body_id, digests = await receive(call, call.stream(), expected, sizes)
    try:
        replaced = call.engine.parts.put(upload, int(text), body_id, digests)
    except BaseException:
        await call.engine.bodies.discard([body_id])
        raise
    await call.engine.bodies.discard(replaced)
    call.count(Operation.STORAGE_CLASS_A)
    headers = {
        "etag": f'"{(digests.md5 or b"").hex()}"',
        "x-goog-hash": f"crc32c={encode_crc32c(digests.crc32c)},md5={_base64(digests)}",
    }
    return Response(status_code=200, headers=headers)


def _base64(digests: Digests) -> str:
    return base64.b64encode(digests.md5 or b"").decode()


def _list_parts(call: Call, upload: Upload) -> Response:
    marker = call.parameters.get("part-number-marker", "0")
    limit = call.parameters.get("max-parts", "1000")
    if not (re.fullmatch(r"[0-9]{1,5}", marker) and re.fullmatch(r"[0-9]{1,5}", limit)):
        raise invalid("Invalid value for part-number-marker or max-parts")
    rest = [part for part in call.engine.parts.parts(upload.id) if part.number > int(marker)]
    shown = rest[: min(int(limit), 1000)]
    nodes = [
        node("Bucket", upload.bucket),
        node("Key", upload.name),
        node("UploadId", upload.id),
        node("StorageClass", str(upload.fields.get("storageClass") or "STANDARD")),
        node("PartNumberMarker", marker),
        node("NextPartNumberMarker", str(shown[-1].number if shown else marker)),
        node("MaxParts", limit),
        node("IsTruncated", str(len(shown) < len(rest)).lower()),
    ]
    return document("ListPartsResult", [*nodes, *map(_part_node, shown)])


def _part_node(part: Part) -> str:
    return node(
        "Part",
        node("PartNumber", str(part.number)),
        node("LastModified", part.created),
        node("ETag", part.entity_tag),
        node("Size", str(part.size)),
    )


async def _complete(call: Call, upload: Upload) -> Response:
    engine = call.engine
    chosen = _chosen(await _named_parts(call), engine.parts.parts(upload.id))
    files = [engine.bodies.open(part.body_id) for part in chosen]
    body_id, digests = await engine.bodies.concatenate(files)
    garbage: list[str] = []
    record = await engine.objects.create(
        NewObject(
            bucket=upload.bucket,
            name=upload.name,
            body_id=body_id,
            # As in production, nobody knows the MD5 of a whole that was sent in parts.
            digests=Digests(size=digests.size, md5=None, crc32c=digests.crc32c),
            fields=upload.fields,
            on_commit=lambda _: garbage.extend(engine.parts.end_within(upload)),
        )
    )
    await engine.bodies.discard(garbage)
    call.count(Operation.STORAGE_CLASS_A)
    location = f"{call.base_url}{call.raw_path}"
    answer = document(
        "CompleteMultipartUploadResult",
        [
            node("Location", location),
            node("Bucket", upload.bucket),
            node("Key", upload.name),
            node("ETag", record.xml_etag),
        ],
    )
    answer.headers["x-goog-generation"] = str(record.generation)
    answer.headers["x-goog-hash"] = record.hash_header
    return answer


async def _named_parts(call: Call) -> list[tuple[int, str]]:
    """Read the document that names the parts: their numbers and entity tags."""
    data = bytearray()
    async for chunk in call.stream():
        data += chunk
        if len(data) > _MAX_DOCUMENT_BYTES:
            raise invalid("The request body is too large.", code="EntityTooLarge")
    if b"<!" in data:
        raise _malformed()  # no declarations: nothing to expand, nothing to include
    try:
        root = ET.fromstring(bytes(data))  # noqa: S314 - without declarations, and bounded
    except (ET.ParseError, ValueError, LookupError):
        raise _malformed() from None
    named = []
    for part in root:
        values = {_plain(child.tag): (child.text or "").strip() for child in part}
        if _plain(part.tag) != "Part" or not re.fullmatch(
            "[0-9]{1,5}", values.get("PartNumber", "")
        ):
            raise _malformed()
        named.append((int(values["PartNumber"]), values.get("ETag", "").strip('"')))
    return named


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _malformed() -> StorageError:
    message = "The XML you provided was not well-formed or did not validate against our schema."
    return StorageError(400, "invalid", "MalformedXML", message)


def _chosen(named: list[tuple[int, str]], known: list[Part]) -> list[Part]:
    """Return the parts that the client names, in its order.

    Raises:
        StorageError: The order is wrong, a part is missing or differs, or is too small (400).
    """
    numbers = [number for number, _ in named]
    if not named or numbers != sorted(set(numbers)):
        raise StorageError(400, "invalid", "InvalidPartOrder", "Parts must be in ascending order.")
    by_number = {part.number: part for part in known}
    chosen = []
    for number, tag in named:
        part = by_number.get(number)
        if part is None or tag != part.md5.hex():
            message = f"Part {number} was not found, or its ETag differs."
            raise StorageError(400, "invalid", "InvalidPart", message)
        chosen.append(part)
    if any(part.size < _MIN_PART_BYTES for part in chosen[:-1]):
        message = "Your proposed upload is smaller than the minimum allowed object size."
        raise StorageError(400, "invalid", "EntityTooSmall", message)
    return chosen


def list_uploads(call: Call, bucket: str) -> Response:
    """Answer ``GET /BUCKET?uploads``."""
    call.engine.objects.bucket(bucket)
    prefix = call.parameters.get("prefix", "")
    call.count(Operation.STORAGE_CLASS_A)
    nodes = [node("Bucket", bucket), node("Prefix", prefix), node("IsTruncated", "false")]
    for upload in call.engine.parts.of_bucket(bucket, prefix):
        key, number = node("Key", upload.name), node("UploadId", upload.id)
        nodes.append(node("Upload", key, number, node("Initiated", upload.created)))
    return document("ListMultipartUploadsResult", nodes)
