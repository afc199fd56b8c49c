"""A robot's identity: its RURI and its Ed25519 device key, kept on the robot.

``<home>/robots/<robot_id>/device_key.pem`` (owner-only, PKCS #8) and ``robot.json``. The robot id
is the device id of the RURI. The key is made once and leaves the machine only as its public half.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from continuon.auth.claims import sign_claim
from continuon.auth.keys import public_jwk, thumbprint
from continuon.auth.ruri import InvalidRuriError, Ruri
from continuon.auth.signatures import SignedRequest, sign_request
from continuon.identifiers import ROBOT_ID
from continuon_cloud.errors import IdentityError, IdentityMissingError
from continuon_cloud.files import (
    private_folder,
    read_private,
    replace_private,
    write_new_private,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

__all__ = ["RobotHome", "RobotIdentity"]

_KEY_FILE = "device_key.pem"
_ROBOT_FILE = "robot.json"


@dataclass(frozen=True, slots=True)
class RobotIdentity:
    """One robot: its URI and its private key, which never appears in a representation."""

    ruri: Ruri
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def robot_id(self) -> str:
        """The id of the robot everywhere in the API."""
        return self.ruri.device_id

    @property
    def key_thumbprint(self) -> str:
        """RFC 7638 thumbprint of the public key, as the service shows it."""
        return thumbprint(public_jwk(self.key.public_key()))

    def sign(
        self, method: str, target: str, body: bytes, *, headers: Mapping[str, str], now: datetime
    ) -> Mapping[str, str]:
        """Return the headers that prove this robot sends ``method target`` with ``body``."""
        request = SignedRequest(method, target, dict(headers), body)
        return sign_request(self.key, key_id=self.robot_id, request=request, now=now)

    def claim_proof(self, user_id: str, *, now: datetime) -> str:
        """Return a claim (compact JWS) that says ``user_id`` may own this robot."""
        return sign_claim(self.key, ruri=self.ruri, user_id=user_id, now=now)


class RobotHome:
    """The robots whose keys live in one home folder."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "robots"

    def create(self, ruri: Ruri, *, rotate: bool = False) -> RobotIdentity:
        """Make a key for ``ruri``; with ``rotate``, replace the key that is there.

        A key that was claimed and is then rotated no longer opens anything: revoke and claim again.

        Raises:
            IdentityError: The robot has a key and ``rotate`` was not asked for, or its id belongs
                to another RURI in this home.
        """
        folder = private_folder(self._folder / ruri.device_id)
        self._refuse_other_robot(folder, ruri)
        # First the description: a crash before the key leaves a robot that can still be made.
        description = {"robot_id": ruri.device_id, "ruri": str(ruri)}
        replace_private(folder / _ROBOT_FILE, json.dumps(description, indent=2).encode() + b"\n")
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            (replace_private if rotate else write_new_private)(folder / _KEY_FILE, pem)
        except FileExistsError as error:
            raise IdentityError(
                f"robot {ruri.device_id} has a device key already",
                code="identity.exists",
                hint="Keep using it. `--rotate` replaces it and ends the old one's access.",
            ) from error
        return RobotIdentity(ruri, key)

    def load(self, robot_id: str | None = None) -> RobotIdentity:
        """Load one robot; without an id, the only one.

        Raises:
            IdentityMissingError: There is no such robot, or several and no id.
            IdentityError: Its files are damaged or open to other accounts.
        """
        chosen = robot_id or self._only()
        if not ROBOT_ID.match(chosen):
            raise IdentityMissingError(f"{chosen!r} is not a robot id")
        folder = self._folder / chosen
        try:
            pem = read_private(folder / _KEY_FILE)
            ruri = self._read_ruri(folder)
        except FileNotFoundError as error:
            raise IdentityMissingError(
                f"robot {chosen} has no complete identity in this home",
                hint="Make one: continuon robot init --ruri rcan://...",
            ) from error
        if ruri.device_id != chosen:
            raise IdentityError(f"{folder / _ROBOT_FILE} describes another robot")
        return RobotIdentity(ruri, _private_key(pem, folder / _KEY_FILE))

    def ids(self) -> list[str]:
        """Return the ids of the robots in this home, sorted."""
        if not self._folder.is_dir():
            return []
        return sorted(entry.name for entry in self._folder.iterdir() if ROBOT_ID.match(entry.name))

    def _only(self) -> str:
        ids = self.ids()
        if not ids:
            raise IdentityMissingError(
                "there is no robot in this home",
                hint="Make one: continuon robot init --ruri rcan://...",
            )
        if len(ids) > 1:
            raise IdentityMissingError(
                f"there are several robots in this home: {', '.join(ids)}",
                code="identity.ambiguous",
                hint="Choose one with --robot ID.",
            )
        return ids[0]

    def _refuse_other_robot(self, folder: Path, ruri: Ruri) -> None:
        try:
            present = self._read_ruri(folder)
        except FileNotFoundError:
            return
        if present != ruri:
            raise IdentityError(
                f"{ruri.device_id} is {present} in this home",
                code="identity.exists",
                hint="A device id names one robot. Use another id or another CONTINUON_HOME.",
            )

    @staticmethod
    def _read_ruri(folder: Path) -> Ruri:
        try:
            return Ruri.parse(str(json.loads(read_private(folder / _ROBOT_FILE))["ruri"]))
        except (InvalidRuriError, ValueError, KeyError, TypeError) as error:
            raise IdentityError(f"{folder / _ROBOT_FILE} is damaged") from error


def _private_key(pem: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"{path} holds no usable private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path} is not an Ed25519 key")
    return key
