"""What is checked when a job asks for a callback."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from continuon.errors import FieldProblem, ProblemError
from continuon_training.webhooks.errors import WEBHOOK_SECRET_MISSING, WEBHOOK_URL_REFUSED
from continuon_training.webhooks.rules import check_url, refused_addresses
from continuon_training.webhooks.secrets_of import valid
from continuon_training.webhooks.sender import AddressRefusedError, resolve
from continuon_training.webhooks.settings import settings
from continuon_training.webhooks.store import WebhookStore

__all__ = ["check_callback"]

_RESOLVE_TIMEOUT_S: Final = 3.0
"""Of looking a name up while its owner waits."""


async def check_callback(url: str, owner_id: str) -> None:
    """Refuse an address that must not be called, and an owner without a secret.

    The same is decided again at each delivery: a name can change what it resolves to.

    Raises:
        ProblemError: ``webhook.url_refused`` or ``webhook.secret_missing``.
        UnavailableError: Firestore failed.
    """
    target = check_url(url, settings().allowed_hosts)
    try:
        async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
            addresses = await resolve(target.host, target.port)
    except (AddressRefusedError, TimeoutError) as error:
        raise _refused("has a host name that does not resolve") from error
    if refused_addresses(addresses, target):
        raise _refused("resolves to a private address")
    if not valid(await WebhookStore().secrets(owner_id), datetime.now(UTC)):
        raise ProblemError(WEBHOOK_SECRET_MISSING)


def _refused(message: str) -> ProblemError:
    field = FieldProblem(WEBHOOK_URL_REFUSED.code, "callback_url", message)
    return ProblemError(WEBHOOK_URL_REFUSED, f"callback_url {message}.", errors=[field])
