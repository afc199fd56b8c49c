"""Statuses as Google's REST answers them: an HTTP code and an ``error`` object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from continuon_local.firestore.errors import StatusError

__all__ = ["error_document", "http_status"]

_Code = grpc.StatusCode
_HTTP = {
    _Code.CANCELLED: 499,
    _Code.INVALID_ARGUMENT: 400,
    _Code.DEADLINE_EXCEEDED: 504,
    _Code.NOT_FOUND: 404,
    _Code.ALREADY_EXISTS: 409,
    _Code.PERMISSION_DENIED: 403,
    _Code.UNAUTHENTICATED: 401,
    _Code.RESOURCE_EXHAUSTED: 429,
    _Code.FAILED_PRECONDITION: 400,
    _Code.ABORTED: 409,
    _Code.OUT_OF_RANGE: 400,
    _Code.UNIMPLEMENTED: 501,
    _Code.UNAVAILABLE: 503,
}
"""The mapping of ``google/rpc/code.proto``; every other code is 500."""


def http_status(error: StatusError) -> int:
    """Return the HTTP status for an error."""
    return _HTTP.get(error.code, 500)


def error_document(error: StatusError) -> dict[str, Any]:
    """Return the body for an error."""
    return {
        "error": {
            "code": http_status(error),
            "message": error.message,
            "status": error.code.name,
        }
    }
