"""Offers and reports in Firestore: each robot writes its own deployment, and nothing shared.

A disruption budget is a row of places, one document each. A robot that updates holds one, with an
expiry: a lease. Taking a place is a conditional write, so there are never more holders than places
and no document that all robots write. A check looks at a few places only; of a large budget it may
miss a free one, and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions

from continuon import limits
from continuon.auth.problems import SIGNATURE_REPLAYED
from continuon.errors import ProblemError, UnavailableError
from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_ota import deployments
from continuon_ota.counts import DEPLOYMENTS
from continuon_ota.policy import places_to_probe
from continuon_ota.records import DeploymentRecord, RobotRecord
from continuon_ota.store import BUNDLES, read_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from google.cloud.firestore import AsyncDocumentReference, AsyncWriteBatch

    from continuon.contracts.ota import CheckRequest, ReportRequest, RobotMembership
    from continuon.platform.firestore import Snapshot
    from continuon.platform.identity import Nonce
    from continuon_ota.policy import BudgetPlaces, Choice
    from continuon_ota.records import BundleRecord

__all__ = ["BudgetSpent", "DeploymentStore", "Granted", "Moved", "OfferAsked", "Reported"]

_ROBOTS: Final = "robots"
_BUDGETS: Final = "ota_budgets"
_PLACES: Final = "places"
_TRIES: Final = 5
"""Conditional writes before a robot is told to come back: each loses to another writer."""

_GRACE: Final = timedelta(seconds=30)
"""After a lease ran out and before its place is given away: clocks of two instances differ."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The robot holds the offer."""

    deployment: DeploymentRecord
    bundle: BundleRecord


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """No place is free in the budget of this group."""

    group: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The rollout is no longer what the decision was made on."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a report; ``deployment`` is None when a later one had been applied."""

    deployment: DeploymentRecord | None
    last_sequence: int
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class OfferAsked:
    """An offer that was decided on, maybe from memory.

    Attributes:
        choice: What to offer.
        robot: Whom.
        request: The robot's check.
        budgets: In each of which it needs a place.
        still: Says of the bundle as it is now whether it may still be offered.
        nonce: Spent in the same commit.
        now: The invocation's reading of the clock.
    """

    choice: Choice
    robot: RobotRecord
    request: CheckRequest
    budgets: Sequence[BudgetPlaces]
    still: Callable[[BundleRecord], bool]
    nonce: Nonce | None
    now: datetime

    @property
    def bundle_id(self) -> str:
        """The bundle that is offered."""
        return self.choice.bundle.bundle_id

    @property
    def spent(self) -> list[AsyncDocumentReference]:
        """The document that is there when the nonce was spent before."""
        return list(self.nonce.document) if self.nonce else []


_LOST: Final = Reported(None, -1)
"""A conditional write was lost: read again, decide anew."""


