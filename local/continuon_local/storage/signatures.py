"""Signatures, version 4: what is signed, and whether it was.

https://cloud.google.com/storage/docs/authentication/canonical-requests and ".../signatures".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote_to_bytes

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from continuon_local.storage.errors import StorageError, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = [
    "MAX_SKEW",
    "Claim",
    "KeyRing",
    "SignedRequest",
    "Verdict",
    "canonical_rest",
    "check_all_signed",
    "decode_query",
    "malformed",
    "parse_algorithm",
    "parse_date",
    "parse_signed_names",
    "payload_digest",
    "received",
]

# How far a signer's clock may be off.
MAX_SKEW = timedelta(minutes=15)

_RSA, _HMAC = "GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256"
_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_PAYLOAD_HEADER = "x-goog-content-sha256"
_EXTENSION_PREFIX = "x-goog-"
_SCOPE = re.compile(
    r"(?P<signer>.+)/(?P<date>[0-9]{8})/(?P<region>[^/]+)/storage/goog4_request", re.DOTALL
)
_SIGNATURE = "x-goog-signature"


class KeyRing(Protocol):
    """The service accounts whose signatures count."""

    def public_key(self, email: str) -> RSAPublicKey | None:
        """Return the key of a service account, or None."""
        ...

    def hmac_secret(self, access_id: str) -> bytes | None:
        """Return the secret of an active HMAC key, or None."""
        ...


@dataclass(frozen=True, kw_only=True)
class SignedRequest:
    """A request as it arrived.

    Attributes:
        raw_path: The path, still percent-encoded.
        raw_query: The query, still percent-encoded, without the question mark.
        headers: Names in lower case, in order of arrival; values decoded as UTF-8 with
            ``surrogateescape``.
    """

    method: str
    raw_path: str
    raw_query: str
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An accepted signature.

    Attributes:
        email: Who signed: a service account, or the access ID of an HMAC key.
        payload_sha256: The digest (hexadecimal) the body must have, or None for any body.
    """

    email: str
    payload_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a request says about its signature.

    Attributes:
        signer: A service account, or the access ID of an HMAC key.
        scope: The credential without the signer.
        moment: When it was signed.
    """

    algorithm: str
    signer: str
    scope: str
    moment: datetime
    signature: bytes

    @classmethod
    def parse(cls, algorithm: str, credential: str, date: str, signature: str) -> Claim:
        """Read the parts of a claim.

        Raises:
            StorageError: One is malformed, or they contradict each other (400).
        """
        scope = _SCOPE.fullmatch(credential)
        if scope is None:
            raise malformed("X-Goog-Credential", "Invalid credential scope")
        if date[:8] != scope["date"]:
            raise malformed("X-Goog-Credential", "Date in credential scope differs from the date")
        return cls(
            algorithm=parse_algorithm(algorithm),
            signer=scope["signer"],
            scope=scope[0].removeprefix(scope["signer"] + "/"),
            moment=parse_date(date),
            signature=_parse_signature(signature),
        )

    def check_signature(self, candidates: Sequence[str], keys: KeyRing) -> None:
        """Refuse the request unless one of the canonical requests is what was signed.

        Raises:
            StorageError: Nobody knows the signer, or the signature does not match (403).
        """
        date = self.moment.strftime("%Y%m%dT%H%M%SZ")
        digests = [hashlib.sha256(_octets(text)).hexdigest() for text in candidates]
        texts = [f"{self.algorithm}\n{date}\n{self.scope}\n{digest}" for digest in digests]
        if not self.signs(texts, keys):
            raise StorageError(
                403,
                "forbidden",
                "SignatureDoesNotMatch",
                "Access denied.",
                details={
                    "Details": "The request signature we calculated does not match the signature"
                    " you provided. Check your Google secret key and signing method.",
                    "StringToSign": texts[0],
                    "CanonicalRequest": _octets(candidates[0]).decode(errors="replace"),
                },
            )

    def signs(self, texts: Sequence[str], keys: KeyRing) -> bool:
        """Say whether one of ``texts`` is what was signed.

        Raises:
            StorageError: Nobody knows the signer (403).
        """
        signed = self._signed_by_hmac if self.algorithm == _HMAC else self._signed_by_account
        return signed(texts, keys)

    def _signed_by_account(self, texts: Sequence[str], keys: KeyRing) -> bool:
        key = keys.public_key(self.signer)
        if key is None:
            message = f"Unknown service account: {self.signer}"
            raise StorageError(403, "forbidden", "AccessDenied", message)
        return any(_signed_by(key, self.signature, text) for text in texts)

    def _signed_by_hmac(self, texts: Sequence[str], keys: KeyRing) -> bool:
        secret = keys.hmac_secret(self.signer)
        if secret is None:
            message = f"Unknown or inactive HMAC key: {self.signer}"
            raise StorageError(403, "forbidden", "InvalidAccessKeyId", message)
        key = b"GOOG4" + secret
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        expected = (hmac.digest(key, text.encode(), "sha256") for text in texts)
        return any(hmac.compare_digest(each, self.signature) for each in expected)


def canonical_rest(
    raw_path: str,
    query: Sequence[tuple[str, str]],
    names: Sequence[str],
    headers: Mapping[str, str],
) -> list[str]:
    """Return the lines of the canonical request behind its method."""
    return [
        _encode(_decode(raw_path), "/~"),
        _canonical_query(query),
        *(f"{name}:{headers[name]}" for name in names),
        "",
        ";".join(names),
        headers.get(_PAYLOAD_HEADER, _UNSIGNED_PAYLOAD),
    ]


def _signed_by(key: RSAPublicKey, signature: bytes, text: str) -> bool:
    try:
        key.verify(signature, text.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def malformed(parameter: str, details: str) -> StorageError:
    """Return the refusal of a request whose claim cannot be read."""
    return StorageError(
        400,
        "invalid",
        "MalformedSecurityHeader",
        "Your request has a malformed header.",
        details={"ParameterName": parameter, "Details": details},
    )


def parse_algorithm(text: str) -> str:
    """Return the name of a signing algorithm.

    Raises:
        StorageError: It is none of version 4 (400).
    """
    if text not in {_RSA, _HMAC}:
        raise invalid(f"Unsupported signing algorithm: {text}")
    return text


def parse_date(text: str) -> datetime:
    """Read a moment as signers write it.

    Raises:
        StorageError: It is not of the form 20190301T190859Z (400).
    """
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise malformed("X-Goog-Date", "Invalid date") from None


def _parse_signature(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise malformed("X-Goog-Signature", "Invalid signature encoding") from None


def received(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Join repeated headers, collapse white space: the form in which values are signed."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(" ".join(value.split()))
    return {name: ",".join(parts) for name, parts in values.items()}


def parse_signed_names(joined: str) -> list[str]:
    """Read the names of the signed headers.

    Raises:
        StorageError: They are not in order, or the host is not among them (400).
    """
    names = joined.split(";")
    if names != sorted(set(names)) or joined != joined.lower():
        raise malformed("X-Goog-SignedHeaders", "Signed headers must be sorted and in lower case")
    if "host" not in names:
        raise malformed("host", "The host header must be signed")
    return names


def check_all_signed(names: Sequence[str], headers: Mapping[str, str]) -> None:
    """Refuse a signed header that is missing, and an extension header that is not signed.

    The second rule keeps the holder of a URL from adding a precondition, metadata or a storage
    class that its signer never saw.

    Raises:
        StorageError: One is missing or was added (400).
    """
    for name in names:
        if name not in headers:
            details = "Header was included in signedheaders, but not in the request."
            raise malformed(name, details)
    for name in headers:
        if name.startswith(_EXTENSION_PREFIX) and name not in names:
            raise malformed(name, "Header is in the request, but was not in signedheaders.")


def decode_query(raw_query: str) -> list[tuple[str, str]]:
    """Return the pairs of a raw query; a plus sign is a plus sign here."""
    pairs = []
    for part in filter(None, raw_query.split("&")):
        name, _, value = part.partition("=")
        pairs.append((_decode(name), _decode(value)))
    return pairs


def _decode(text: str) -> str:
    # Octets that are not UTF-8 survive the round trip instead of becoming a replacement character.
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _encode(text: str, safe: str) -> str:
    return quote(_octets(text), safe=safe)


def _canonical_query(query: Sequence[tuple[str, str]]) -> str:
    encoded = sorted(
        (_encode(name, "~"), _encode(value, "~"))
        for name, value in query
        if name.lower() != _SIGNATURE
    )
    return "&".join(f"{name}={value}" for name, value in encoded)


def payload_digest(headers: Mapping[str, str]) -> str | None:
    """Return the digest (hexadecimal) that a signature demands of the body, or None."""
    payload = headers.get(_PAYLOAD_HEADER, _UNSIGNED_PAYLOAD)
    return None if payload == _UNSIGNED_PAYLOAD else payload
