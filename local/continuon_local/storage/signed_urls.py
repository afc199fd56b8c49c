"""Signed URLs, version 4: a pure function from a request, keys and a time to a verdict.

https://cloud.google.com/storage/docs/authentication/canonical-requests and ".../signatures".
"""

from __future__ import annotations

import hashlib
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

__all__ = ["KeyRing", "SignedRequest", "Verdict", "canonical_request", "is_signed", "verify"]

# Seven days, the longest life the service grants a signature.
MAX_EXPIRES_SECONDS = 604_800

# How far a signer's clock may run ahead.
_MAX_SKEW = timedelta(minutes=15)

_ALGORITHM = "GOOG4-RSA-SHA256"
_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_PAYLOAD_HEADER = "x-goog-content-sha256"
_EXTENSION_PREFIX = "x-goog-"
_SCOPE = re.compile(
    r"(?P<email>.+)/(?P<date>[0-9]{8})/(?P<region>[^/]+)/storage/goog4_request", re.DOTALL
)

_SIGNATURE = "x-goog-signature"


class KeyRing(Protocol):
    """The service accounts whose signatures count."""

    def public_key(self, email: str) -> RSAPublicKey | None:
        """Return the key of a service account, or None."""
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
        email: Who signed.
        payload_sha256: The digest (hexadecimal) the body must have, or None for any body.
    """

    email: str
    payload_sha256: str | None


def is_signed(parameters: Mapping[str, str]) -> bool:
    """Say whether a query claims a signature."""
    return any(name.lower() == _SIGNATURE for name in parameters)


def verify(request: SignedRequest, keys: KeyRing, now: datetime) -> Verdict:
    """Check the signature in a request's query.

    A URL signed for GET serves HEAD as well, as the service documents.

    Raises:
        StorageError: ``ExpiredToken``, ``InvalidArgument`` or ``MalformedSecurityHeader`` (400),
            ``SignatureDoesNotMatch`` or ``AccessDenied`` (403).
    """
    query = _decode_query(request.raw_query)
    parameters = {name.lower(): value for name, value in query}
    if len(parameters) != len(query):
        raise invalid("A query parameter is given twice.")
    claim = _Claim.parse(parameters)
    claim.check_time(now)
    names = _signed_names(parameters)
    headers = _received(request.headers)
    _check_all_signed(names, headers)
    methods = ["GET", "HEAD"] if request.method == "HEAD" else [request.method]
    rest = _canonical_rest(request.raw_path, query, names, headers)
    claim.check_signature(["\n".join([method, *rest]) for method in methods], keys)
    payload = headers.get(_PAYLOAD_HEADER, _UNSIGNED_PAYLOAD)
    return Verdict(
        email=claim.email, payload_sha256=None if payload == _UNSIGNED_PAYLOAD else payload
    )


def canonical_request(request: SignedRequest, signed_headers: Sequence[str]) -> str:
    """Return the text whose SHA-256 is signed."""
    query = _decode_query(request.raw_query)
    headers = _received(request.headers)
    rest = _canonical_rest(request.raw_path, query, signed_headers, headers)
    return "\n".join([request.method, *rest])


def _canonical_rest(
    raw_path: str,
    query: Sequence[tuple[str, str]],
    names: Sequence[str],
    headers: Mapping[str, str],
) -> list[str]:
    return [
        _encode(_decode(raw_path), "/~"),
        _canonical_query(query),
        *(f"{name}:{headers[name]}" for name in names),
        "",
        ";".join(names),
        headers.get(_PAYLOAD_HEADER, _UNSIGNED_PAYLOAD),
    ]


@dataclass(frozen=True, kw_only=True)
class _Claim:
    """What the query says about the signature."""

    email: str
    scope: str
    moment: datetime
    expires: timedelta
    signature: bytes

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> _Claim:
        algorithm = _required(parameters, "X-Goog-Algorithm")
        if algorithm != _ALGORITHM:
            raise invalid(f"Unsupported signing algorithm: {algorithm}")
        scope = _SCOPE.fullmatch(_required(parameters, "X-Goog-Credential"))
        if scope is None:
            raise _malformed("X-Goog-Credential", "Invalid credential scope")
        date = _required(parameters, "X-Goog-Date")
        if date[:8] != scope["date"]:
            raise _malformed("X-Goog-Credential", "Date in credential scope differs from the date")
        return cls(
            email=scope["email"],
            scope=scope[0].removeprefix(scope["email"] + "/"),
            moment=_parse_date(date),
            expires=_parse_expires(_required(parameters, "X-Goog-Expires")),
            signature=_parse_signature(_required(parameters, "X-Goog-Signature")),
        )

    def check_time(self, now: datetime) -> None:
        if now > self.moment + self.expires:
            at = (self.moment + self.expires).isoformat()
            message = "The provided token has expired."
            details = {"Details": f"Request signature expired at: {at}"}
            raise StorageError(400, "expired", "ExpiredToken", message, details=details)
        if self.moment > now + _MAX_SKEW:
            message = "The request signature is not valid yet."
            raise StorageError(403, "forbidden", "AccessDenied", message)

    def check_signature(self, candidates: Sequence[str], keys: KeyRing) -> None:
        key = keys.public_key(self.email)
        if key is None:
            message = f"Unknown service account: {self.email}"
            raise StorageError(403, "forbidden", "AccessDenied", message)
        date = self.moment.strftime("%Y%m%dT%H%M%SZ")
        texts = [
            "\n".join([_ALGORITHM, date, self.scope, hashlib.sha256(_octets(text)).hexdigest()])
            for text in candidates
        ]
        if not any(_signed_by(key, self.signature, text) for text in texts):
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


def _signed_by(key: RSAPublicKey, signature: bytes, text: str) -> bool:
    try:
        key.verify(signature, text.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _required(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name.lower())
    if not value:
        raise _malformed(name, f"{name} is missing")
    return value


def _malformed(parameter: str, details: str) -> StorageError:
    return StorageError(
        400,
        "invalid",
        "MalformedSecurityHeader",
        "Your request has a malformed header.",
        details={"ParameterName": parameter, "Details": details},
    )


def _parse_date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _malformed("X-Goog-Date", "Invalid date") from None


def _parse_expires(text: str) -> timedelta:
    seconds = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0
    if not 1 <= seconds <= MAX_EXPIRES_SECONDS:
        raise invalid(f"X-Goog-Expires must be between 1 and {MAX_EXPIRES_SECONDS} seconds.")
    return timedelta(seconds=seconds)


def _parse_signature(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise _malformed("X-Goog-Signature", "Invalid signature encoding") from None


def _received(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Join repeated headers, collapse white space: the form in which values are signed."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(" ".join(value.split()))
    return {name: ",".join(parts) for name, parts in values.items()}


def _signed_names(parameters: Mapping[str, str]) -> list[str]:
    joined = _required(parameters, "X-Goog-SignedHeaders")
    names = joined.split(";")
    if names != sorted(set(names)) or joined != joined.lower():
        raise _malformed("X-Goog-SignedHeaders", "Signed headers must be sorted and in lower case")
    if "host" not in names:
        raise _malformed("host", "The host header must be signed")
    return names


def _check_all_signed(names: Sequence[str], headers: Mapping[str, str]) -> None:
    """Refuse a signed header that is missing, and an extension header that is not signed.

    The second rule keeps the holder of a URL from adding a precondition, metadata or a storage
    class that its signer never saw.
    """
    for name in names:
        if name not in headers:
            details = "Header was included in signedheaders, but not in the request."
            raise _malformed(name, details)
    for name in headers:
        if name.startswith(_EXTENSION_PREFIX) and name not in names:
            raise _malformed(name, "Header is in the request, but was not in signedheaders.")


def _decode_query(raw_query: str) -> list[tuple[str, str]]:
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
