"""Bundles and rollouts in Firestore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter
from pydantic import ValidationError

from continuon.contracts.rollouts import RolloutStatus
from continuon.errors import ProblemError
from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_ota.errors import BUNDLE_NOT_FOUND, ROLLOUT_CHANGED
from continuon_ota.records import BundleRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from google.cloud.firestore import AsyncDocumentReference, AsyncQuery, AsyncTransaction

    from continuon.platform.firestore import Snapshot
    from continuon_ota.records import RolloutRecord

__all__ = ["BUNDLES", "BundleStore", "read_bundle"]

BUNDLES: Final = "ota_bundles"

_LIVE: Final = [
    RolloutStatus.CANARY.value,
    RolloutStatus.PAUSED.value,
    RolloutStatus.PRODUCTION.value,
]
_WITHDRAWN: Final = [RolloutStatus.HALTED.value, RolloutStatus.ROLLED_BACK.value]


def read_bundle(snapshot: Snapshot) -> BundleRecord | None:
    """Return the record of a document, or None when there is none.

    Raises:
        ValidationError: Somebody wrote something else into it.
    """
    data = snapshot.to_dict()
    return BundleRecord.model_validate({**data, "bundle_id": snapshot.id}) if data else None


def _sound(snapshots: Iterable[Snapshot]) -> list[BundleRecord]:
    """Read what can be read: a document that somebody broke must not stop every robot."""
    records = []
    for snapshot in snapshots:
        try:
            record = read_bundle(snapshot)
        except ValidationError:
            continue
        if record is not None:
            records.append(record)
    return records


def _outcome(after: RolloutRecord) -> str:
    return f"{after.status.value} {after.target_percentage:g} % {after.reason}".rstrip()


class BundleStore:
    """Reads and writes of bundles, in the words of the domain."""

    def __init__(self) -> None:
        self._documents = firestore_client()

    def reference(self, bundle_id: str) -> AsyncDocumentReference:
        """Return the reference of a bundle's document."""
        return self._documents.collection(BUNDLES).document(bundle_id)

    async def snapshot(self, bundle_id: str) -> Snapshot:
        """Read a bundle's document: one billed read."""
        with firestore_errors():
            return await self.reference(bundle_id).get(**RPC)

    async def find(self, bundle_id: str) -> BundleRecord | None:
        """Return a bundle's record, or None; one that cannot be read counts as none."""
        found = _sound([await self.snapshot(bundle_id)])
        return found[0] if found else None

    async def get(self, bundle_id: str) -> BundleRecord:
        """Return a bundle's record.

        Raises:
            ProblemError: ``bundle.not_found``.
        """
        record = await self.find(bundle_id)
        if record is None:
            raise ProblemError(BUNDLE_NOT_FOUND)
        return record

    async def create(self, record: BundleRecord, *, now: datetime) -> bool:
        """Create the document and record who did, in one commit; False when it exists."""
        batch = self._documents.batch()
        reference = self.reference(record.bundle_id)
        batch.create(reference, record.model_dump())
        append_audit(
            batch, actor=record.owner_id, action="ota.publish", subject=reference.path, now=now
        )
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except exceptions.AlreadyExists:
            return False
        return True

    def _query(self, statuses: list[str], robot_model: str | None = None) -> AsyncQuery:
        query = self._documents.collection(BUNDLES).where(
            filter=FieldFilter("rollout.status", "in", statuses)
        )
        if robot_model is not None:
            query = query.where(filter=FieldFilter("robot_model", "==", robot_model))
        return query

    async def live_snapshots(self, robot_model: str | None = None) -> list[Snapshot]:
        """Return the documents of rollouts that are canary, in production or paused.

        Of every robot model when ``robot_model`` is None.
        """
        with firestore_errors():
            return list(await self._query(_LIVE, robot_model).get(**RPC))

    async def withdrawn_since(self, moment: datetime) -> list[BundleRecord]:
        """Return the bundles that were halted or rolled back after ``moment``."""
        query = self._query(_WITHDRAWN).where(filter=FieldFilter("rollout.since", ">", moment))
        with firestore_errors():
            return _sound(await query.get(**RPC))

    async def superseded_by(self, bundle_id: str) -> list[Snapshot]:
        """Return the bundles that were in production until ``bundle_id`` superseded them."""
        query = self._documents.collection(BUNDLES).where(
            filter=FieldFilter("rollout.superseded_by", "==", bundle_id)
        )
        with firestore_errors():
            return list(await query.get(**RPC))

    async def live(self, robot_model: str) -> list[BundleRecord]:
        """Return the live rollouts of a robot model, but for those that cannot be read."""
        return _sound(await self.live_snapshots(robot_model))

    async def page(
        self, *, robot_model: str | None, after: tuple[datetime, str] | None, size: int
    ) -> list[BundleRecord]:
        """Return up to ``size`` bundles, newest first."""
        descending = firestore.Query.DESCENDING
        query = self._documents.collection(BUNDLES).order_by("created_at", direction=descending)
        query = query.order_by("__name__", direction=descending).limit(size)
        if robot_model is not None:
            query = query.where(filter=FieldFilter("robot_model", "==", robot_model))
        if after is not None:
            moment, bundle_id = after
            query = query.start_after({"created_at": moment, "__name__": self.reference(bundle_id)})
        with firestore_errors():
            return _sound(await query.get(**RPC))

    # --- Changes of state -----------------------------------------------------------------------

    async def change(
        self,
        bundle_id: str,
        decide: Callable[[BundleRecord, list[BundleRecord]], RolloutRecord],
        *,
        actor: str,
        action: str,
        now: datetime,
    ) -> BundleRecord:
        """Change a rollout in one transaction, whatever the gate or another operator does.

        Args:
            bundle_id: Which.
            decide: From the bundle and the live and superseded ones of its model, the new state.
                It is called again when the transaction is.
            actor: Who; kept in the audit log.
            action: What; kept in the audit log.
            now: The invocation's reading of the clock.

        Raises:
            ProblemError: What ``decide`` raises, ``bundle.not_found`` or ``rollout.changed``.
        """

        @firestore.async_transactional
        async def attempt(transaction: AsyncTransaction) -> BundleRecord:
            snapshot = await self.reference(bundle_id).get(transaction=transaction)
            records = _sound([snapshot])
            if not records:
                raise ProblemError(BUNDLE_NOT_FOUND)
            # With the superseded ones, one of which robots may have to go back to.
            statuses = [*_LIVE, RolloutStatus.SUPERSEDED.value]
            query = self._query(statuses, records[0].robot_model)
            others = _sound([found async for found in query.stream(transaction=transaction)])
            after = decide(records[0], others)
            transaction.update(self.reference(bundle_id), {"rollout": after.model_dump()})
            append_audit(
                transaction,
                actor=actor,
                action=action,
                subject=self.reference(bundle_id).path,
                now=now,
                detail=_outcome(after),
            )
            return records[0].with_rollout(after)

        try:
            with firestore_errors():
                return await attempt(self._documents.transaction())
        except ValueError as error:
            # The client's word for a transaction that others kept winning.
            raise ProblemError(ROLLOUT_CHANGED) from error

    async def write_if_unchanged(
        self,
        snapshot: Snapshot,
        after: RolloutRecord,
        *,
        actor: str,
        action: str | None,
        now: datetime,
    ) -> bool:
        """Write a rollout's state unless the document changed since ``snapshot``.

        Args:
            snapshot: The document as it was read.
            after: The new state.
            actor: Who; kept in the audit log.
            action: What; None for counts alone, which are no news.
            now: The invocation's reading of the clock.

        Returns:
            False when somebody else was first; nothing was written.
        """
        batch = self._documents.batch()
        option = self._documents.write_option(last_update_time=snapshot.update_time)
        batch.update(snapshot.reference, {"rollout": after.model_dump()}, option=option)
        if action is not None:
            append_audit(
                batch,
                actor=actor,
                action=action,
                subject=snapshot.reference.path,
                now=now,
                detail=_outcome(after),
            )
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except (exceptions.FailedPrecondition, exceptions.NotFound):
            return False
        return True

    async def halt_unreadable(self, snapshot: Snapshot, reason: str, *, now: datetime) -> bool:
        """Halt a bundle whose document is not what this code writes; False when it changed."""
        batch = self._documents.batch()
        option = self._documents.write_option(last_update_time=snapshot.update_time)
        halted = {"status": RolloutStatus.HALTED.value, "reason": reason, "since": now}
        fields = {f"rollout.{name}": value for name, value in halted.items()}
        if not isinstance((snapshot.to_dict() or {}).get("rollout"), dict):
            fields = {"rollout": halted}
        batch.update(snapshot.reference, fields, option=option)
        append_audit(
            batch,
            actor="ota_rollout",
            action="ota.rollout.halt",
            subject=snapshot.reference.path,
            now=now,
            detail=reason,
        )
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except (exceptions.FailedPrecondition, exceptions.NotFound):
            return False
        return True

    async def record_publication(self, files: list[str], *, actor: str, now: datetime) -> None:
        """Write into the audit log which signed metadata was published."""
        batch = self._documents.batch()
        append_audit(
            batch,
            actor=actor,
            action="ota.metadata.publish",
            subject="bundles/ota/metadata",
            now=now,
            detail=", ".join(files),
        )
        with firestore_errors():
            await batch.commit(**RPC)

    async def record_refusal(
        self, bundle_id: str, *, actor: str, action: str, detail: str, now: datetime
    ) -> None:
        """Write into the audit log that a change was asked for and refused."""
        batch = self._documents.batch()
        append_audit(
            batch,
            actor=actor,
            action=action,
            subject=self.reference(bundle_id).path,
            now=now,
            outcome="refused",
            detail=detail,
        )
        with firestore_errors():
            await batch.commit(**RPC)
