"""The one error of the Pub/Sub service: a canonical status and a message."""

from __future__ import annotations

from continuon_local.grpc_wire.codes import CallError, Code

__all__ = [
    "PubSubError",
    "already_exists",
    "invalid",
    "not_found",
    "out_of_range",
    "unimplemented",
]


class PubSubError(CallError):
    """A call that Pub/Sub refuses."""


def invalid(message: str) -> PubSubError:
    """Return the error for a malformed or out-of-range argument."""
    return PubSubError(Code.INVALID_ARGUMENT, message)


def out_of_range(message: str) -> PubSubError:
    """Return the error for a number outside its limits, where Pub/Sub tells it apart."""
    return PubSubError(Code.OUT_OF_RANGE, message)


def already_exists(name: str) -> PubSubError:
    """Return the error for a resource that is there already."""
    return PubSubError(
        Code.ALREADY_EXISTS,
        f"Resource already exists in the project (resource={name}).",
    )


def not_found(name: str) -> PubSubError:
    """Return the error for a resource that does not exist."""
    return PubSubError(Code.NOT_FOUND, f"Resource not found (resource={name}).")


def unimplemented(what: str) -> PubSubError:
    """Return the error for a method or feature that the local cloud does not have."""
    message = f"{what} is not implemented by the local cloud."
    return PubSubError(Code.UNIMPLEMENTED, message)
