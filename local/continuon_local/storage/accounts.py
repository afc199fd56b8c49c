"""The local cloud's service account: a key file to sign with, and the keys that are trusted."""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = ["Accounts", "load_or_create"]

_FILE_NAME = "service-account.json"
_KEY_BITS = 2048


class Accounts:
    """The service accounts whose signatures the local Cloud Storage accepts."""

    def __init__(self) -> None:
        self._keys: dict[str, RSAPublicKey] = {}
        self._hmac_secrets: Callable[[str], bytes | None] = lambda _: None

    def public_key(self, email: str) -> RSAPublicKey | None:
        """Return the key of a service account, or None."""
        return self._keys.get(email)

    def hmac_secret(self, access_id: str) -> bytes | None:
        """Return the secret of an active HMAC key, or None."""
        return self._hmac_secrets(access_id)

    def trust_hmac(self, secrets_of: Callable[[str], bytes | None]) -> None:
        """Accept what is signed with the secrets that ``secrets_of`` knows by access ID."""
        self._hmac_secrets = secrets_of

    def trust(self, email: str, key: RSAPublicKey) -> None:
        """Accept what ``key`` signs in the name of ``email``."""
        self._keys[email] = key


def load_or_create(folder: Path, project_id: str, accounts: Accounts) -> Path:
    """Return the key file in ``folder``, made on first use, and trust its public part.

    Making a key takes up to a second of one core: call this on a worker thread.
    """
    path = folder / _FILE_NAME
    if not path.exists():
        _write_private(path, json.dumps(_new_account(project_id), indent=2) + "\n")
    account = json.loads(path.read_text())
    key = load_pem_private_key(account["private_key"].encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{path} does not hold an RSA key")
    accounts.trust(account["client_email"], key.public_key())
    return path


def _new_account(project_id: str) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem,
        "client_email": f"continuon-local@{project_id}.iam.gserviceaccount.com",
        "client_id": str(10**20 + secrets.randbelow(10**20)),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    }


def _write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read; a crash leaves the old state or the new one."""
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
