"""Signed URLs, version 2: older, and what Google's clients still make unless told otherwise.

https://cloud.google.com/storage/docs/access-control/signed-urls-v2
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from continuon_local.storage.errors import StorageError
from continuon_local.storage.signatures import malformed, received

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.signatures import KeyRing, SignedRequest

__all__ = ["is_signed_v2", "verify_v2"]

_CLAIM = frozenset({"GoogleAccessId", "Expires", "Signature"})

# What may be added to a URL of this version: it chooses among things that the signer gave away.
_UNSIGNED = frozenset({"generation", "response-content-disposition", "response-content-type"})
_LISTING = frozenset({"delimiter", "encoding-type", "list-type", "marker", "max-keys", "prefix"})

# The key travels beside the URL and is not part of what is signed.
_SECRET_HEADERS = frozenset({"x-goog-encryption-key", "x-goog-encryption-key-sha256"})
_EXTENSION_PREFIX = "x-goog-"


def is_signed_v2(parameters: Mapping[str, str]) -> bool:
    """Say whether a query claims a signature of version 2."""
    return "GoogleAccessId" in parameters


def verify_v2(request: SignedRequest, keys: KeyRing, now: datetime) -> None:
    """Check the signature in a request's query.

    A URL signed for GET serves HEAD as well, as the service documents.

    Raises:
        StorageError: ``ExpiredToken`` or ``MalformedSecurityHeader`` (400),
            ``SignatureDoesNotMatch`` or ``AccessDenied`` (403).
    """
    pairs = parse_qsl(request.raw_query, keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise malformed("query", "A query parameter is given twice.")
    _check_time(parameters.get("Expires", ""), now)
    key = keys.public_key(parameters.get("GoogleAccessId", ""))
    if key is None:
        message = f"Unknown service account: {parameters.get('GoogleAccessId')}"
        raise StorageError(403, "forbidden", "AccessDenied", message)
    try:
        signature = base64.b64decode(parameters.get("Signature", ""), validate=True)
    except (binascii.Error, ValueError):
        raise malformed("Signature", "Invalid signature encoding") from None
    texts = _candidates(request, parameters)
    for text in texts:
        try:
            key.verify(signature, text.encode("utf-8", "surrogateescape"), PKCS1v15(), SHA256())
        except InvalidSignature:
            continue
        return
    details = {"StringToSign": texts[0].encode(errors="replace").decode()}
    message = "The request signature we calculated does not match the signature you provided."
    raise StorageError(403, "forbidden", "SignatureDoesNotMatch", message, details=details)


def _check_time(text: str, now: datetime) -> None:
    if not re.fullmatch(r"[0-9]{1,11}", text):
        raise malformed("Expires", "Invalid Expires")
    if now > datetime.fromtimestamp(int(text), UTC):
        message = "The provided token has expired."
        details = {"Details": f"Request signature expired at: {text}"}
        raise StorageError(400, "expired", "ExpiredToken", message, details=details)


def _candidates(request: SignedRequest, parameters: Mapping[str, str]) -> list[str]:
    """Return the texts that a signer of this request may have signed."""
    methods = ["GET", "HEAD"] if request.method == "HEAD" else [request.method]
    headers = received(request.headers)
    extensions = "".join(
        f"{name}:{headers[name]}\n"
        for name in sorted(headers)
        if name.startswith(_EXTENSION_PREFIX) and name not in _SECRET_HEADERS
    )
    lines = [headers.get("content-md5", ""), headers.get("content-type", "")]
    lines.append(parameters["Expires"])
    return [
        "\n".join([method, *lines, extensions + resource])
        for method in methods
        for resource in _resources(request, parameters)
    ]


def _resources(request: SignedRequest, parameters: Mapping[str, str]) -> list[str]:
    """Return the forms in which the resource may be signed: whatever is left out is harmless."""
    path = quote(unquote_to_bytes(request.raw_path), safe="/~")
    rest = {name: value for name, value in parameters.items() if name not in _CLAIM}
    named = {name: value for name, value in rest.items() if name not in _UNSIGNED}
    forms = [f"{path}?{_query(rest)}", f"{path}?{_query(named)}"]
    if named.keys() <= _LISTING:
        forms.insert(0, path)
    return list(dict.fromkeys(forms))


def _query(parameters: Mapping[str, str]) -> str:
    return urlencode(sorted((name.lower(), value) for name, value in parameters.items()))
