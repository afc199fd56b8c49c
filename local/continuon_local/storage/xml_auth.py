"""Who may use the XML API: signers, the administrator, and anybody where something is public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.policies import public_may
from continuon_local.storage.signatures import SignedRequest
from continuon_local.storage.signed_headers import claims_signature, verify_header
from continuon_local.storage.signed_urls import is_signed, verify
from continuon_local.storage.signed_urls_v2 import is_signed_v2, verify_v2

if TYPE_CHECKING:
    from continuon_local.storage.call import Call

__all__ = ["authorise"]

# Google's clients name themselves here. In emulator mode they send no credentials at all, and
# their parallel uploads use the XML API.
_CLIENT_HEADER = "x-goog-api-client"


def _denied() -> StorageError:
    details = {
        "Details": "Anonymous caller does not have access to the Google Cloud Storage object."
    }
    return StorageError(403, "forbidden", "AccessDenied", "Access denied.", details=details)


def authorise(call: Call, bucket: str, name: str) -> str | None:
    """Return the SHA-256 (hexadecimal) that the body must have, or None for any body.

    Raises:
        StorageError: The request is neither signed nor an administrator's, and what it asks for
            is not public (400, 403).
    """
    now = call.engine.context.clock.now()
    accounts = call.engine.accounts
    if is_signed_v2(call.parameters):
        verify_v2(_signed_request(call), accounts, now)
        return None
    if is_signed(call.parameters):
        return verify(_signed_request(call), accounts, now).payload_sha256
    authorization = call.headers.get("authorization")
    if claims_signature(authorization):
        return verify_header(_signed_request(call), accounts, now).payload_sha256
    if authorization == "Bearer owner":
        return None
    parallel = {"uploads", "uploadId"} & call.parameters.keys()
    if authorization is None and parallel and _CLIENT_HEADER in call.headers:
        return None
    if authorization is None and call.method in {"GET", "HEAD"}:
        _check_public(call, bucket, name)
        return None
    raise _denied()


def _check_public(call: Call, bucket: str, name: str) -> None:
    """Refuse an anonymous reader unless the object, or the list of a bucket, is public."""
    store = call.engine.store
    found = store.bucket(bucket)
    record = store.live(bucket, name) if name else None
    # Whoever may not list a bucket does not learn which names are missing either.
    if found is None or not public_may(found, record):
        raise _denied()
    if (found.fields.get("billing") or {}).get("requesterPays"):
        message = "Bucket is a requester pays bucket but no user project provided."
        raise invalid(message, code="UserProjectMissing")


def _signed_request(call: Call) -> SignedRequest:
    return SignedRequest(
        method=call.method,
        raw_path=call.raw_path,
        raw_query=call.raw_query,
        headers=[
            (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
            for name, value in call.request.headers.raw
        ],
    )
