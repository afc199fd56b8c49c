"""A whole trainer: a linear policy on a job's episodes, which can be killed at any moment."""

import sys

import numpy as np

from continuon_cloud.training import TrainerJob, run_trainer


def train(job: TrainerJob) -> None:
    """Take ten passes over the episodes, with a checkpoint after each."""
    data = job.load_episodes(batch_steps=64)
    saved = job.restore()
    weights = np.load(saved) if saved else np.zeros((data.observation_width, data.action_width))
    file = job.work_dir / "weights.npy"
    for epoch in range(job.checkpoint_step, 10):
        for batch in data.batches("train", shuffle=f"pass {epoch}"):
            error = batch.observations @ weights - batch.actions
            weights -= 0.1 * batch.observations.T @ error / len(error)
            job.log_metrics(epoch + 1, "train", loss=float((error**2).mean()))
        np.save(file, weights)
        job.save_checkpoint(epoch + 1, file)
    np.save(file, weights)
    job.complete(file)


if __name__ == "__main__":
    sys.exit(run_trainer(train))
