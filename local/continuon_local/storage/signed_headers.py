"""Requests signed in their ``Authorization`` header, version 4.

https://cloud.google.com/storage/docs/authentication/signatures: the signature covers the time in
``x-goog-date`` and is good for a quarter of an hour around it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from continuon_local.storage.errors import StorageError, not_implemented
from continuon_local.storage.signatures import (
    MAX_SKEW,
    Claim,
    Verdict,
    canonical_rest,
    check_all_signed,
    decode_query,
    malformed,
    parse_signed_names,
    payload_digest,
    received,
)

if TYPE_CHECKING:
    from datetime import datetime

    from continuon_local.storage.signatures import KeyRing, SignedRequest

__all__ = ["claims_signature", "verify_header"]

_PARTS = re.compile(r"\s*(Credential|SignedHeaders|Signature)=([^,\s]*)\s*(?:,|$)")
_FOREIGN = ("AWS4-HMAC-SHA256", "AWS ", "GOOG1 ")


def claims_signature(authorization: str | None) -> bool:
    """Say whether an ``Authorization`` header claims a signature, not a token."""
    return (authorization or "").startswith(("GOOG4-", *_FOREIGN))


def verify_header(request: SignedRequest, keys: KeyRing, now: datetime) -> Verdict:
    """Check the signature in a request's ``Authorization`` header.

    Raises:
        StorageError: ``InvalidArgument`` or ``MalformedSecurityHeader`` (400),
            ``SignatureDoesNotMatch``, ``RequestTimeTooSkewed`` or ``AccessDenied`` (403), or a
            scheme of another provider (501).
    """
    headers = received(request.headers)
    algorithm, _, rest = headers.get("authorization", "").partition(" ")
    if f"{algorithm} ".startswith(_FOREIGN):
        raise not_implemented(f"The signature scheme {algorithm}")
    parts = dict(_PARTS.findall(rest))
    missing = {"Credential", "SignedHeaders", "Signature"} - parts.keys()
    if missing:
        raise malformed("Authorization", f"{min(missing)} is missing")
    date = headers.get("x-goog-date", "")
    claim = Claim.parse(algorithm, parts["Credential"], date, parts["Signature"])
    if abs(now - claim.moment) > MAX_SKEW:
        message = "The difference between the request time and the server's time is too large."
        raise StorageError(403, "forbidden", "RequestTimeTooSkewed", message)
    names = parse_signed_names(parts["SignedHeaders"])
    check_all_signed(names, headers)
    query = decode_query(request.raw_query)
    lines = canonical_rest(request.raw_path, query, names, headers)
    claim.check_signature(["\n".join([request.method, *lines])], keys)
    return Verdict(email=claim.signer, payload_sha256=payload_digest(headers))
