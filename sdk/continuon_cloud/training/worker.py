"""A worker: leases jobs, runs the trainer for each, gives back what it cannot finish.

It only asks: no port has to be open. It may die at any moment: its trainer ends with it, the lease
runs out, and the job goes on elsewhere from its last checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from continuon.contracts.training import (
    CallbackRequest,
    CallbackState,
    HeartbeatRequest,
    JobError,
    LeaseRequest,
    ReleaseRequest,
)
from continuon.limits import MAX_JOB_ERROR_CHARS
from continuon_cloud.errors import ApiProblem, ClientError, UnreachableError
from continuon_cloud.training.api import JobApi, Patience
from continuon_cloud.training.errors import CloudLostError, StoppedError, TrainerExit
from continuon_cloud.training.process import DEFAULT_COMMAND, TrainerProcess, trainer_environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from continuon.contracts.training import LeaseResponse
    from continuon_cloud.client import ContinuonClient

__all__ = ["JobEnd", "Watcher", "Worker", "WorkerOptions"]

Outcome = Literal["completed", "failed", "stopped", "released"]

FIRST_IDLE_S: Final = 2.0
LONGEST_IDLE_S: Final = 30.0
"""Between two questions when there is no job: half a minute is little against a training, and an
idle worker costs the cloud two requests a minute."""

LONGEST_OUTAGE_WAIT_S: Final = 60.0
"""Between two questions when the cloud is out of reach."""

_TAIL_CHARS: Final = MAX_JOB_ERROR_CHARS - 200
"""Of a mute trainer's output, behind a sentence."""

_LAST_WORDS_S: Final = 10.0
"""How long a worker that is ending tries to give its job back; then the lease has to run out."""

_GIVEN_BACK: Final = {TrainerExit.LOST, TrainerExit.TERMINATED}
_KILLED: Final = 128
_TEMPORARY: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500


