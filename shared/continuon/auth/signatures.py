"""Request signatures: RFC 9421 with Ed25519, the body bound by RFC 9530.

A robot covers ``@method`` and ``@path``, ``@query`` when the target has one, and
``content-digest`` when there is a body, with ``created``, ``nonce`` and ``keyid`` = robot id under
the tag ``continuon``. The authority is left out on purpose: the same request arrives as the
hosting domain at the gateway and as the function's own domain behind it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from continuon import limits
from continuon.auth.problems import SIGNATURE_EXPIRED, SIGNATURE_INVALID
from continuon.errors import ProblemError
from continuon.identifiers import ROBOT_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

__all__ = ["SignedRequest", "VerifiedSignature", "claimed_key_id", "sign_request", "verify_request"]

_TAG = "continuon"
_LABEL = "continuon"
_KEY_ID = re.compile(r';\s*keyid="([^"\\]{1,128})"')
_NONCE = re.compile(rf"^[A-Za-z0-9_-]{{16,{limits.MAX_NONCE_CHARS}}}$")
_NONCE_BYTES = 18


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature is made over.

    Attributes:
        method: Upper case.
        url: The target as sent: path and query; scheme and authority are not covered.
        headers: A mutable mapping when signing.
        body: The exact bytes of the body.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """Who signed, when, and the nonce that has to be spent."""

    key_id: str
    created: datetime
    nonce: str


class _OneKey(HTTPSignatureKeyResolver):
    def __init__(self, key: Ed25519PublicKey | Ed25519PrivateKey) -> None:
        self._key = key

    def resolve_public_key(self, key_id: str) -> Any:  # noqa: ARG002 - the caller chose the key
        return self._key

    def resolve_private_key(self, key_id: str) -> Any:  # noqa: ARG002 - same
        return self._key


class _Verifier(HTTPMessageVerifier):
    """Leaves time to :func:`_created_within_window`, which is given the invocation's clock."""

    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
        """Accept any time here."""


def _message(request: SignedRequest) -> SignedRequest:
    # The library resolves @path and @query from an absolute URL only; the authority is a filler
    # that no covered component reads.
    return SignedRequest(
        request.method, f"https://robot.invalid{request.url}", request.headers, request.body
    )


def _components(request: SignedRequest) -> tuple[str, ...]:
    components = ["@method", "@path"]
    if "?" in request.url:
        components.append("@query")
    if request.body:
        components.append("content-digest")
    return tuple(components)


def sign_request(
    key: Ed25519PrivateKey, *, key_id: str, request: SignedRequest, now: datetime
) -> Mapping[str, str]:
    """Sign ``request`` for robot ``key_id`` and return the headers to add."""
    headers: dict[str, str] = {}
    message = _message(SignedRequest(request.method, request.url, headers, request.body))
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=_OneKey(key))
    covered = tuple(name for name in _components(request) if name != "content-digest")
    signer.sign(
        message,
        key_id=key_id,
        created=now,
        nonce=secrets.token_urlsafe(_NONCE_BYTES),
        label=_LABEL,
        tag=_TAG,
        include_alg=True,
        covered_component_ids=covered,
        body=request.body or None,
    )
    return headers


def claimed_key_id(signature_input: str) -> str | None:
    """Return the key id that a ``Signature-Input`` header names, before anything is proven.

    Good only for looking up a key: :func:`verify_request` decides.
    """
    found = _KEY_ID.search(signature_input)
    return found[1] if found and ROBOT_ID.fullmatch(found[1]) else None


def _created_within_window(created: int, now: datetime) -> datetime:
    # Compared as numbers: a signed value may lie outside every calendar.
    if abs(now.timestamp() - created) > limits.SIGNATURE_WINDOW_S:
        raise ProblemError(
            SIGNATURE_EXPIRED,
            f"Signed at Unix time {created}, received at {int(now.timestamp())}.",
        )
    return datetime.fromtimestamp(created, UTC)


def verify_request(
    request: SignedRequest, *, key_id: str, key: Ed25519PublicKey, now: datetime
) -> VerifiedSignature:
    """Check that ``key`` of robot ``key_id`` signed ``request`` within the window.

    Whether the nonce was spent before is the caller's to find out: that needs a store.

    Raises:
        ProblemError: ``signature.invalid`` or ``signature.expired``.
    """
    verifier = _Verifier(signature_algorithm=algorithms.ED25519, key_resolver=_OneKey(key))
    try:
        (result,) = verifier.verify(
            _message(request),
            max_age=None,
            expect_tag=_TAG,
            body=request.body,
        )
    except (InvalidSignature, HTTPMessageSignaturesException, ValueError) as error:
        raise ProblemError(SIGNATURE_INVALID, str(error) or "") from error
    # The library can check this too, at the price of parsing every name twice more. A covered name
    # is written in quotes, and with parameters behind it if it has any: then it is not this one.
    for name in _components(request):
        if f'"{name}"' not in result.covered_components:
            raise ProblemError(SIGNATURE_INVALID, f"The signature does not cover {name}.")
    parameters = result.parameters
    nonce, created = parameters.get("nonce"), parameters.get("created")
    if parameters.get("keyid") != key_id:
        raise ProblemError(SIGNATURE_INVALID, "The signature names another key.")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise ProblemError(SIGNATURE_INVALID, "The nonce must be 16 to 64 URL-safe characters.")
    if not isinstance(created, int):
        raise ProblemError(SIGNATURE_INVALID, "The signature has no created time.")
    return VerifiedSignature(key_id, _created_within_window(created, now), nonce)
