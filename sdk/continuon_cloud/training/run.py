"""Run a trainer as contract 1 says: its output is the log, its end is an exit status."""

from __future__ import annotations

import signal
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from continuon.errors import ContinuonError
from continuon_cloud.errors import ClientError
from continuon_cloud.training.errors import (
    CloudLostError,
    StoppedError,
    TrainerContextError,
    TrainerExit,
)
from continuon_cloud.training.job import TrainerJob
from continuon_cloud.training.output import captured_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["run_trainer"]

_TERMINATED: Final = "terminated"


def run_trainer(train: Callable[[TrainerJob], None]) -> int:
    """Call ``train`` with the job of this process and return the exit status.

    ``train`` ends the job with `TrainerJob.complete`. What it raises is reported as the job's
    failure, with the traceback in the log. SIGTERM ends it where it is: nothing is reported, and
    the job goes on from its last checkpoint.

    Args:
        train: The training.
    """
    try:
        job = TrainerJob()
    except TrainerContextError as error:
        _say(error)
        return TrainerExit.USAGE
    except ClientError as error:
        _say(error)
        return _exit_of(error)
    with job, captured_output(job.log_text, job.context.token):
        try:
            with _ended_by_sigterm():
                _train(train, job)
        except (StoppedError, CloudLostError) as error:
            _say(error)
            return _exit_of(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job's owner has to see it
            return _report(job, error)
    return TrainerExit.COMPLETED


def _train(train: Callable[[TrainerJob], None], job: TrainerJob) -> None:
    train(job)
    if not job.ended:
        raise ClientError(
            "the trainer returned without a model",
            code="trainer.no_model",
            hint="End it with job.complete(model_file).",
        )


def _report(job: TrainerJob, error: Exception) -> TrainerExit:
    code = getattr(error, "code", None)
    if isinstance(error, ContinuonError) and isinstance(code, str):
        message = ". ".join(filter(None, (str(error), getattr(error, "hint", ""))))
        _say(error)
    else:
        code, message = "trainer.crashed", f"{type(error).__name__}: {error}"
        sys.stderr.write("".join(traceback.format_exception(error)))
    try:
        job.fail(code, message)
    except (StoppedError, CloudLostError) as ended:
        return _exit_of(ended)
    except ClientError as refused:
        _say(refused)
    return TrainerExit.FAILED


def _exit_of(error: ClientError) -> TrainerExit:
    if isinstance(error, StoppedError):
        return TrainerExit.TERMINATED if error.reason == _TERMINATED else TrainerExit.STOPPED
    return TrainerExit.LOST if isinstance(error, CloudLostError) else TrainerExit.FAILED


def _say(error: ContinuonError) -> None:
    code = getattr(error, "code", "error")
    hint = getattr(error, "hint", "")
    sys.stderr.write(f"{code}: {error}\n" + (f"{hint}\n" if hint else ""))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an error where the training is; only the main thread can."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise StoppedError(_TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:
        # Not the main thread, such as a notebook's: SIGTERM ends the process as it always does.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
