"""Why a callback cannot be set up."""

from __future__ import annotations

from typing import Final

from continuon.errors import ProblemType

__all__ = ["WEBHOOK_SECRET_MISSING", "WEBHOOK_URL_REFUSED"]

WEBHOOK_URL_REFUSED: Final = ProblemType(
    code="webhook.url_refused",
    status=422,
    title="This address cannot receive callbacks.",
    remedy="Use a public `https` address with a name that resolves; `errors` says what is wrong.",
)
WEBHOOK_SECRET_MISSING: Final = ProblemType(
    code="webhook.secret_missing",
    status=409,
    title="You have no secret that callbacks can be signed with.",
    remedy="`PUT /api/v1/training/webhook-secret` makes one and shows it once.",
)
