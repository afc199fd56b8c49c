"""The one error that a Firestore call may end with: a status code and Google's sentence."""

from __future__ import annotations

import grpc

__all__ = [
    "StatusError",
    "aborted",
    "already_exists",
    "failed_precondition",
    "invalid_argument",
    "not_found",
    "unimplemented",
]


class StatusError(Exception):
    """A call that ends with a gRPC status other than OK.

    Attributes:
        code: The status code the client sees.
        message: The sentence the client sees.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_argument(message: str) -> StatusError:
    """Return the error for a request that can never succeed."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Return the error for a document that has to exist and does not."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def already_exists(message: str) -> StatusError:
    """Return the error for a document that must not exist and does."""
    return StatusError(grpc.StatusCode.ALREADY_EXISTS, message)


def failed_precondition(message: str) -> StatusError:
    """Return the error for a precondition that the stored state does not meet."""
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)


def aborted(message: str) -> StatusError:
    """Return the error that makes the client libraries run a transaction again."""
    return StatusError(grpc.StatusCode.ABORTED, message)


def unimplemented(what: str) -> StatusError:
    """Return the error for something that the local cloud does not do; ``what`` names it."""
    return StatusError(
        grpc.StatusCode.UNIMPLEMENTED, f"{what} is not implemented by the local cloud"
    )
