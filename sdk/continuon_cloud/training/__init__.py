"""Training: start and follow jobs, be a worker, and write a trainer.

A trainer is a program that a back end or `continuon worker` starts. With this package::

    import sys
    from continuon_cloud.training import TrainerJob, run_trainer

    def train(job: TrainerJob) -> None:
        dataset = job.load_episodes(batch_steps=256)
        ...
        job.complete(model_file)

    sys.exit(run_trainer(train))
"""

from typing import TYPE_CHECKING, Any

from continuon_cloud.training.client import TrainingClient
from continuon_cloud.training.errors import (
    CloudLostError,
    StoppedError,
    TrainerContextError,
    TrainerExit,
)

if TYPE_CHECKING:
    from continuon_cloud.training.context import JobContext
    from continuon_cloud.training.job import TrainerJob
    from continuon_cloud.training.run import run_trainer

__all__ = [
    "CloudLostError",
    "JobContext",
    "StoppedError",
    "TrainerContextError",
    "TrainerExit",
    "TrainerJob",
    "TrainingClient",
    "run_trainer",
]


def __getattr__(name: str) -> Any:
    # On first use: the command starts faster without the validator.
    if name in {"JobContext", "TrainerJob", "run_trainer"}:
        from continuon_cloud.training import context, job, run  # noqa: PLC0415

        found = {
            "JobContext": context.JobContext,
            "TrainerJob": job.TrainerJob,
            "run_trainer": run.run_trainer,
        }
        return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
