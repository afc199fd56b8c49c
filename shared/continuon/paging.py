"""Page tokens: where a list went on, opaque to the caller."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from continuon.errors import FieldProblem, ProblemError, ProblemType
from continuon.identifiers import EPISODE_ID

if TYPE_CHECKING:
    import re

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


def decode_cursor(
    token: str, document_id_form: re.Pattern[str] = EPISODE_ID
) -> tuple[datetime, str]:
    """Read a token back.

    Args:
        token: As it was sent.
        document_id_form: What every listed document's id looks like; another would be an invalid
            reference further on.

    Raises:
        ProblemError: ``request.page_token_invalid``.
    """
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        moment, document_id = json.loads(text)
        at = datetime.fromisoformat(moment)
        # Without a zone the server's own would be read into it.
        position = at.astimezone(UTC) if at.tzinfo else None
    except (binascii.Error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _refusal() from error
    if (
        position is None
        or not isinstance(document_id, str)
        or not document_id_form.fullmatch(document_id)
    ):
        raise _refusal()
    return position, document_id


def _refusal() -> ProblemError:
    field = FieldProblem(PAGE_TOKEN_INVALID.code, "page_token", "is not a token of this list")
    return ProblemError(PAGE_TOKEN_INVALID, errors=[field])
