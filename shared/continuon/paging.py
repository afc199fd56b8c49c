"""Page tokens: where a list went on, opaque to the caller."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Final

from continuon.errors import FieldProblem, ProblemError, ProblemType

__all__ = ["PAGE_TOKEN_INVALID", "decode_cursor", "encode_cursor"]

PAGE_TOKEN_INVALID: Final = ProblemType(
    code="request.page_token_invalid",
    status=422,
    title="The page token was not issued by this list.",
    remedy="Pass `next_page_token` of the previous answer unchanged, with the same filters.",
)


def encode_cursor(moment: datetime, document_id: str) -> str:
    """Return a token for what follows the document that sorts at ``moment``."""
    position = json.dumps([moment.isoformat(), document_id]).encode()
    return base64.urlsafe_b64encode(position).decode().rstrip("=")


def decode_cursor(token: str) -> tuple[datetime, str]:
    """Read a token back.

    Raises:
        ProblemError: ``request.page_token_invalid``.
    """
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        moment, document_id = json.loads(text)
        position = datetime.fromisoformat(moment).astimezone(UTC), str(document_id)
    except (binascii.Error, ValueError, TypeError) as error:
        raise _refusal() from error
    # An id that is empty or has a slash would be an invalid reference further on.
    if not position[1] or "/" in position[1]:
        raise _refusal()
    return position


def _refusal() -> ProblemError:
    field = FieldProblem(PAGE_TOKEN_INVALID.code, "page_token", "is not a token of this list")
    return ProblemError(PAGE_TOKEN_INVALID, errors=[field])
