"""Statuses as Google's REST answers them: an HTTP code and an ``error`` object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.grpc_wire.codes import Code

if TYPE_CHECKING:
    from continuon_local.firestore.errors import StatusError

__all__ = ["error_document", "http_status"]

_HTTP = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.UNAUTHENTICATED: 401,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
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
