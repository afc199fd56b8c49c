"""The XML API's listing of a bucket, in both of its versions.

https://cloud.google.com/storage/docs/xml-api/get-bucket-list
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from continuon_local.meter import Operation
from continuon_local.storage.errors import invalid
from continuon_local.storage.listing import ListQuery, list_objects, page_size, successor
from continuon_local.storage.xml_documents import document, node

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response

    from continuon_local.storage.call import Call
    from continuon_local.storage.listing import Page
    from continuon_local.storage.records import ObjectRecord

__all__ = ["list_bucket"]

_LAST = "\U0010ffff"


def list_bucket(call: Call, bucket: str) -> Response:
    """Answer ``GET /BUCKET``.

    Raises:
        StorageError: The bucket is unknown (404), or a value is malformed (400).
    """
    call.engine.objects.bucket(bucket)
    parameters = call.parameters
    second = parameters.get("list-type") == "2"
    after = parameters.get("start-after" if second else "marker", "")
    delimiter, prefix = parameters.get("delimiter", ""), parameters.get("prefix", "")
    limits = {"maxResults": parameters["max-keys"]} if "max-keys" in parameters else {}
    query = ListQuery(
        bucket=bucket,
        prefix=prefix,
        delimiter=delimiter,
        start_offset=_behind(after, prefix, delimiter),
        page_token=parameters.get("continuation-token") or None if second else None,
        max_results=page_size(limits),
    )
    page = list_objects(call.engine.store, query)
    call.count(Operation.STORAGE_CLASS_A)
    encode = _encoder(parameters.get("encoding-type"))
    nodes = [node("Name", bucket), node("Prefix", encode(prefix))]
    nodes += _second(call, page, after) if second else _first(page, encode, after)
    nodes += [node("Delimiter", encode(delimiter))] if delimiter else []
    nodes += [node("MaxKeys", str(query.max_results))]
    nodes += [node("IsTruncated", str(page.next_page_token is not None).lower())]
    nodes += [_contents(record, encode(record.name)) for record in page.items]
    nodes += [node("CommonPrefixes", node("Prefix", encode(each))) for each in page.prefixes]
    return document("ListBucketResult", nodes)


def _encoder(kind: str | None) -> Callable[[str], str]:
    """Return how names are written; ``url`` is for names that XML cannot carry."""
    if kind not in {None, "url"}:
        raise invalid("Invalid Encoding Method specified in Request")
    return str if kind is None else quote


def _behind(marker: str, prefix: str, delimiter: str) -> str:
    """Return the least name behind ``marker``; a common prefix stands for all its names."""
    if not marker:
        return ""
    if delimiter and marker.endswith(delimiter) and delimiter in marker[len(prefix) :]:
        return successor(marker) or marker + _LAST
    return marker + "\x00"


def _first(page: Page, encode: Callable[[str], str], marker: str) -> list[str]:
    nodes = [node("Marker", encode(marker))]
    if page.next_page_token is not None:
        last = max([record.name for record in page.items] + page.prefixes)
        nodes.append(node("NextMarker", encode(last)))
    return nodes


def _second(call: Call, page: Page, after: str) -> list[str]:
    token = call.parameters.get("continuation-token")
    nodes = [node("KeyCount", str(page.size))]
    nodes += [node("ContinuationToken", token)] if token else []
    nodes += [node("StartAfter", after)] if after else []
    if page.next_page_token is not None:
        nodes.append(node("NextContinuationToken", page.next_page_token))
    return nodes


def _contents(record: ObjectRecord, name: str) -> str:
    return node(
        "Contents",
        node("Key", name),
        node("Generation", str(record.generation)),
        node("MetaGeneration", str(record.metageneration)),
        node("LastModified", record.updated),
        node("ETag", record.xml_etag),
        node("Size", str(record.size)),
    )
