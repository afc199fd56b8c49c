"""Customer-supplied encryption keys: their headers are checked and every read must repeat them.

https://cloud.google.com/storage/docs/encryption/customer-supplied-keys. The key itself is never
kept, only its SHA-256; bodies are stored as they came, which is all that a local disk needs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from continuon_local.storage.errors import StorageError, not_implemented

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.records import BucketRecord, ObjectRecord

__all__ = ["check_read", "check_restrictions", "customer_key", "key_headers", "key_matches"]

_PREFIX = "x-goog-encryption-"
_SOURCE_PREFIX = "x-goog-copy-source-encryption-"
_ALGORITHM = "AES256"
_KEY_BYTES = 32
_KMS_HEADER = "x-goog-encryption-kms-key-name"


def _refuse(reason: str, message: str) -> StorageError:
    code = reason[0].upper() + reason[1:]
    return StorageError(400, reason, code, message)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def customer_key(headers: Mapping[str, str], *, source: bool = False) -> dict[str, str] | None:
    """Return what identifies the key that a request carries, or None where it carries none.

    The answer is the ``customerEncryption`` of an object resource; ``source`` reads the headers
    about the source of a copy.

    Raises:
        StorageError: A header is missing or malformed (400), or names a managed key (501).
    """
    prefix = _SOURCE_PREFIX if source else _PREFIX
    if headers.get(_KMS_HEADER):
        raise not_implemented(f"The header {_KMS_HEADER}")
    names = ("algorithm", "key", "key-sha256")
    algorithm, key, digest = (headers.get(prefix + name) for name in names)
    if algorithm is None and key is None and digest is None:
        return None
    if algorithm != _ALGORITHM:
        message = f"Missing an encryption algorithm, or one that is not {_ALGORITHM}."
        raise _refuse("customerEncryptionAlgorithmIsInvalid", message)
    secret = _decoded(key or "")
    if len(secret) != _KEY_BYTES:
        message = "Missing an encryption key, or it is not base64 of 256 bits."
        raise _refuse("customerEncryptionKeyFormatIsInvalid", message)
    computed = hashlib.sha256(secret).digest()
    if not hmac.compare_digest(computed, _decoded(digest or "")):
        message = "Missing a SHA256 hash of the encryption key, or it is not that of the key."
        raise _refuse("customerEncryptionKeySha256IsInvalid", message)
    return {
        "encryptionAlgorithm": _ALGORITHM,
        "keySha256": base64.b64encode(computed).decode(),
    }


def key_matches(record: ObjectRecord, key: Mapping[str, str] | None) -> bool:
    """Say whether a request carries the key of an object; an object without one needs none."""
    return bool((record.fields.get("customerEncryption") or None) == key)


def check_read(record: ObjectRecord, key: Mapping[str, str] | None) -> None:
    """Refuse to hand out the bytes of an object without its key.

    Raises:
        StorageError: The key is missing, wrong, or not wanted (400).
    """
    if key_matches(record, key):
        return
    if key is None:
        message = "The target object is encrypted by a customer-supplied encryption key."
        raise _refuse("resourceIsEncryptedWithCustomerEncryptionKey", message)
    if not record.fields.get("customerEncryption"):
        message = "The target object is not encrypted by a customer-supplied encryption key."
        raise _refuse("resourceNotEncryptedWithCustomerEncryptionKey", message)
    message = "The provided encryption key is incorrect."
    raise _refuse("customerEncryptionKeyIsIncorrect", message)


def key_headers(record: ObjectRecord) -> dict[str, str]:
    """Return the headers of a download that name the object's key."""
    key = record.fields.get("customerEncryption")
    if not key:
        return {}
    return {
        f"{_PREFIX}algorithm": key["encryptionAlgorithm"],
        f"{_PREFIX}key-sha256": key["keySha256"],
    }


def check_restrictions(bucket: BucketRecord, fields: Mapping[str, Any]) -> None:
    """Refuse a kind of encryption that the bucket does not take for new objects.

    Raises:
        StorageError: It is restricted (412).
    """
    kind = "customerSupplied" if fields.get("customerEncryption") else "googleManaged"
    rules = bucket.fields.get("encryption") or {}
    rule = rules.get(f"{kind}EncryptionEnforcementConfig") or {}
    if rule.get("restrictionMode") == "FullyRestricted":
        message = f"The bucket restricts new objects with {kind} encryption."
        raise StorageError(412, "conditionNotMet", "PreconditionFailed", message)
