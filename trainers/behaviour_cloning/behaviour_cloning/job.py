"""The trainer as a job of the cloud, by contract 1."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from behaviour_cloning import artifacts, checkpoint
from behaviour_cloning.base import mismatch, read_base
from behaviour_cloning.config import config_from
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.run import Hooks, check_split, dataset_options, train_dataset
from continuon.contracts.training import ArtifactKind, AssignedBase

if TYPE_CHECKING:
    from pathlib import Path

    from behaviour_cloning.base import Base
    from behaviour_cloning.config import Config
    from behaviour_cloning.network import NetworkFactory
    from continuon_cloud.dataset import EpisodeDataset
    from continuon_cloud.training import TrainerJob

_ROWS_PER_EVALUATION: Final = 5
"""Rows of the train loss for one of the held-out loss: a plot of it is smoother, and it is free."""

_TRAINING_PER_STORING: Final = 9
"""Time for training, in times that storing the last checkpoint took."""

_SALTS: Final = 100
"""Tried for a split with two sides: two episodes have one at about every third salt."""

_SPLITS: Final = ("train", "held_out")
_FORMAT: Final = "npz"


def run_job(job: TrainerJob, *, factory: NetworkFactory, network_name: str) -> None:
    """Train what the job asks for and end it with the model.

    Raises:
        TrainerError: The hyperparameters cannot be used, or the training failed.
    """
    config = config_from(job.hyperparams)
    _check_base(job)
    dataset = with_both_sides(job.load_episodes(**dataset_options(config)), config)
    check_split(dataset)
    _say(_summary(dataset))
    out = job.work_dir / "run"
    # Left by an earlier process of this attempt, and possibly newer than what the cloud confirmed.
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    reports = _Reports(job, config)
    resume = _restore(job, out)
    outcome = train_dataset(
        dataset,
        out,
        config=config,
        factory=factory,
        network_name=network_name,
        resume=resume,
        # A checkpoint is further on, and holds what the run keeps of its base.
        base=None if resume else _base(job),
        hooks=Hooks(on_step=reports.on_step, on_checkpoint=reports.on_checkpoint, metrics=reports),
    )
    _finish(job, out, outcome.result)


def _check_base(job: TrainerJob) -> None:
    """Refuse what this trainer cannot start from, before anything is downloaded."""
    base = job.assignment.model_base
    if isinstance(base, str):
        raise TrainerError(
            f"only a job of the type finetune starts from another model, here {base}",
            code="trainer.model_base",
            hint="Ask for the type finetune, or leave model_base out.",
        )
    if base is not None and base.format != _FORMAT:
        raise mismatch(f"{base.ref} is in the format {base.format}, not {_FORMAT}")


def _base(job: TrainerJob) -> Base | None:
    path = job.base_model()
    if path is None:
        return None
    assigned = job.assignment.model_base
    if isinstance(assigned, AssignedBase):
        _say(f"starts from {assigned.ref}")
    return read_base(path)


def with_both_sides(dataset: EpisodeDataset, config: Config) -> EpisodeDataset:
    """Return the dataset split so that a few episodes, too, leave some to judge by.

    The hash of the ids may put all of a handful on one side, and nobody is there to try another
    salt. A salt that was asked for is kept.
    """
    if config.split_salt or not _is_one_sided(dataset):
        return dataset
    for number in range(1, _SALTS + 1):
        salted = replace(dataset, salt=str(number))
        if not _is_one_sided(salted):
            _say(f"split with the salt {salted.salt!r}: without, one side would be empty")
            return salted
    return dataset


def _is_one_sided(dataset: EpisodeDataset) -> bool:
    return len({bool(dataset.members(split)) for split in _SPLITS}) > 1


def _restore(job: TrainerJob, out: Path) -> bool:
    restored = job.restore()
    if restored is None:
        return False
    shutil.copyfile(restored, out / checkpoint.FILE)
    _say(f"goes on from the checkpoint of step {job.checkpoint_step}")
    return True


def _finish(job: TrainerJob, out: Path, result: dict[str, Any]) -> None:
    steps = result["steps"]
    final: dict[str, float] = {}
    for split in _SPLITS:
        values = figures(result[split])
        job.log_metrics(steps, split, **values)
        final |= {f"{split}/{name}": value for name, value in values.items()}
        final[f"{split}/episodes"] = result[split]["episodes"]
    final["held_out/beats_baseline"] = float(result["verdict"] == "beats_baseline")
    _say(f"{result['verdict']}: {result['reason']}")
    job.save_artifact(out / artifacts.CARD, ArtifactKind.MODEL_CARD)
    job.save_artifact(out / artifacts.RESULT, ArtifactKind.RESULT)
    job.complete(out / artifacts.MODEL, step=steps, **final)


def figures(summary: dict[str, Any]) -> dict[str, float]:
    """Return a split's means and the ends of their intervals under flat names."""
    flat: dict[str, float] = {}
    for name in ("loss", "baseline_loss", "improvement"):
        figure = summary[name]
        if figure["mean"] is not None:
            flat[name] = figure["mean"]
        if figure["interval"] is not None:
            flat[f"{name}_low"], flat[f"{name}_high"] = figure["interval"]
    return flat


class _Reports:
    """Sends what a run says to the job; as a sink of metrics it needs no file."""

    def __init__(self, job: TrainerJob, config: Config) -> None:
        self._job = job
        self._every = max(1, config.evaluate_every // _ROWS_PER_EVALUATION)
        self._losses: list[float] = []
        self._next_checkpoint_at = 0.0

    def on_step(self, step: int, loss: float) -> None:
        """Average the losses of some batches into one row."""
        self._job.check()
        self._losses.append(loss)
        if step % self._every == 0:
            self._job.log_metrics(step, "train", loss=sum(self._losses) / len(self._losses))
            self._losses.clear()

    def on_checkpoint(self, step: int, path: Path) -> None:
        """Store the checkpoint in the cloud, where another worker can go on from it.

        One that comes soon after the last is left out: storing takes at most a tenth of the time.
        """
        started = time.monotonic()
        if started < self._next_checkpoint_at:
            return
        self._job.save_checkpoint(step, path)
        ended = time.monotonic()
        self._next_checkpoint_at = ended + (ended - started) * _TRAINING_PER_STORING
        _say(f"step {step}: checkpoint stored")

    def cut(self, size: int) -> None:
        """Nothing: what was reported twice is stored once."""

    def append(self, row: dict[str, Any]) -> None:
        """Report an evaluation."""
        self._job.log_metrics(row["step"], "held_out", **figures(row["held_out"]))

    def sync(self) -> int:
        """Nothing: a checkpoint of a job holds no place in a file."""
        return 0


def _summary(dataset: EpisodeDataset) -> str:
    counts = ", ".join(f"{len(dataset.members(split))} {split}" for split in ("train", "held_out"))
    return f"{len(dataset.episodes)} episodes ({counts}), set {dataset.digest[:12]}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
