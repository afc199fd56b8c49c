"""The one error that a Firestore call may end with: a status code and Google's sentence."""

from __future__ import annotations

from continuon_local.grpc_wire.codes import CallError, Code

__all__ = [
    "StatusError",
    "aborted",
    "already_exists",
    "failed_precondition",
    "invalid_argument",
    "not_found",
    "unimplemented",
]


class StatusError(CallError):
    """A call that ends with a gRPC status other than OK."""


def invalid_argument(message: str) -> StatusError:
    """Return the error for a request that can never succeed."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Return the error for a document that has to exist and does not."""
    return StatusError(Code.NOT_FOUND, message)


def already_exists(message: str) -> StatusError:
    """Return the error for a document that must not exist and does."""
    return StatusError(Code.ALREADY_EXISTS, message)


def failed_precondition(message: str) -> StatusError:
    """Return the error for a precondition that the stored state does not meet."""
    return StatusError(Code.FAILED_PRECONDITION, message)


def aborted(message: str) -> StatusError:
    """Return the error that makes the client libraries run a transaction again."""
    return StatusError(Code.ABORTED, message)


def unimplemented(what: str) -> StatusError:
    """Return the error for something that the local cloud does not do; ``what`` names it."""
    return StatusError(Code.UNIMPLEMENTED, f"{what} is not implemented by the local cloud")
