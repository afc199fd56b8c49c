"""A claimed robot for the benchmarks, speaking HTTP and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from continuon.auth.claims import sign_claim
from continuon.auth.ruri import Ruri
from continuon.auth.signatures import SignedRequest, sign_request

__all__ = ["Robot", "claim_robot"]

_PASSWORD = "benchmark only"  # noqa: S105 - an account of a local cloud that keeps nothing


@dataclass(frozen=True)
class Robot:
    """A robot, its key, and its owner's ID token."""

    robot_id: str
    key: Ed25519PrivateKey
    id_token: str

    def request(self, method: str, base: str, path: str, body: Any = None) -> httpx.Request:
        """Return a signed request, ready to be sent once."""
        content = json.dumps(body).encode() if body is not None else b""
        unsigned = SignedRequest(method, path, {}, content)
        headers = sign_request(
            self.key, key_id=self.robot_id, request=unsigned, now=datetime.now(UTC)
        )
        headers = {**headers, "content-type": "application/json"}
        return httpx.Request(method, base + path, headers=headers, content=content)


def claim_robot(cloud: dict[str, Any], robot_id: str) -> Robot:
    """Sign an account up and claim ``robot_id`` for it, through the gateway."""
    account = {
        "email": f"{robot_id}@example.com",
        "password": _PASSWORD,
        "returnSecureToken": True,
    }
    sign_up = f"{cloud['urls']['auth']}/identitytoolkit.googleapis.com/v1/accounts:signUp?key=local"
    answer = httpx.post(sign_up, json=account, timeout=30).raise_for_status().json()
    key = Ed25519PrivateKey.generate()
    ruri = Ruri.parse(f"rcan://continuon.cloud/bench/bench/{robot_id}")
    proof = sign_claim(key, ruri=ruri, user_id=answer["localId"], now=datetime.now(UTC))
    httpx.post(
        f"{cloud['urls']['hosting']}/api/v1/robots/claim",
        json={"proof": proof},
        headers={"authorization": f"Bearer {answer['idToken']}"},
        timeout=30,
    ).raise_for_status()
    return Robot(robot_id, key, answer["idToken"])
