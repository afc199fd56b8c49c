"""Robots, accounts and the audit log in Firestore."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon.errors import ProblemError
from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_fleet.errors import CLAIM_REPLAYED, ROBOT_CHANGED
from continuon_fleet.records import RobotRecord, UserRecord

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.auth.claims import ClaimProof
    from continuon.platform.firestore import Snapshot

__all__ = ["FleetStore"]

_ROBOTS: Final = "robots"
_REGISTRY: Final = "rcan_registry"
_PROVISIONED: Final = "provisioned_devices"
_NONCES: Final = "nonces"
_USERS: Final = "users"
_EPISODES: Final = "rlds_episodes"


class FleetStore:
    """Reads and writes of the fleet codebase, in the words of the domain."""

    def __init__(self) -> None:
        self._documents = firestore_client()

    def _robot(self, robot_id: str) -> firestore.AsyncDocumentReference:
        return self._documents.collection(_ROBOTS).document(robot_id)

    async def robot(self, robot_id: str) -> tuple[RobotRecord | None, Snapshot]:
        """Return a robot's record, or None, and the snapshot it came from."""
        with firestore_errors():
            snapshot = await self._robot(robot_id).get(**RPC)
        data = snapshot.to_dict()
        return (RobotRecord.model_validate(data) if data else None), snapshot

    async def provisioned_thumbprint(self, device_id: str) -> str | None:
        """Return the key thumbprint that a device's maker registered, or None."""
        reference = self._documents.collection(_PROVISIONED).document(device_id)
        with firestore_errors():
            snapshot = await reference.get(**RPC)
        value = (snapshot.to_dict() or {}).get("key_thumbprint")
        return value if isinstance(value, str) else None

    async def user(self, uid: str) -> UserRecord:
        """Return an account's record; one that was never written has the defaults."""
        if "/" in uid:
            # An administrator may choose such a uid; no document can be named after it.
            return UserRecord()
        reference = self._documents.collection(_USERS).document(uid)
        with firestore_errors():
            snapshot = await reference.get(**RPC)
        return UserRecord.model_validate(snapshot.to_dict() or {})

    async def count(self, collection: str, owner_id: str) -> int:
        """Count an owner's documents: one billed read for each 1,000."""
        query = self._documents.collection(collection).where(
            filter=FieldFilter("owner_id", "==", owner_id)
        )
        with firestore_errors():
            # Upstream declares the method without self.
            results = await query.count(alias="n").get(**RPC)  # type: ignore[call-arg]
        return int(results[0][0].value)

    async def robots_used(self, owner_id: str) -> int:
        """Count an owner's robots."""
        return await self.count(_ROBOTS, owner_id)

    async def episodes_used(self, owner_id: str) -> int:
        """Count an owner's episodes."""
        return await self.count(_EPISODES, owner_id)

    async def page(
        self, owner_id: str, *, after: tuple[datetime, str] | None, size: int
    ) -> list[RobotRecord]:
        """Return up to ``size`` of an owner's robots, newest claim first."""
        descending = firestore.Query.DESCENDING
        query = (
            self._documents.collection(_ROBOTS)
            .where(filter=FieldFilter("owner_id", "==", owner_id))
            .order_by("claimed_at", direction=descending)
            .order_by("__name__", direction=descending)
            .limit(size)
        )
        if after is not None:
            moment, robot_id = after
            query = query.start_after({"claimed_at": moment, "__name__": self._robot(robot_id)})
        with firestore_errors():
            snapshots = await query.get(**RPC)
        return [RobotRecord.model_validate(s.to_dict() or {}) for s in snapshots]

    async def apply_claim(
        self,
        proof: ClaimProof,
        record: RobotRecord,
        snapshot: Snapshot,
        now: datetime,
    ) -> None:
        """Bind the robot, list it, spend the proof and record who did: all in one commit.

        Raises:
            ProblemError: ``claim.replayed``, or ``robot.changed`` when another request won.
        """
        spent = self._documents.collection(_NONCES).document(_proof_id(proof))
        batch = self._documents.batch()
        batch.create(spent, {"expires_at": proof.expires_at})
        if snapshot.exists:
            option = self._documents.write_option(last_update_time=snapshot.update_time)
            batch.update(self._robot(record.robot_id), record.model_dump(), option=option)
        else:
            batch.create(self._robot(record.robot_id), record.model_dump())
        batch.set(self._listing(record), _public_listing(record))
        append_audit(
            batch,
            actor=proof.user_id,
            action="robot.claim",
            subject=self._robot(record.robot_id).path,
            now=now,
        )
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except exceptions.AlreadyExists as error:
            raise ProblemError(await self._which(spent)) from error
        except exceptions.FailedPrecondition as error:
            raise ProblemError(ROBOT_CHANGED) from error

    async def _which(self, spent: firestore.AsyncDocumentReference) -> Any:
        # A commit names no culprit: either the proof was spent, or another claim made the robot.
        with firestore_errors():
            snapshot = await spent.get(**RPC)
        return CLAIM_REPLAYED if snapshot.exists else ROBOT_CHANGED

    async def apply_revoke(
        self, record: RobotRecord, snapshot: Snapshot, *, actor: str, now: datetime
    ) -> None:
        """Unbind the robot and record who did, in one commit.

        Raises:
            ProblemError: ``robot.changed`` when another request won.
        """
        option = self._documents.write_option(last_update_time=snapshot.update_time)
        batch = self._documents.batch()
        batch.update(self._robot(record.robot_id), record.model_dump(), option=option)
        batch.set(self._listing(record), _public_listing(record))
        append_audit(
            batch,
            actor=actor,
            action="robot.revoke",
            subject=self._robot(record.robot_id).path,
            now=now,
        )
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except exceptions.FailedPrecondition as error:
            raise ProblemError(ROBOT_CHANGED) from error

    def _listing(self, record: RobotRecord) -> firestore.AsyncDocumentReference:
        return self._documents.collection(_REGISTRY).document(record.device_id)


def _proof_id(proof: ClaimProof) -> str:
    return hashlib.sha256(f"claim:{proof.key_thumbprint}:{proof.jti}".encode()).hexdigest()


def _public_listing(record: RobotRecord) -> dict[str, Any]:
    """Return what anyone may see of a robot: never its owner, an address or an e-mail."""
    return {
        "ruri": record.ruri,
        "name": record.name,
        "model": record.model,
        "capabilities": [],
        "status": record.status.value,
        "relay_endpoint": None,
    }
