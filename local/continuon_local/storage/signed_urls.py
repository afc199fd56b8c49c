"""Signed URLs, version 4: a pure function from a request, keys and a time to a verdict.

https://cloud.google.com/storage/docs/authentication/canonical-requests and ".../signatures".
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.signatures import (
    MAX_SKEW,
    Claim,
    KeyRing,
    SignedRequest,
    Verdict,
    canonical_rest,
    check_all_signed,
    decode_query,
    malformed,
    parse_algorithm,
    parse_signed_names,
    payload_digest,
    received,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["KeyRing", "SignedRequest", "Verdict", "canonical_request", "is_signed", "verify"]

# Seven days, the longest life the service grants a signature.
MAX_EXPIRES_SECONDS = 604_800

_SIGNATURE = "x-goog-signature"


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
    query = decode_query(request.raw_query)
    parameters = {name.lower(): value for name, value in query}
    if len(parameters) != len(query):
        raise invalid("A query parameter is given twice.")
    claim = Claim.parse(
        parse_algorithm(_required(parameters, "X-Goog-Algorithm")),
        *(_required(parameters, f"X-Goog-{name}") for name in ("Credential", "Date", "Signature")),
    )
    _check_time(claim.moment, _parse_expires(_required(parameters, "X-Goog-Expires")), now)
    names = parse_signed_names(_required(parameters, "X-Goog-SignedHeaders"))
    headers = received(request.headers)
    check_all_signed(names, headers)
    methods = ["GET", "HEAD"] if request.method == "HEAD" else [request.method]
    rest = canonical_rest(request.raw_path, query, names, headers)
    claim.check_signature(["\n".join([method, *rest]) for method in methods], keys)
    return Verdict(email=claim.signer, payload_sha256=payload_digest(headers))


def canonical_request(request: SignedRequest, signed_headers: Sequence[str]) -> str:
    """Return the text whose SHA-256 is signed."""
    query = decode_query(request.raw_query)
    headers = received(request.headers)
    rest = canonical_rest(request.raw_path, query, signed_headers, headers)
    return "\n".join([request.method, *rest])


def _required(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name.lower())
    if not value:
        raise malformed(name, f"{name} is missing")
    return value


def _check_time(moment: datetime, life: timedelta, now: datetime) -> None:
    if now > moment + life:
        at = (moment + life).isoformat()
        message = "The provided token has expired."
        details = {"Details": f"Request signature expired at: {at}"}
        raise StorageError(400, "expired", "ExpiredToken", message, details=details)
    if moment > now + MAX_SKEW:
        message = "The request signature is not valid yet."
        raise StorageError(403, "forbidden", "AccessDenied", message)


def _parse_expires(text: str) -> timedelta:
    seconds = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0
    if not 1 <= seconds <= MAX_EXPIRES_SECONDS:
        raise invalid(f"X-Goog-Expires must be between 1 and {MAX_EXPIRES_SECONDS} seconds.")
    return timedelta(seconds=seconds)