class DeploymentStore:
    """Reads and writes about one robot and one bundle, in the words of the domain."""

    def __init__(self) -> None:
        self._documents = firestore_client()

    def _bundle(self, bundle_id: str) -> AsyncDocumentReference:
        return self._documents.collection(BUNDLES).document(bundle_id)

    def _deployment(self, bundle_id: str, robot_id: str) -> AsyncDocumentReference:
        return self._documents.collection(BUNDLES, bundle_id, DEPLOYMENTS).document(robot_id)

    def _robot(self, robot_id: str) -> AsyncDocumentReference:
        return self._documents.collection(_ROBOTS).document(robot_id)

    async def robot(self, robot_id: str) -> RobotRecord | None:
        """Return what this codebase needs of a robot's document, or None."""
        with firestore_errors():
            snapshot = await self._robot(robot_id).get(**RPC)
        return _robot_record(snapshot)

    async def deployment(self, bundle_id: str, robot_id: str) -> DeploymentRecord | None:
        """Return the deployment of a bundle on a robot, or None."""
        with firestore_errors():
            snapshot = await self._deployment(bundle_id, robot_id).get(**RPC)
        return _deployment_record(snapshot)

    async def set_membership(
        self, robot_id: str, membership: RobotMembership, *, actor: str, now: datetime
    ) -> bool:
        """Set a robot's groups and tags and record who did; False when there is no such robot."""
        batch = self._documents.batch()
        reference = self._robot(robot_id)
        batch.update(reference, membership.model_dump())
        append_audit(
            batch,
            actor=actor,
            action="robot.membership",
            subject=reference.path,
            now=now,
            detail=f"groups {membership.groups}, tags {membership.tags}",
        )
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except exceptions.NotFound:
            return False
        return True

    async def _read(self, references: Sequence[AsyncDocumentReference]) -> dict[str, Snapshot]:
        """Read several documents at one moment; by path."""
        with firestore_errors():
            found = [one async for one in self._documents.get_all(list(references), **RPC)]
        return {snapshot.reference.path: snapshot for snapshot in found}

    # --- Offers ---------------------------------------------------------------------------------

    async def take_offer(self, ask: OfferAsked) -> Granted | BudgetSpent | Moved:
        """Give the robot the offer, unless the rollout has changed or a budget is spent.

        Everything is read at one moment and written in one commit, on the condition that the
        robot's deployment and its places are still as they were read. The bundle itself is not
        locked: a halt must never wait for robots.

        Raises:
            ProblemError: ``signature.replayed``.
            UnavailableError: Other writers were always faster.
        """
        for attempt in range(_TRIES):
            taken = await self._try_offer(ask, attempt)
            if taken is not None:
                return taken
        raise UnavailableError("The disruption budget")

    async def _try_offer(
        self, ask: OfferAsked, attempt: int
    ) -> Granted | BudgetSpent | Moved | None:
        """Return what came of one attempt; None when a conditional write was lost."""
        bundle_at = self._bundle(ask.bundle_id)
        deployment_at = self._deployment(ask.bundle_id, ask.robot.robot_id)
        rows = [self._probes(budget, ask.robot.robot_id, attempt) for budget in ask.budgets]
        found = await self._read(
            [bundle_at, deployment_at, *ask.spent, *(place for row in rows for place in row)]
        )
        _refuse_replay(found, ask.spent)
        bundle = read_bundle(found[bundle_at.path])
        if bundle is None or not ask.still(bundle):
            return Moved()
        before = _deployment_record(found[deployment_at.path])
        batch = self._documents.batch()
        if before is not None and deployments.has_offer(before, ask.now):
            after = self._renewed(batch, ask, before)
        else:
            rows_read = [[found[one.path] for one in row] for row in rows]
            places = [_free_place(row, ask) for row in rows_read]
            for budget, place in zip(ask.budgets, places, strict=True):
                if place is None:
                    return BudgetSpent(budget.group)
            after = self._placed(batch, ask, before, [place for place in places if place])
        self._put(batch, found[deployment_at.path], after.model_dump())
        batch.update(self._robot(ask.robot.robot_id), _offered_fields(ask))
        if not await self._commit(batch, ask.nonce):
            return None
        return Granted(after, bundle)

    def _renewed(
        self, batch: AsyncWriteBatch, ask: OfferAsked, before: DeploymentRecord
    ) -> DeploymentRecord:
        """Extend an offer that the robot holds, with its places."""
        after = deployments.offer(
            ask.choice, ask.robot, ask.request, before, places=before.places, now=ask.now
        )
        self._hold(batch, after)
        return after

    def _placed(
        self,
        batch: AsyncWriteBatch,
        ask: OfferAsked,
        before: DeploymentRecord | None,
        places: Sequence[Snapshot],
    ) -> DeploymentRecord:
        """Make a new offer and take its places."""
        paths = [place.reference.path for place in places]
        after = deployments.offer(
            ask.choice, ask.robot, ask.request, before, places=paths, now=ask.now
        )
        for place in places:
            self._put(batch, place, _place_fields(after))
        return after

    def _probes(
        self, budget: BudgetPlaces, robot_id: str, attempt: int
    ) -> list[AsyncDocumentReference]:
        """Return the places to look at: all of a small budget, some of a large one."""
        row = self._documents.collection(_BUDGETS, f"{budget.robot_model}~{budget.group}", _PLACES)
        indexes = places_to_probe(budget.places, robot_id, attempt)
        return [row.document(f"{index:07d}") for index in indexes]

    def _put(self, batch: AsyncWriteBatch, read: Snapshot, fields: dict[str, Any]) -> None:
        """Write ``fields`` on the condition that the document is as it was read."""
        if read.exists:
            option = self._documents.write_option(last_update_time=read.update_time)
            batch.update(read.reference, fields, option=option)
        else:
            batch.create(read.reference, fields)

    async def _commit(self, batch: AsyncWriteBatch, nonce: Nonce | None) -> bool:
        """Spend the nonce and write the batch, all or nothing; False when a condition failed."""
        for reference, data in (nonce.document if nonce else {}).items():
            batch.create(reference, data)
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except (exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound):
            return False
        return True

    # --- Reports --------------------------------------------------------------------------------

    async def report(
        self, robot_id: str, request: ReportRequest, *, nonce: Nonce | None, now: datetime
    ) -> Reported | None:
        """Apply a report, once, however often it arrives and whatever else the robot sends.

        Returns:
            None when there is no such bundle for this robot.

        Raises:
            ProblemError: ``signature.replayed`` or ``deployment.not_offered``.
            UnavailableError: Other writers were always faster.
        """
        for _ in range(_TRIES):
            reported = await self._try_report(robot_id, request, nonce, now)
            if reported is None or reported is not _LOST:
                return reported
        raise UnavailableError("The robot's document")

    async def _try_report(
        self, robot_id: str, request: ReportRequest, nonce: Nonce | None, now: datetime
    ) -> Reported | None:
        """Return what came of one attempt; ``_LOST`` when a conditional write was lost."""
        bundle_at = self._bundle(request.bundle_id)
        deployment_at = self._deployment(request.bundle_id, robot_id)
        robot_at = self._robot(robot_id)
        spent = list(nonce.document) if nonce else []
        found = await self._read([bundle_at, deployment_at, robot_at, *spent])
        _refuse_replay(found, spent)
        bundle = read_bundle(found[bundle_at.path])
        robot = _robot_record(found[robot_at.path])
        if bundle is None or robot is None or bundle.robot_model != robot.model:
            return None
        before = _deployment_record(found[deployment_at.path])
        plan = bundle.rollout.plan
        lease_s = plan.policy.lease if plan else limits.OTA_LEASE_S
        applied = deployments.apply_report(before, robot, request, lease_s=lease_s, now=now)
        batch = self._documents.batch()
        if applied is None:
            late = Reported(None, robot.ota.sequence)
            return late if await self._commit(batch, nonce) else _LOST
        self._put(batch, found[deployment_at.path], applied.deployment.model_dump())
        fields = {"ota": applied.robot.model_dump(), "model_version": request.version}
        self._put(batch, found[robot_at.path], fields)
        self._move_places(batch, applied)
        failed = before is not None and applied.deployment.failures > before.failures
        done = Reported(applied.deployment, request.sequence, failed)
        return done if await self._commit(batch, nonce) else _LOST

    def _move_places(self, batch: AsyncWriteBatch, applied: deployments.Applied) -> None:
        """Give places back, or hold them longer."""
        for path in applied.released:
            batch.delete(self._documents.document(path))
        self._hold(batch, applied.deployment)

    def _hold(self, batch: AsyncWriteBatch, deployment: DeploymentRecord) -> None:
        """Hold the places of a lease that runs until its new end; nobody else may have them."""
        for path in deployment.places:
            batch.set(self._documents.document(path), _place_fields(deployment))