class Watcher(Protocol):
    """Is told what a worker does."""

    def idle(self, next_question_s: float, reason: str) -> None:
        """There is no job, or no answer."""

    def started(self, lease: LeaseResponse) -> None:
        """A job was leased and its trainer runs."""

    def said(self, line: str) -> None:
        """The trainer said something."""

    def ended(self, end: JobEnd) -> None:
        """The trainer ended."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job left this worker.

    Attributes:
        job_id: Which.
        attempt: Of the job.
        outcome: ``released`` means that it goes on, here or elsewhere.
        exit_status: Of the trainer.
        seconds: That it was here.
    """

    job_id: str
    attempt: int
    outcome: Outcome
    exit_status: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        worker_id: Its name, shown with the job.
        backend_label: Which jobs it takes.
        folder: Scratch space and the cache of episodes; of this worker alone.
        command: The trainer.
        passed: Variables that the trainer is given in addition.
        max_jobs: Ends after so many; None for no end.
        max_idle_s: Ends after so long without a job; None for no end.
    """

    worker_id: str
    backend_label: str
    folder: Path
    command: Sequence[str] = DEFAULT_COMMAND
    passed: Sequence[str] = ()
    max_jobs: int | None = None
    max_idle_s: float | None = None


@dataclass(slots=True)
class _Run:
    """One job at work."""

    lease: LeaseResponse
    api: JobApi
    trainer: TrainerProcess
    stopped: str = ""
    started_at: float = field(default_factory=time.monotonic)


class Worker:
    """Works until it is told to stop.

    Args:
        client: Of the person whose jobs it takes; only it ever uses the person's token.
        options: How it works.
        watcher: Is told what happens.
    """

    def __init__(self, client: ContinuonClient, options: WorkerOptions, watcher: Watcher) -> None:
        self._client = client
        self._options = options
        self._watcher = watcher
        self._ending = asyncio.Event()
        self._failures = 0
        self._idle_turns = 0

    def stop(self) -> None:
        """End soon: the trainer is stopped and its job given back. For signal handlers."""
        self._ending.set()

    async def run(self) -> list[JobEnd]:
        """Lease and run jobs until told to stop; return how each left.

        Raises:
            ApiProblem: The person may not lease jobs, or the request is refused for good.
            ClientError: Nobody is signed in.
        """
        ends: list[JobEnd] = []
        # What a worker that was killed left behind; nobody else uses this folder.
        await asyncio.to_thread(shutil.rmtree, self._options.folder / "jobs", ignore_errors=True)
        idle_since = time.monotonic()
        while not self._ending.is_set():
            lease, problem = await self._lease()
            if lease is not None:
                ends.append(await self._work(lease))
                if len(ends) == self._options.max_jobs:
                    break
                idle_since = time.monotonic()
                continue
            limit = self._options.max_idle_s
            if limit is not None and time.monotonic() - idle_since >= limit:
                break
            await self._wait(problem)
        return ends

    async def _lease(self) -> tuple[LeaseResponse | None, UnreachableError | ApiProblem | None]:
        request = LeaseRequest(
            worker_id=self._options.worker_id, backend_label=self._options.backend_label
        )
        try:
            lease = await self._client.training.lease(request)
        except UnreachableError as error:
            return None, error
        except ApiProblem as error:
            if error.status in _TEMPORARY or error.status >= _SERVER_ERROR:
                return None, error
            raise
        return lease, None

    async def _wait(self, problem: UnreachableError | ApiProblem | None) -> None:
        """Wait before the next question: longer each time, and never in step with others."""
        if problem is None:
            self._failures, self._idle_turns = 0, self._idle_turns + 1
            bound = min(LONGEST_IDLE_S, FIRST_IDLE_S * 2.0 ** min(self._idle_turns - 1, 8))
        else:
            self._failures += 1
            bound = min(LONGEST_OUTAGE_WAIT_S, 2.0 ** min(self._failures, 8))
        wait_s = random.uniform(bound / 2, bound)  # noqa: S311 - jitter, not a secret
        if isinstance(problem, ApiProblem) and problem.retry_after_s is not None:
            wait_s = max(wait_s, problem.retry_after_s)
        self._watcher.idle(wait_s, "no job waits" if problem is None else str(problem))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), wait_s)

    async def _work(self, lease: LeaseResponse) -> JobEnd:
        self._idle_turns = 0
        folder = self._options.folder / "jobs" / f"{lease.job_id}-{lease.attempt}"
        cache = self._options.folder / "episodes"
        await asyncio.to_thread(_fresh, folder, cache)
        run = await self._start(lease, folder, cache)
        self._watcher.started(lease)
        try:
            status = await self._watch(run)
            outcome = await self._settle(run, status)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        seconds = time.monotonic() - run.started_at
        end = JobEnd(lease.job_id, lease.attempt, outcome, status, seconds)
        self._watcher.ended(end)
        return end

    async def _start(self, lease: LeaseResponse, folder: Path, cache: Path) -> _Run:
        # This machine reached the cloud under this address; one the cloud knows may not work here.
        api_url = self._client.settings.base_url
        environment = trainer_environment(
            lease, api_url=api_url, folder=folder, cache=cache, passed=self._options.passed
        )
        api = JobApi(self._client.http, api_url, lease.job_id, lease.token, Patience())
        trainer = await TrainerProcess.start(
            self._options.command,
            environment=environment,
            folder=folder,
            on_line=self._watcher.said,
        )
        return _Run(lease, api, trainer)

    async def _watch(self, run: _Run) -> int:
        """Return the trainer's exit status, once it ended or had to be ended."""
        ended = asyncio.create_task(run.trainer.wait())
        told = asyncio.create_task(self._ending.wait())
        beating = asyncio.create_task(self._beat(run))
        tasks = {ended, told, beating}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                return await run.trainer.end()
            return ended.result()
        finally:
            for task in (told, beating):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self, run: _Run) -> None:
        """Say that the job is alive; return when it is to end.

        The trainer does the same once it runs. This covers its start, a trainer that does not, and
        one that does not listen.
        """
        request = HeartbeatRequest(attempt=run.lease.attempt)
        while True:
            await asyncio.sleep(run.lease.heartbeat_s)
            try:
                answer = await run.api.heartbeat(request)
            except (StoppedError, CloudLostError) as error:
                run.stopped = error.reason if isinstance(error, StoppedError) else "lost"
                return
            except ApiProblem:
                continue
            if answer.stop:
                run.stopped = answer.stop_reason.value if answer.stop_reason else "stopped"
                return

    async def _settle(self, run: _Run, status: int) -> Outcome:
        """Tell the cloud what the trainer could not say itself."""
        if run.stopped or status == TrainerExit.STOPPED:
            return "stopped"
        run.api.patience = Patience(_LAST_WORDS_S)
        if status in _GIVEN_BACK or status > _KILLED or (self._ending.is_set() and status):
            await self._release(run, status)
            return "released"
        reported = await self._report_failure(run, status)
        return "completed" if status == TrainerExit.COMPLETED and not reported else "failed"

    async def _release(self, run: _Run, status: int) -> None:
        reason = f"the trainer ended with status {status}"
        # Refused: it ended or went to another worker. No answer: its lease runs out by itself.
        with contextlib.suppress(ClientError):
            await run.api.release(ReleaseRequest(attempt=run.lease.attempt, reason=reason))

    async def _report_failure(self, run: _Run, status: int) -> bool:
        """Fail a job whose trainer ended without a word; tell whether it had to be said."""
        try:
            assignment = await run.api.assignment()
            message = f"The trainer ended with status {status} and did not report its end."
            request = CallbackRequest(
                attempt=run.lease.attempt,
                sequence=assignment.sequence + 1,
                state=CallbackState.FAILED,
                error=JobError(
                    code="trainer.exit",
                    # The end of the output: that is where a traceback says what happened.
                    message=f"{message}\n{run.trainer.tail[-_TAIL_CHARS:]}",
                ),
            )
            return (await run.api.callback(request)).applied
        except ClientError:
            # It has ended, as it should, or went to another worker, or the cloud is silent.
            return False


def _fresh(folder: Path, cache: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    cache.mkdir(parents=True, exist_ok=True)
