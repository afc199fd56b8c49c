"""Job tokens: what proves a trainer, and nothing else than that. Pure."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["is_among", "mint", "token_hash"]

_TOKEN_BYTES: Final = 32
"""256 bits: a token cannot be guessed, so its hash needs neither salt nor stretching."""

_MAX_CHARS: Final = 128
"""What is longer is no token of ours and is not hashed."""


def mint() -> str:
    """Return a fresh token."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_hash(token: str) -> str:
    """Return what is stored of a token: lower-case hex SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_among(token: str, hashes: Iterable[str]) -> bool:
    """Say whether ``token`` is one of those whose hashes are stored.

    Every hash is compared, each in constant time: how long it takes says nothing.
    """
    if len(token) > _MAX_CHARS:
        return False
    digest, found = token_hash(token), False
    for known in hashes:
        found |= hmac.compare_digest(digest, known)
    return found
