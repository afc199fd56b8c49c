"""Keys that sign: files on this machine, or a key management service.

A signer is named by a URI: ``file2:/path/key.pem`` (PKCS #8, owner-only, encrypted or not) or
``gcpkms:projects/.../cryptoKeyVersions/1`` (Cloud KMS, whose private half nobody can read).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, GCPSigner, SSlibKey

from continuon.ota.errors import TrustError

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

__all__ = ["OnlineSigners", "load_signer", "new_key_pem", "signer_from_pem"]

FILE_SCHEME: Final = "file2"
KMS_SCHEME: Final = "gcpkms"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class OnlineSigners:
    """The two keys that live where the functions run; they may be one and the same."""

    snapshot: Signer
    timestamp: Signer


def new_key_pem(passphrase: bytes | None) -> bytes:
    """Make an Ed25519 key and return it as PKCS #8 PEM, encrypted when there is a passphrase."""
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase:
        encryption = BestAvailableEncryption(passphrase)
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def signer_from_pem(
    pem: bytes, passphrase: bytes | None = None, *, name: str = "the key"
) -> Signer:
    """Return the signer of a key file's content.

    Raises:
        TrustError: The passphrase is missing or wrong, or it is no Ed25519 key.
    """
    # One passphrase may be given for several files of which some are not encrypted.
    secret = passphrase if b"ENCRYPTED" in pem else None
    try:
        key = load_pem_private_key(pem, secret or None)
    except TypeError as error:
        raise TrustError(f"{name} needs a passphrase", code="trust.passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"{name} is no private key, or the passphrase is wrong", code="trust.passphrase"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{name} is not an Ed25519 key", code="trust.key_invalid")
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))


def load_signer(uri: str, *, passphrase: bytes | None = None) -> Signer:
    """Return the signer that ``uri`` names.

    Raises:
        TrustError: There is none, it cannot be read, or other accounts can read it.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == FILE_SCHEME and rest:
        path = Path(rest)
        return signer_from_pem(_read_owner_only(path), passphrase, name=path.name)
    if scheme == KMS_SCHEME and rest:
        return _kms_signer(uri)
    raise TrustError(
        "a signing key is named file2:/path/key.pem or gcpkms:projects/...",
        code="trust.key_invalid",
    )


def _read_owner_only(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # The open file is asked, not its name: the name may change in between.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read()
    except OSError as error:
        raise TrustError(
            f"the key {path.name} cannot be read: {error.strerror}", code="trust.key_missing"
        ) from error
    if os.name != "nt" and mode & _OTHERS:
        raise TrustError(
            f"the key {path.name} can be read by other accounts (mode {mode:04o})",
            code="trust.key_exposed",
        )
    return pem


def _kms_signer(uri: str) -> Signer:
    try:
        _, public = GCPSigner.import_(uri.partition(":")[2])
        return GCPSigner.from_priv_key_uri(uri, public)
    except UnsupportedLibraryError as error:
        raise TrustError(
            "keys in Cloud KMS need the package google-cloud-kms", code="trust.library_missing"
        ) from error
