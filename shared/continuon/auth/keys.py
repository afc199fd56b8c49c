"""Device keys: Ed25519, carried as JWK, named by RFC 7638 thumbprint."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["InvalidKeyError", "public_jwk", "public_key_from_jwk", "thumbprint"]

_ED25519_KEY_BYTES = 32


class InvalidKeyError(ValueError):
    """A JWK that is not an Ed25519 public key."""


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """Return the public JWK of ``key`` (RFC 8037 section 2)."""
    return {"kty": "OKP", "crv": "Ed25519", "x": _b64url(key.public_bytes_raw())}


def public_key_from_jwk(jwk: Mapping[str, Any]) -> Ed25519PublicKey:
    """Read an Ed25519 public key.

    Raises:
        InvalidKeyError: Another key type, a private key, or not 32 bytes of base64url.
    """
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise InvalidKeyError("the key must be an Ed25519 JWK")
    if "d" in jwk:
        # A private key that reached us is burnt; accepting it would hide that.
        raise InvalidKeyError("the JWK carries a private key; it must never leave the robot")
    x = jwk.get("x")
    if not isinstance(x, str):
        raise InvalidKeyError("the JWK has no x")
    try:
        raw = base64.b64decode(x + "=" * (-len(x) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise InvalidKeyError("x is not base64url") from error
    if len(raw) != _ED25519_KEY_BYTES or _b64url(raw) != x:
        raise InvalidKeyError("x is not 32 bytes in canonical base64url")
    return Ed25519PublicKey.from_public_bytes(raw)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the SHA-256 thumbprint of an Ed25519 JWK, base64url (RFC 7638, RFC 8037)."""
    canonical = {name: jwk[name] for name in ("crv", "kty", "x")}
    text = json.dumps(canonical, separators=(",", ":"), sort_keys=True)
    return _b64url(hashlib.sha256(text.encode()).digest())
