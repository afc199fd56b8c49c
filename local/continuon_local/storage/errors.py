"""Refusals of Cloud Storage, in the JSON API's shape and in the XML API's.

The names and statuses follow Google's tables "HTTP status and error codes" for JSON and XML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "StorageError",
    "bucket_not_found",
    "invalid",
    "not_implemented",
    "object_not_found",
    "precondition_failed",
    "unmodified",
]


class StorageError(Exception):
    """A request is refused; nothing was changed.

    Attributes:
        status: The HTTP status.
        reason: The reason of the JSON API, as in ``conditionNotMet``.
        code: The code of the XML API, as in ``PreconditionFailed``.
        message: For people.
        details: Further elements of the XML answer, as in ``StringToSign``.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        code: str,
        message: str,
        *,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def as_json(self) -> dict[str, Any]:
        """Return the JSON API's error object."""
        cause = {"message": self.message, "domain": "global", "reason": self.reason}
        return {"error": {"code": self.status, "message": self.message, "errors": [cause]}}

    def as_xml(self) -> str:
        """Return the XML API's error document."""
        parts = {"Code": self.code, "Message": self.message, **self.details}
        inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in parts.items())
        return f"<?xml version='1.0' encoding='UTF-8'?><Error>{inner}</Error>"


def bucket_not_found() -> StorageError:
    """Return the refusal of a request that names an unknown bucket."""
    return StorageError(404, "notFound", "NoSuchBucket", "The specified bucket does not exist.")


def object_not_found(bucket: str, name: str) -> StorageError:
    """Return the refusal of a request that names an unknown object or generation."""
    return StorageError(404, "notFound", "NoSuchKey", f"No such object: {bucket}/{name}")


def precondition_failed() -> StorageError:
    """Return the refusal of a request one of whose preconditions does not hold."""
    message = "At least one of the pre-conditions you specified did not hold."
    return StorageError(412, "conditionNotMet", "PreconditionFailed", message)


def unmodified() -> StorageError:
    """Return the answer to a read whose "not match" precondition names what is stored."""
    return StorageError(304, "notModified", "NotModified", "Not Modified")


def invalid(
    message: str, *, reason: str = "invalid", code: str = "InvalidArgument"
) -> StorageError:
    """Return the refusal of a request that is malformed."""
    return StorageError(400, reason, code, message)


def not_implemented(what: str) -> StorageError:
    """Return the answer to a method that the local cloud does not have."""
    message = f"{what} is not implemented by the local Cloud Storage."
    return StorageError(501, "notImplemented", "NotImplemented", message)
