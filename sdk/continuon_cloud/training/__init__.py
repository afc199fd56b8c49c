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

from continuon_cloud.training.context import JobContext
from continuon_cloud.training.errors import (
    CloudLostError,
    StoppedError,
    TrainerContextError,
    TrainerExit,
)
from continuon_cloud.training.job import TrainerJob
from continuon_cloud.training.run import run_trainer

__all__ = [
    "CloudLostError",
    "JobContext",
    "StoppedError",
    "TrainerContextError",
    "TrainerExit",
    "TrainerJob",
    "run_trainer",
]
