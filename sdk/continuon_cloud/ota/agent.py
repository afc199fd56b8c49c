"""The robot's update agent: asks, installs, reports, and always has a way back.

A round is: recover, send what is still to be reported, ask, install, report. Whatever fails in it,
the robot keeps the bundle that has proven itself, and the next round comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from continuon.contracts.ota import (
    CheckRequest,
    CheckResponse,
    ReportError,
    ReportPhase,
    ReportRequest,
)
from continuon_cloud.errors import ApiProblem, ClientError, UnreachableError
from continuon_cloud.files import private_folder
from continuon_cloud.ota.clock import TrustedClock
from continuon_cloud.ota.errors import DownloadBrokeError, UpdateError
from continuon_cloud.ota.fetcher import METADATA_DEADLINE_S, CappedFetcher
from continuon_cloud.ota.install import Installer, InstallOptions
from continuon_cloud.ota.recovery import recover
from continuon_cloud.ota.situation import read_state, read_tasks
from continuon_cloud.ota.slots import Slots
from continuon_cloud.ota.state import AgentState, report_of
from continuon_cloud.ota.verification import Verifier
from continuon_cloud.queue.backoff import backoff_s

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from continuon.contracts.ota import OfferedBundle, RobotState
    from continuon_cloud.client import ContinuonClient
    from continuon_cloud.ota.records import Installed

__all__ = ["AgentOptions", "Round", "UpdateAgent"]

NOTICE_FILE: Final = "check-now"
JITTER: Final = 0.1
"""Share by which a wait is drawn shorter or longer, so that a fleet does not ask in step."""

_NOTICE_POLL_S: Final = 1.0
_NETWORK: Final = frozenset({"trust.slow", "trust.unreachable"})
_PATIENCE: Final = frozenset({401, 403, 408, 425, 429})
"""Refusals of a report that may end: of a clock, of a revoked key, of too many calls."""

_SERVER_ERROR: Final = 500

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How an agent works.

    Attributes:
        install: How bundles are installed.
        interval_s: Between two checks when the cloud names no time.
        timezone: IANA name, for maintenance windows; None for UTC.
        state_file: Where the robot's software says what it is doing, see `situation`.
        assume_ready: The robot may be updated whenever the state file does not say otherwise.
        tasks_file: Where it says how its tasks go.
        metadata_deadline_s: For one metadata file.
    """

    install: InstallOptions
    interval_s: float = 900.0
    timezone: str | None = None
    state_file: Path | None = None
    assume_ready: bool = False
    tasks_file: Path | None = None
    metadata_deadline_s: float = METADATA_DEADLINE_S


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did.

    Attributes:
        outcome: ``installed``, ``up_to_date``, ``failed``, ``refused`` (the check itself),
            ``unreachable``, or the service's reason for a no.
        detail: A sentence.
        version: Of the bundle that runs now, or None.
        wait_s: Until the next round, before jitter.
    """

    outcome: str
    detail: str
    version: str | None
    wait_s: float


class UpdateAgent:
    """Keeps one robot's bundle current. Use it as a context manager."""

    def __init__(
        self,
        client: ContinuonClient,
        folder: Path,
        options: AgentOptions,
        *,
        clock: TrustedClock | None = None,
        durable: bool = True,
    ) -> None:
        """Work for the client's robot in ``folder``; not ``durable`` is for simulated robots.

        Raises:
            UpdateError: The client acts for no robot, or the state is damaged.
        """
        if client.robot is None:
            raise UpdateError("an agent acts for a robot", code="ota.no_robot")
        self._client = client
        self._folder = private_folder(folder)
        self._options = options
        self._clock = clock or TrustedClock()
        self._robot_model = client.robot.ruri.model
        self._slots = Slots(folder)
        self._state = AgentState(folder / "agent.db", durable=durable)
        self._failures = 0
        self._wake = asyncio.Event()
        self._installer = Installer(
            folder,
            state=self._state,
            slots=self._slots,
            http=client.http,
            options=options.install,
            robot_model=self._robot_model,
        )
        self._verifier = Verifier(
            folder,
            client.settings.base_url + "/api/ota/metadata/",
            clock=self._clock,
            state=self._state,
            robot_model=self._robot_model,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._state.close()

    @property
    def running(self) -> Installed | None:
        """The bundle that has proven itself."""
        return self._state.committed()

    # --- The loop -------------------------------------------------------------------------------

    async def run(self, on_round: Callable[[Round], None]) -> None:
        """Work until cancelled."""
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            # Not on Windows, and not beside a loop that is not the main thread's.
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._wake.set)
        while True:
            done = await self.round()
            on_round(done)
            spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter, not a secret
            await self._sleep(done.wait_s * spread)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but end at once on SIGUSR1 and soon after the notice file appears."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0 and not self._wake.is_set():
            if self._noticed():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _NOTICE_POLL_S)):
                    await self._wake.wait()
        self._wake.clear()

    def _noticed(self) -> bool:
        notice = self._folder / NOTICE_FILE
        if not notice.exists():
            return False
        notice.unlink(missing_ok=True)
        return True

    async def round(self) -> Round:
        """Do one round; never raises for anything that the world can do to a robot."""
        try:
            found = await self._round()
        except (OSError, sqlite3.Error) as error:
            # A full or failing disk: nothing could be written, not even the report of it.
            _LOG.warning("the disk is in the way: %s", error)
            found = self._retry("failed", f"the disk is in the way: {error}")
        except (UnreachableError, ApiProblem) as error:
            found = self._unanswered(error)
        except ClientError as error:
            found = self._retry("failed", f"{error.code}: {error}")
        return found

    async def _round(self) -> Round:
        await self._recover()
        await self._send_reports()
        self._report_tasks()
        answer = await self._check()
        if not answer.update or answer.bundle is None:
            await self._send_reports()
            return self._nothing(answer)
        done = await self._install(answer.bundle)
        await self._send_reports()
        return done

    async def _recover(self) -> None:
        cut_short = self._state.trial() is not None
        found = recover(self._state, self._slots)
        if cut_short:
            # The robot may still use what was tried: only the agent may have died.
            await self._installer.follow(found)

    def _unanswered(self, error: UnreachableError | ApiProblem) -> Round:
        refused = isinstance(error, ApiProblem) and error.status < _SERVER_ERROR
        retry_after_s = error.retry_after_s if isinstance(error, ApiProblem) else None
        outcome = "refused" if refused else "unreachable"
        return self._retry(outcome, f"{error.code}: {error}", retry_after_s)

    def _nothing(self, answer: CheckResponse) -> Round:
        self._failures = 0
        reason = answer.reason.value if answer.reason else "no_rollout"
        wait_s = float(answer.retry_after_s or self._options.interval_s)
        return Round(reason, answer.detail or reason.replace("_", " "), self._version(), wait_s)

    def _retry(self, outcome: str, detail: str, retry_after_s: float | None = None) -> Round:
        self._failures += 1
        wait_s = max(backoff_s(self._failures, retry_after_s=retry_after_s), 1.0)
        return Round(outcome, detail, self._version(), wait_s)

    def _version(self) -> str | None:
        with contextlib.suppress(sqlite3.Error):
            found = self._state.committed()
            return found.version if found else None
        return None

    # --- One offer ------------------------------------------------------------------------------

    async def _check(self) -> CheckResponse:
        found = self._state.committed()
        return await self._client.check_update(
            CheckRequest(
                version=found.version if found else None,
                bundle_id=found.bundle_id if found else None,
                software_version=self._options.install.software_version,
                state=self._situation(),
                timezone=self._options.timezone,
            )
        )

    def _situation(self) -> RobotState:
        options = self._options
        return read_state(options.state_file, self._folder, assume_ready=options.assume_ready)

    async def _install(self, offer: OfferedBundle) -> Round:
        try:
            changed = await self._update(offer)
        except UpdateError as error:
            _LOG.warning("%s is not installed: %s (%s)", offer.bundle_id, error, error.code)
            if not (isinstance(error, DownloadBrokeError) or error.code in _NETWORK):
                self._report_failure(offer, error)
            return self._retry("failed", f"{error.code}: {error}")
        except OSError as error:
            _LOG.warning("%s is not installed: %s", offer.bundle_id, error)
            self._report_failure(offer, UpdateError(str(error), code="ota.disk"))
            return self._retry("failed", f"ota.disk: {error}")
        self._failures = 0
        outcome = "installed" if changed else "up_to_date"
        detail = f"{offer.version} {'is installed' if changed else 'runs already'}"
        return Round(outcome, detail, self._version(), self._options.interval_s)

    async def _update(self, offer: OfferedBundle) -> bool:
        loop = asyncio.get_running_loop()
        fetcher = CappedFetcher(
            self._client.http, loop, self._clock, deadline_s=self._options.metadata_deadline_s
        )
        catalogue = await self._verifier.catalogue(fetcher)

        async def renew() -> str:
            again = await self._check()
            if again.bundle is None or again.bundle.target_path != offer.target_path:
                raise DownloadBrokeError("the offer was taken back", code="ota.offer_gone")
            return again.bundle.url

        changed = await self._installer.install(offer, catalogue, renew)
        if not changed:
            # The cloud does not know yet: a report was lost.
            self._queue(offer.bundle_id, ReportPhase.HEALTHY)
        return changed

    # --- Reports --------------------------------------------------------------------------------

    def _queue(self, bundle_id: str, phase: ReportPhase, error: ReportError | None = None) -> None:
        self._state.queue_report(report_of(bundle_id, phase, self._version(), error))

    def _report_failure(self, offer: OfferedBundle, error: UpdateError) -> None:
        """Report a failure, unless the trial did so itself in the transaction that ended it."""
        reports = self._state.reports()
        ended = {ReportPhase.FAILED.value, ReportPhase.ROLLED_BACK.value}
        if reports:
            last: dict[str, Any] = reports[-1][1]
            if last["bundle_id"] == offer.bundle_id and last["phase"] in ended:
                return
        said = ReportError(code=error.code, message=str(error)[:1000])
        with contextlib.suppress(OSError, sqlite3.Error):
            self._queue(offer.bundle_id, ReportPhase.FAILED, said)

    def _report_tasks(self) -> None:
        found = self._state.committed()
        if found is None:
            return
        totals = read_tasks(self._options.tasks_file, found.bundle_id)
        task = totals.model_dump() if totals else None
        fact = {"bundle_id": found.bundle_id, **(task or {})}
        if task is None or self._state.last_task() == fact:
            return
        report = report_of(found.bundle_id, ReportPhase.HEALTHY, found.version, task=task)
        self._state.task_reported(fact, report)

    async def _send_reports(self) -> None:
        """Send what waits, oldest first; what does not get through waits on."""
        renumbered = False
        waiting = self._state.reports()
        while waiting:
            sequence, body = waiting.pop(0)
            try:
                answer = await self._client.report_update(ReportRequest.model_validate(body))
            except UnreachableError:
                return
            except ApiProblem as error:
                if error.status >= _SERVER_ERROR or error.status in _PATIENCE:
                    return
                _LOG.warning("a report of %s is refused: %s", body["bundle_id"], error)
            else:
                if not answer.applied and answer.last_sequence > sequence and not renumbered:
                    renumbered = True
                    self._state.sequence_known(answer.last_sequence)
                    waiting = self._state.reports()
                    continue
            self._state.report_settled(sequence)