def _refuse_replay(found: Mapping[str, Snapshot], spent: Sequence[AsyncDocumentReference]) -> None:
    if any(found[one.path].exists for one in spent):
        raise ProblemError(SIGNATURE_REPLAYED)


def _free_place(row: Sequence[Snapshot], ask: OfferAsked) -> Snapshot | None:
    """Return the place that the robot has held for this bundle, or the first that is free."""
    mine = ask.robot.robot_id, ask.bundle_id
    free: Snapshot | None = None
    for snapshot in row:
        data = snapshot.to_dict()
        if data is not None and (data["robot_id"], data["bundle_id"]) == mine:
            return snapshot
        if free is None and (data is None or data["expires_at"] + _GRACE <= ask.now):
            free = snapshot
    return free


def _place_fields(deployment: DeploymentRecord) -> dict[str, Any]:
    return {
        "robot_id": deployment.robot_id,
        "bundle_id": deployment.bundle_id,
        "expires_at": deployment.lease_expires_at,
    }


def _robot_record(snapshot: Snapshot) -> RobotRecord | None:
    data = snapshot.to_dict()
    return RobotRecord.from_document(snapshot.id, data) if data else None


def _deployment_record(snapshot: Snapshot) -> DeploymentRecord | None:
    data = snapshot.to_dict()
    return DeploymentRecord.model_validate(data) if data else None


def _offered_fields(ask: OfferAsked) -> dict[str, Any]:
    return {
        "desired_version": ask.choice.bundle.version,
        "ota.offered_bundle_id": ask.bundle_id,
        "ota.software_version": ask.request.software_version,
        "ota.timezone": ask.request.timezone,
    }
