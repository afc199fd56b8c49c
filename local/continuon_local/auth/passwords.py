"""Passwords: the rule for new ones, and their scrypt hashes."""

from __future__ import annotations

import hashlib
import hmac
import os

from continuon_local.auth.errors import AuthError

__all__ = ["check_strength", "hash_password", "verify_password"]

MIN_PASSWORD_CHARS = 6
"""Firebase's own minimum, in characters."""

MAX_PASSWORD_CHARS = 4096
"""Firebase's default maximum, in characters; it also bounds the work of one hash."""

_SALT_BYTES = 16
_COST = 2**14  # OWASP's minimum for interactive use with r=8: 16 MiB and some 40 ms
_BLOCK = 8
_PARALLEL = 1
_MAX_MEMORY_BYTES = 64 * 1024 * 1024


def check_strength(password: str) -> None:
    """Refuse a password that Firebase would refuse by default.

    Raises:
        AuthError: ``WEAK_PASSWORD`` or ``PASSWORD_DOES_NOT_MEET_REQUIREMENTS``.
    """
    if len(password) < MIN_PASSWORD_CHARS:
        raise AuthError(
            "WEAK_PASSWORD", f"Password should be at least {MIN_PASSWORD_CHARS} characters"
        )
    if len(password) > MAX_PASSWORD_CHARS:
        raise AuthError(
            "PASSWORD_DOES_NOT_MEET_REQUIREMENTS",
            f"Password should be at most {MAX_PASSWORD_CHARS} characters",
        )


def hash_password(password: str) -> str:
    """Return ``scrypt$SALT$HASH`` in hexadecimal, under a fresh salt."""
    salt = os.urandom(_SALT_BYTES)
    return f"scrypt${salt.hex()}${_derive(password, salt).hex()}"


def verify_password(password: str, encoded: str) -> bool:
    """Tell whether ``password`` is the one behind ``encoded``, in constant time."""
    _, salt, expected = encoded.split("$")
    derived = _derive(password[: MAX_PASSWORD_CHARS + 1], bytes.fromhex(salt))
    return hmac.compare_digest(derived, bytes.fromhex(expected))


def _derive(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=_COST,
        r=_BLOCK,
        p=_PARALLEL,
        maxmem=_MAX_MEMORY_BYTES,
    )
