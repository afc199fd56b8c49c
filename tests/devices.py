"""A robot's device key in tests: it signs honestly, and in every wrong way a test asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPSignatureKeyResolver,
    algorithms,
)

from continuon.auth.claims import sign_claim
from continuon.auth.ruri import Ruri
from continuon.auth.signatures import SignedRequest, sign_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Device"]


class _Key(HTTPSignatureKeyResolver):
    def __init__(self, key: Any) -> None:
        self._key = key

    def resolve_public_key(self, key_id: str) -> Any:
        raise AssertionError(f"a signer never verifies: {key_id}")

    def resolve_private_key(self, key_id: str) -> Any:  # noqa: ARG002 - one key only
        return self._key


@dataclass(frozen=True)
class Device:
    """A robot with its own key."""

    robot_id: str = "14d4b680"
    model: str = "arm"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def ruri(self) -> Ruri:
        """The robot's URI."""
        return Ruri.parse(f"rcan://continuon.cloud/acme/{self.model}/{self.robot_id}")

    def claim(self, user_id: str, now: datetime | None = None) -> str:
        """Sign a claim proof for ``user_id``."""
        return sign_claim(self.key, ruri=self.ruri, user_id=user_id, now=now or datetime.now(UTC))

    def headers(
        self, method: str, url: str, body: bytes = b"", *, now: datetime | None = None
    ) -> dict[str, str]:
        """Return the signature headers of an honest request."""
        request = SignedRequest(method, url, {}, body)
        moment = now or datetime.now(UTC)
        return dict(sign_request(self.key, key_id=self.robot_id, request=request, now=moment))

    def json(self, method: str, url: str, document: Any) -> tuple[bytes, dict[str, str]]:
        """Return the body and all headers of a signed JSON request."""
        body = json.dumps(document).encode()
        headers = self.headers(method, url, body)
        return body, {"content-type": "application/json", **headers}

    def sign_oddly(
        self,
        request: SignedRequest,
        *,
        now: datetime,
        covered: Sequence[str] = ("@method", "@path", "content-digest"),
        algorithm: Any = algorithms.ED25519,
        key: Any = None,
        **parameters: Any,
    ) -> dict[str, str]:
        """Return ``request``'s headers under a signature with the given oddities."""
        options: Mapping[str, Any] = {
            "key_id": self.robot_id,
            "created": now,
            "nonce": "n" * 24,
            "label": "continuon",
            "tag": "continuon",
            "body": request.body if "content-digest" in covered else None,
            **parameters,
        }
        headers = dict(request.headers)
        message = SignedRequest(
            request.method, f"https://robot.invalid{request.url}", headers, request.body
        )
        signer = HTTPMessageSigner(
            signature_algorithm=algorithm, key_resolver=_Key(key or self.key)
        )
        signer.sign(message, covered_component_ids=tuple(covered), **options)
        return headers
