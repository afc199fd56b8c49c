"""Reading JSON request bodies: typed fields, and a size no caller exceeds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from continuon_local.auth.errors import AuthError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Body", "read_body", "read_raw", "refuse_unsupported"]

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A batch of 1000 accounts fits; anything longer is refused while it streams in."""

_UNSUPPORTED_FIELDS = (
    "createdAt",
    "federatedUserId",
    "lastLoginAt",
    "linkProviderUserInfo",
    "mfa",
    "mfaInfo",
    "oobCode",
    "passwordHash",
    "providerUserInfo",
    "tenantId",
)

_MAX_SECONDS = 253402300799  # the year 9999, where Google's timestamps end


class Body:
    """A JSON object whose fields are read with the type they must have."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def has(self, name: str) -> bool:
        """Tell whether the field is there and not null."""
        return self.values.get(name) is not None

    def text(self, name: str) -> str | None:
        """Return a string field, or None where it is missing.

        Raises:
            AuthError: ``INVALID_ARGUMENT``: another type. The other readers raise the same.
        """
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise _wrong(name, "a string")
        return value

    def flag(self, name: str) -> bool | None:
        """Return a boolean field, or None where it is missing."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise _wrong(name, "a boolean")
        return value

    def integer(self, name: str) -> int | None:
        """Return an integer field; as in Google's JSON, 64-bit integers may come as text."""
        value = self.values.get(name)
        if value is None:
            return None
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError as error:
            raise _wrong(name, "an integer") from error
        if type(number) is not int or not 0 <= number <= _MAX_SECONDS:
            raise _wrong(name, "an integer of a sensible size")
        return number

    def texts(self, name: str) -> list[str]:
        """Return a list of strings, empty where it is missing; one bare string is a list."""
        value = self.values.get(name)
        if value is None:
            return []
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise _wrong(name, "a list of strings")
        return values

    def objects(self, name: str) -> list[Body]:
        """Return a list of objects, empty where it is missing."""
        values = self.values.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or not all(isinstance(item, dict) for item in values):
            raise _wrong(name, "a list of objects")
        return [Body(item) for item in values]


async def read_body(request: Request) -> Body:
    """Read the body of ``request`` as one JSON object; an empty body is an empty object.

    Raises:
        AuthError: ``INVALID_ARGUMENT``: not a JSON object of valid Unicode, or too long.
    """
    raw = await read_raw(request)
    try:
        values = json.loads(raw or b"{}")
        # A lone surrogate is legal JSON and cannot be stored as text.
        json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise AuthError("INVALID_ARGUMENT", "the body is not JSON") from error
    if not isinstance(values, dict):
        raise AuthError("INVALID_ARGUMENT", "the body is not a JSON object")
    body = Body(values)
    refuse_unsupported(body)
    return body


def refuse_unsupported(body: Body) -> None:
    """Refuse fields whose silent loss would make an account look other than it was asked for.

    Raises:
        AuthError: ``UNIMPLEMENTED``, naming the field.
    """
    for name in _UNSUPPORTED_FIELDS:
        if body.has(name):
            raise AuthError(
                "UNIMPLEMENTED",
                f"{name} is not implemented by the local cloud",
                status=501,
                grpc_status="UNIMPLEMENTED",
            )


async def read_raw(request: Request) -> bytes:
    """Read the whole body of ``request``.

    Raises:
        AuthError: ``INVALID_ARGUMENT``: longer than :data:`MAX_BODY_BYTES`.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise AuthError("INVALID_ARGUMENT", "the body is too long", status=413)
    return bytes(raw)


def _wrong(name: str, expected: str) -> AuthError:
    return AuthError(
        "INVALID_ARGUMENT", f"{name} must be {expected}", grpc_status="INVALID_ARGUMENT"
    )
