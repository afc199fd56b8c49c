"""A job as its trainer sees it: what to do, what to go on from, what came of it."""

from __future__ import annotations

import contextlib
import math
import shutil
from typing import TYPE_CHECKING, Any, Self

from continuon.contracts.training import (
    ArtifactKind,
    AssignedBase,
    CallbackState,
    JobError,
    JobStatus,
    MetricRow,
)
from continuon.limits import MAX_JOB_ERROR_CHARS
from continuon_cloud.dataset import load_episodes
from continuon_cloud.errors import ClientError
from continuon_cloud.training.api import GIVE_UP_S, JobApi, Patience
from continuon_cloud.training.artifacts import fetch_base, fetch_checkpoint, store_artifact
from continuon_cloud.training.context import JobContext
from continuon_cloud.training.episodes import fetch_assigned
from continuon_cloud.training.errors import StoppedError
from continuon_cloud.training.loop import BackgroundLoop
from continuon_cloud.training.reporter import Reporter
from continuon_cloud.transport import new_http

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from continuon.contracts.training import Assignment
    from continuon_cloud.dataset import EpisodeDataset

__all__ = ["TrainerJob"]

_LAST_WORDS_S = 10.0
"""How long the last log and metrics may hold up a trainer that is ending: back ends kill what is
still there half a minute after SIGTERM."""


