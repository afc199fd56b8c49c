"""One HTTP request as both APIs look at it."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from continuon_local.storage.errors import invalid
from continuon_local.storage.json_body import parse_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from continuon_local.meter import Operation
    from continuon_local.storage.engine import Engine

__all__ = ["Call", "decode_segment", "parse_generation"]

# A JSON body holds metadata only (at most 8 KiB custom, 32 compose sources): 1 MiB is generous.
_MAX_JSON_BYTES = 1 << 20


def decode_segment(text: str) -> str:
    """Undo the percent-encoding of one path segment.

    Raises:
        StorageError: The octets are not UTF-8 (400).
    """
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid("Names must be valid UTF-8.") from None


def parse_generation(name: str, text: str | None) -> int | None:
    """Read a generation as clients write it.

    Raises:
        StorageError: It is not a number of at most 18 digits, which is what a column holds (400).
    """
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise invalid(f"Invalid value for {name}: {text}")
    return int(text)


class Call:
    """A request with its names, parameters and headers taken apart."""

    def __init__(self, request: Request, engine: Engine) -> None:
        self.request = request
        self.engine = engine
        self.method = request.method
        self.raw_path: str = request.scope["raw_path"].decode("latin-1")
        self.raw_query: str = request.scope["query_string"].decode("latin-1")

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The query parameters; a plus sign is a space, as forms and most clients write it."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    def query_values(self, name: str) -> list[str]:
        """Return every value of a query parameter that may be repeated."""
        pairs = parse_qsl(self.raw_query, keep_blank_values=True)
        return [value for known, value in pairs if known == name]

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name; values are UTF-8, repeated ones joined with commas."""
        joined: dict[str, str] = {}
        for raw_name, raw_value in self.request.headers.raw:
            name, value = raw_name.decode("latin-1"), raw_value.decode(errors="replace")
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        return joined

    @property
    def base_url(self) -> str:
        """The address that the client used for this service."""
        default = f"{self.engine.context.host}"
        return f"http://{self.headers.get('host', default)}"

    @property
    def content_length(self) -> int | None:
        """The announced size of the body in bytes, or None."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdecimal() else None

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter."""
        return self.parameters.get(name, "").lower() == "true"

    def generation(self, name: str = "generation") -> int | None:
        """Return a generation from the query.

        Raises:
            StorageError: It is not a number (400).
        """
        return parse_generation(name, self.parameters.get(name))

    def count(self, operation: Operation, amount: int = 1) -> None:
        """Meter a billable operation in the name of whoever caused this request."""
        caller = self.headers.get("x-continuon-caller", "")
        self.engine.meter.record(operation, amount, caller=caller)

    def stream(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        return self.request.stream()

    async def json(self) -> dict[str, Any]:
        """Return the body, a JSON object; an empty body is an empty object.

        Raises:
            StorageError: It is something else, or too large (400).
        """
        data = bytearray()
        async for chunk in self.stream():
            data += chunk
            if len(data) > _MAX_JSON_BYTES:
                raise invalid("The request body is too large.", reason="uploadTooLarge")
        if not data.strip():
            return {}
        return parse_object(data)
