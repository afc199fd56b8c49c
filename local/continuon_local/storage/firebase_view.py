"""Objects as Firebase Storage shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.responses import Response

    from continuon_local.storage.records import ObjectRecord

__all__ = ["TOKENS", "object_answer", "object_view", "tokens_of"]

TOKENS = "firebaseStorageDownloadTokens"
"""The custom metadata that holds an object's download tokens, as in production."""

_SHOWN = (
    "name",
    "bucket",
    "generation",
    "metageneration",
    "contentType",
    "timeCreated",
    "updated",
    "storageClass",
    "size",
    "md5Hash",
    "crc32c",
    "etag",
    "cacheControl",
    "contentDisposition",
    "contentLanguage",
)


def tokens_of(record: ObjectRecord) -> list[str]:
    """Return the download tokens of an object."""
    text = str((record.fields.get("metadata") or {}).get(TOKENS) or "")
    return [token for token in text.split(",") if token]


def object_view(record: ObjectRecord) -> dict[str, Any]:
    """Return an object's metadata; its tokens stand apart from what the client set."""
    resource = record.resource("")
    view = {name: resource[name] for name in _SHOWN if name in resource}
    view["contentEncoding"] = resource.get("contentEncoding", "identity")
    view["downloadTokens"] = ",".join(tokens_of(record))
    metadata = dict(resource.get("metadata") or {})
    metadata.pop(TOKENS, None)
    if metadata:
        view["metadata"] = metadata
    return view


def object_answer(record: ObjectRecord) -> Response:
    """Answer with an object's metadata."""
    return JSONResponse(object_view(record))