class TrainerJob:
    """One attempt of one job.

    Use it as a context manager. While it is open, heartbeats, metrics and the log go to the cloud
    in the background. Every method that reports raises `StoppedError` once the job is to end (it
    was cancelled, is out of money or time, or was given to another worker), and `CloudLostError`
    when the cloud did not answer for too long: let both end the program.

    Attributes:
        context: Where the cloud is and who this is.
        assignment: What is to be done.
        ended: Whether `complete` or `fail` was reported.
    """

    def __init__(self, context: JobContext | None = None, *, give_up_s: float = GIVE_UP_S) -> None:
        """Fetch the assignment.

        Args:
            context: From the environment when left out.
            give_up_s: Seconds without an answer after which the trainer ends.

        Raises:
            TrainerContextError: The environment is not that of a trainer.
            StoppedError: The job has ended or was given to another worker.
            CloudLostError: No answer.
        """
        self.context = context or JobContext.from_environment()
        self.ended = False
        self._loop = BackgroundLoop()
        self._api: JobApi = self._loop.run(self._connect(give_up_s))
        try:
            self.assignment: Assignment = self._loop.run(self._api.assignment())
        except BaseException:
            self._loop.close()
            raise
        self._reporter = self._loop.run(self._reporting())
        self._background = self._loop.start(self._reporter.run())
        self.context.work_dir.mkdir(parents=True, exist_ok=True)

    async def _connect(self, give_up_s: float) -> JobApi:
        context = self.context
        patience = Patience(give_up_s)
        return JobApi(new_http(), context.api_url, context.job_id, context.token, patience)

    async def _reporting(self) -> Reporter:
        assignment = self.assignment
        return Reporter(
            self._api,
            attempt=self.context.attempt,
            sequence=assignment.sequence,
            heartbeat_s=assignment.heartbeat_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- What to do ------------------------------------------------------------------------------

    @property
    def hyperparams(self) -> dict[str, Any]:
        """What the job's owner asked for; nobody has checked it."""
        return self.assignment.hyperparams

    @property
    def work_dir(self) -> Path:
        """Scratch space."""
        return self.context.work_dir

    @property
    def checkpoint_step(self) -> int:
        """The step to go on from; 0 at the first start."""
        checkpoint = self.assignment.checkpoint
        return 0 if checkpoint is None or checkpoint.step is None else checkpoint.step

    @property
    def stopping(self) -> str | None:
        """Why the job is to end, or None."""
        return self._api.patience.reason

    def check(self) -> None:
        """Raise `StoppedError` or `CloudLostError` if the job is to end."""
        self._api.patience.check()
        if self._background.done():
            # It only ends by a defect, and without heartbeats the job would be lost unnoticed.
            self._background.result()

    def load_episodes(self, **options: Any) -> EpisodeDataset:
        """Download the job's episodes into the cache, compare their digests, and load them.

        Args:
            **options: As of `continuon_cloud.load_episodes`.

        Raises:
            DownloadError: An episode is not what was validated.
            DatasetError: They cannot be used together.
        """
        folders = self._loop.run(fetch_assigned(self._api, self.assignment, self.context.cache_dir))
        self.check()
        return load_episodes(folders, **options)

    def restore(self) -> Path | None:
        """Return the file of the last checkpoint, downloaded and compared; None at the start."""
        checkpoint = self.assignment.checkpoint
        if checkpoint is None:
            return None
        folder = self.work_dir / "restored"
        folder.mkdir(parents=True, exist_ok=True)
        return self._loop.run(fetch_checkpoint(self._api, checkpoint, folder))

    def base_model(self) -> Path | None:
        """Return the file of the model to start from, downloaded and compared; None without one.

        A checkpoint comes first: ask only where `restore` returned None.

        Raises:
            DownloadError: It is not what is registered.
            StoppedError: It was deleted meanwhile, and the job failed.
        """
        base = self.assignment.model_base
        if not isinstance(base, AssignedBase):
            return None
        folder = self.work_dir / "base"
        folder.mkdir(parents=True, exist_ok=True)
        return self._loop.run(fetch_base(self._api, base, folder))

    # --- What came of it -------------------------------------------------------------------------

    def log_metrics(self, step: int, split: str | None = None, **values: float) -> None:
        """Report numbers of a step, such as ``job.log_metrics(200, "train", loss=0.5)``.

        Returns at once; what is not finite is left out.
        """
        self.check()
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        row = MetricRow.model_validate({"step": step, "split": split, **finite})
        self._reporter.leave_row(row)

    def log_text(self, text: str) -> None:
        """Add to the job's log; `run_trainer` does this with all output."""
        self._reporter.leave_text(text)

    def save_checkpoint(self, step: int, path: Path, **metrics: float) -> str:
        """Store a file from which the job can go on at ``step``, and say so; return its reference.

        When this returns, a successor starts here.
        """
        self._loop.run(self._reporter.flush())
        named = self._named(path, f"checkpoint-{step:09d}{path.suffix}")
        try:
            ref = self._loop.run(
                store_artifact(self._api, named, kind=ArtifactKind.CHECKPOINT, step=step)
            )
        finally:
            named.unlink(missing_ok=True)
        report = {"step": step, "checkpoint_ref": ref, "metrics": metrics or None}
        self._loop.run(self._reporter.callback(state=CallbackState.RUNNING, **report))
        return ref

    def save_artifact(self, path: Path, kind: ArtifactKind) -> str:
        """Store a file that goes with the model, such as its card; return its reference."""
        self.check()
        return self._loop.run(store_artifact(self._api, path, kind=kind))

    def complete(self, model: Path, *, step: int | None = None, **metrics: float) -> None:
        """Store the model and end the job; its registration follows in the cloud.

        Raises:
            StoppedError: The job has ended otherwise in the meantime.
        """
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        ref = self.save_artifact(model, ArtifactKind.MODEL)
        self._loop.run(self._reporter.flush())
        report = {"step": step, "artifact_ref": ref, "metrics": finite or None}
        answer = self._loop.run(self._reporter.callback(state=CallbackState.COMPLETED, **report))
        # Not applied, but completed: an answer that was lost on the way, and the call was repeated.
        if answer.status is not JobStatus.COMPLETED:
            reason = answer.stop_reason.value if answer.stop_reason else answer.status.value
            raise StoppedError(reason)
        self.ended = True

    def fail(self, code: str, message: str) -> None:
        """End the job as failed: for what another attempt would meet again."""
        error = JobError(code=code, message=message[-MAX_JOB_ERROR_CHARS:])
        with contextlib.suppress(ClientError):
            self._loop.run(self._reporter.flush())
        self._loop.run(self._reporter.callback(state=CallbackState.FAILED, error=error))
        self.ended = True

    def stop(self, reason: str) -> None:
        """Make everything that waits or reports end; may be called by a signal handler."""
        self._loop.call_soon(self._api.patience.stop, reason)

    def close(self) -> None:
        """Send what was left, as far as the cloud takes it, and stop."""
        self._background.cancel()
        with contextlib.suppress(ClientError):
            self._loop.run(self._last_words())
        self._loop.close()

    async def _last_words(self) -> None:
        # Why a job was stopped is in its log, so this is tried even then.
        self._api.patience = Patience(_LAST_WORDS_S)
        try:
            await self._reporter.flush()
        finally:
            await self._api.http.aclose()

    def _named(self, path: Path, name: str) -> Path:
        """Give a file the name that its object is to have, without copying it."""
        target = self.work_dir / "outgoing" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, target)
        return target
