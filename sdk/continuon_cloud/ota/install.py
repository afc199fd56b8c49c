"""One update: judged by signed metadata, brought into the idle slot, tried, kept or given back."""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from continuon.contracts.ota import OfferDirection, ReportError, ReportPhase
from continuon.ota.errors import VersionError
from continuon.ota.versions import is_lower, parse_version, satisfies
from continuon_cloud.ota.download import BundleDownload, DownloadLimits
from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.ota.faults import FaultPoint, reach
from continuon_cloud.ota.records import Installed, Trial, other_slot
from continuon_cloud.ota.state import report_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import httpx

    from continuon.contracts.ota import OfferedBundle
    from continuon.ota.manifest import BundleManifest
    from continuon_cloud.ota.health import RobotAction
    from continuon_cloud.ota.slots import Slots
    from continuon_cloud.ota.state import AgentState
    from continuon_cloud.ota.verification import Catalogue, VerifiedTarget

__all__ = ["InstallOptions", "Installer"]

SPARE_BYTES: Final = 16 * 1024 * 1024
"""Left free on the robot's disk, in bytes, for its own logs and this agent's state."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """How this robot installs.

    Attributes:
        software_version: Of the robot's own software; held against ``requires_version``.
        health: Says whether a bundle works; without it, that its files are whole is enough.
        activate: Makes the robot's software use what ``current`` names, after each change.
        limits: Of the download.
    """

    software_version: str
    health: RobotAction | None = None
    activate: RobotAction | None = None
    limits: DownloadLimits = field(default_factory=DownloadLimits)


class Installer:
    """Installs offers on one robot."""

    def __init__(
        self,
        folder: Path,
        *,
        state: AgentState,
        slots: Slots,
        http: httpx.AsyncClient,
        options: InstallOptions,
        robot_model: str,
    ) -> None:
        self._folder = folder
        self._state = state
        self._slots = slots
        self._http = http
        self._options = options
        self._robot_model = robot_model

    async def install(
        self, offer: OfferedBundle, catalogue: Catalogue, renew: Callable[[], Awaitable[str]]
    ) -> bool:
        """Install what is offered, if signed metadata allows it.

        Returns:
            False when the robot runs it already.

        Raises:
            UpdateError: It is not installed; the robot runs what it ran before.
            OSError: The disk is full or fails; as above.
        """
        target = catalogue.find(offer.target_path)
        running = self._state.committed()
        if running is not None and running.sha256 == target.sha256:
            return False
        self._judge(offer, target, catalogue, running)
        slot = await self._bring(offer, target, running, renew)
        installed = Installed(slot, target.bundle_id, target.version, target.sha256)
        await self._try(Trial(installed), running)
        return True

    async def follow(self, running: Installed | None) -> None:
        """Make the robot's software use the committed bundle again."""
        try:
            await self._activate(running)
        except UpdateError as error:
            _LOG.warning("the robot's software did not follow back: %s", error)

    # --- May it be installed? -------------------------------------------------------------------

    def _judge(
        self,
        offer: OfferedBundle,
        target: VerifiedTarget,
        catalogue: Catalogue,
        running: Installed | None,
    ) -> None:
        if (target.bundle_id, target.version) != (offer.bundle_id, offer.version):
            raise UpdateError("the offer names another bundle", code="trust.wrong_offer")
        self._check_requirement(target.requires_version)
        if running is None or is_lower(running.version, target.version):
            return
        if not is_lower(target.version, running.version):
            raise UpdateError(
                f"{target.version} runs already, with other content", code="ota.version_lower"
            )
        self._check_way_back(offer, target, catalogue, running)

    def _check_way_back(
        self,
        offer: OfferedBundle,
        target: VerifiedTarget,
        catalogue: Catalogue,
        running: Installed,
    ) -> None:
        """A lower version needs more than the cloud's word, which a thief may have.

        One of three things: the publisher's signature says that the running version is withdrawn;
        this robot ran the lower one itself, and well, immediately before; or the publisher signed
        it as a way back from the highest version that ever ran here. The highest and not the
        present one: a thief who may go up a little and down a little would reach the very first.
        """
        previous = self._state.previous()
        was_here = previous is not None and previous.sha256 == target.sha256
        withdrawn = not catalogue.lists(running.version)
        known = [one for one in self._state.versions() if catalogue.lists(one)]
        highest = max(known, key=parse_version, default=running.version)
        foreseen = catalogue.allows_back(highest, target.version)
        allowed = withdrawn or was_here or foreseen
        if offer.direction is not OfferDirection.BACK or not allowed:
            raise UpdateError(
                f"{target.version} is lower than {running.version}, which is not withdrawn; and "
                f"{highest} does not name it as a way back",
                code="ota.version_lower",
            )

    def _check_requirement(self, requirement: str) -> None:
        try:
            fits = satisfies(self._options.software_version, requirement)
        except VersionError as error:
            raise UpdateError(str(error), code="ota.requires_version") from error
        if not fits:
            raise UpdateError(
                f"needs software {requirement}, this robot has {self._options.software_version}",
                code="ota.requires_version",
            )

    def _accept(self, target: VerifiedTarget, manifest: BundleManifest) -> None:
        found = (manifest.robot_model, manifest.version, manifest.requires_version)
        if found != (self._robot_model, target.version, target.requires_version):
            raise UpdateError(
                "the bundle's manifest says something else than its signature",
                code="trust.manifest",
            )
        self._check_requirement(manifest.requires_version)

    # --- Into the idle slot ---------------------------------------------------------------------

    async def _bring(
        self,
        offer: OfferedBundle,
        target: VerifiedTarget,
        running: Installed | None,
        renew: Callable[[], Awaitable[str]],
    ) -> str:
        slot = other_slot(running.slot if running else None)
        # Whole already, as after a trial that was cut short: then no network is needed.
        if await asyncio.to_thread(self._slots.holds, slot, target.sha256):
            self._report(target, ReportPhase.VERIFIED)
            return slot
        self._report(target, ReportPhase.DOWNLOADING)
        download = BundleDownload(self._folder / "downloads", target, self._options.limits)
        await asyncio.to_thread(self._make_room, slot, target, download)
        archive = await download.run(self._http, offer.url, renew)
        self._report(target, ReportPhase.VERIFIED)
        one = Installed(slot, target.bundle_id, target.version, target.sha256)
        await asyncio.to_thread(
            self._slots.unpack, one, archive, lambda manifest: self._accept(target, manifest)
        )
        download.remove()
        return slot

    def _make_room(self, slot: str, target: VerifiedTarget, download: BundleDownload) -> None:
        needed = download.missing_bytes() + target.size_bytes + SPARE_BYTES
        if shutil.disk_usage(self._folder).free < needed:
            # It is about to be replaced anyway; until then it was the way back without network.
            self._slots.drop(slot)
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise UpdateError(
                f"{needed} bytes are needed and {free} are free", code="ota.disk_full"
            )

    # --- Does it work? --------------------------------------------------------------------------

    async def _try(self, trial: Trial, running: Installed | None) -> None:
        one = trial.installed
        version = running.version if running else None
        report = report_of(one.bundle_id, ReportPhase.INSTALLED, version)
        self._state.begin_trial(trial, report)
        try:
            self._slots.point_to(one.slot)
            await self._activate(one)
            reach(FaultPoint.HEALTH_STARTED)
            await self._check_health(one)
            reach(FaultPoint.HEALTH_KNOWN)
            self._state.commit_trial(
                trial, report_of(one.bundle_id, ReportPhase.HEALTHY, one.version)
            )
        except UpdateError as error:
            await self._give_back(trial, running, error)
            raise
        except BaseException:
            # A full disk, or the agent is being stopped: the trial is neither good nor bad, unless
            # that came just after it was committed.
            kept = self._state.committed()
            self._slots.point_to(kept.slot if kept else None)
            raise

    async def _check_health(self, one: Installed) -> None:
        if self._options.health is not None:
            await self._options.health.run(one, self._slots.path(one.slot))
        else:
            await asyncio.to_thread(self._slots.verify, one.slot)

    async def _activate(self, one: Installed | None) -> None:
        if self._options.activate is not None:
            await self._options.activate.run(one, self._slots.path(one.slot) if one else None)

    async def _give_back(self, trial: Trial, running: Installed | None, error: UpdateError) -> None:
        self._slots.point_to(running.slot if running else None)
        await self.follow(running)
        phase = ReportPhase.ROLLED_BACK if running else ReportPhase.FAILED
        said = ReportError(code=error.code, message=str(error)[:1000])
        version = running.version if running else None
        self._state.end_trial(report_of(trial.installed.bundle_id, phase, version, said))

    def _report(self, target: VerifiedTarget, phase: ReportPhase) -> None:
        running = self._state.committed()
        version = running.version if running else None
        self._state.queue_report(report_of(target.bundle_id, phase, version))
