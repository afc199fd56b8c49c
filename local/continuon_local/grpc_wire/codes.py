"""The status codes of gRPC, and the error that ends a call with one."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CallError", "Code"]


class Code(IntEnum):
    """Canonical codes, numbered as ``google/rpc/code.proto`` numbers them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class CallError(Exception):
    """A call that ends with a status other than OK.

    Attributes:
        code: The status code the client sees.
        message: The sentence the client sees.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
