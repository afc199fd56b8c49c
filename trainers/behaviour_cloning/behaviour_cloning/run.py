"""One training run: stream batches, take steps, checkpoint, judge, write what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from behaviour_cloning import artifacts, checkpoint
from behaviour_cloning.base import read_base, start_from
from behaviour_cloning.checkpoint import Identity, Position
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.evaluate import episode_losses, summarise, verdict
from behaviour_cloning.metrics import MetricsFile, MetricsSink
from behaviour_cloning.network import Mlp
from behaviour_cloning.optimiser import Adam
from behaviour_cloning.statistics import RunningMoments, Standardiser
from continuon_cloud.dataset import EpisodeDataset, load_episodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from behaviour_cloning.base import Base
    from behaviour_cloning.config import Config
    from behaviour_cloning.network import Array, Network, NetworkFactory
    from continuon_cloud.dataset import Split

DEFAULT_NETWORK: Final = "behaviour_cloning.network:Mlp"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run left.

    Attributes:
        folder: Holds model.npz, metrics.jsonl, model_card.md, result.json and checkpoint.npz.
        result: The content of result.json.
    """

    folder: Path
    result: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a run tells whoever started it.

    Attributes:
        on_step: Called with the step and the loss of its batch.
        on_checkpoint: Called with the step and the file, once it is durable.
        metrics: Takes the rows of metrics; metrics.jsonl when left out.
    """

    on_step: Callable[[int, float], None] = lambda _step, _loss: None
    on_checkpoint: Callable[[int, Path], None] = lambda _step, _path: None
    metrics: MetricsSink | None = None


def train(
    sources: Iterable[str | Path],
    out: Path,
    *,
    config: Config,
    factory: NetworkFactory = Mlp,
    network_name: str = DEFAULT_NETWORK,
    resume: bool = False,
    base: Path | None = None,
    hooks: Hooks | None = None,
) -> Outcome:
    """Train on episodes and write the model and everything known about it.

    The same episodes, configuration and network give the same weights, byte for byte, on one
    machine with one BLAS thread, however often the run was killed and resumed.

    Args:
        sources: As of `continuon_cloud.load_episodes`.
        out: Made when missing.
        config: What to do.
        factory: Makes the network.
        network_name: Recorded with the model, and compared when a run is resumed.
        resume: Go on from the checkpoint in ``out``.
        base: A model.npz whose weights and standardisation to start from. A resumed run has them
            in its checkpoint, and only compares.
        hooks: What to tell meanwhile.

    Raises:
        TrainerError: The run cannot start or go on.
        DatasetError: An episode cannot be used.
    """
    start = None if base is None else read_base(base)
    dataset = load_episodes(sources, **dataset_options(config))
    check_split(dataset)
    _prepare(out, resume=resume)
    return train_dataset(
        dataset,
        out,
        config=config,
        factory=factory,
        network_name=network_name,
        resume=resume,
        base=start,
        hooks=hooks,
    )


def dataset_options(config: Config) -> dict[str, Any]:
    """Return how a run loads its episodes."""
    return {
        "fields": config.fields,
        "batch_steps": config.batch_steps,
        "held_out": config.held_out,
        "salt": config.split_salt,
        "dtype": "float64",
    }


def train_dataset(
    dataset: EpisodeDataset,
    out: Path,
    *,
    config: Config,
    factory: NetworkFactory = Mlp,
    network_name: str = DEFAULT_NETWORK,
    resume: bool = False,
    base: Base | None = None,
    hooks: Hooks | None = None,
) -> Outcome:
    """Train on episodes that were loaded with `dataset_options`; otherwise as `train`.

    ``dataset`` has passed `check_split`; ``out`` exists and holds nothing but, when ``resume`` is
    set, the checkpoint.
    """
    run = _Run(
        dataset,
        out,
        config=config,
        factory=factory,
        network_name=network_name,
        base=base,
        hooks=hooks or Hooks(),
    )
    run.start(resume=resume)
    run.loop()
    return run.finish()


def check_split(dataset: EpisodeDataset) -> None:
    """Refuse a set that leaves nothing to train on, or nothing to judge by.

    Raises:
        TrainerError: ``trainer.too_few_episodes``.
    """
    train_count, held_out_count = (len(dataset.members(s)) for s in ("train", "held_out"))
    if not train_count or not held_out_count:
        raise TrainerError(
            f"{len(dataset.episodes)} episodes split into {train_count} for training and "
            f"{held_out_count} held out; both need at least one",
            code="trainer.too_few_episodes",
            hint="Give more episodes, or another held_out or split_salt in the configuration.",
        )


def _prepare(out: Path, *, resume: bool) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make {out}: {error.strerror or error}"
        raise TrainerError(message, code="trainer.output_unwritable") from error
    taken = [name for name in (checkpoint.FILE, artifacts.RESULT) if (out / name).exists()]
    if taken and not resume:
        raise TrainerError(
            f"{out} already holds {taken[0]}",
            code="trainer.output_exists",
            hint="Go on with --resume, or name another folder.",
        )


def _standardisers(dataset: EpisodeDataset) -> tuple[Standardiser, Standardiser]:
    """Measure the training split, and nothing else, in one pass."""
    observations = RunningMoments(dataset.observation_width)
    actions = RunningMoments(dataset.action_width)
    for batch in dataset.batches("train"):
        observations.add(batch.observations.astype(np.float64))
        actions.add(batch.actions.astype(np.float64))
    if not observations.count:
        raise TrainerError(
            "the training episodes have no step to learn from", code="trainer.no_steps"
        )
    return observations.standardiser(), actions.standardiser()


class _Run:
    """The state of a run."""

    def __init__(
        self,
        dataset: EpisodeDataset,
        out: Path,
        *,
        config: Config,
        factory: NetworkFactory,
        network_name: str,
        base: Base | None,
        hooks: Hooks,
    ) -> None:
        self._hooks = hooks
        self._dataset = dataset
        self._out = out
        self._config = config
        self._network_name = network_name
        self._base = base
        self._units = base.units if base else None
        sha256 = self._units.sha256 if self._units else None
        self._identity = Identity(config.digest(), dataset.digest, network_name, sha256)
        self._observations, self._actions = _standardisers(dataset)
        self._mean_action = self._actions.mean
        self._rng = np.random.default_rng(config.seed)
        self._network: Network = factory(
            dataset.observation_width, dataset.action_width, hidden=config.hidden, rng=self._rng
        )
        self._optimiser = Adam(self._network.parameters, config.learning_rate)
        self._position = Position()
        self._metrics = hooks.metrics or MetricsFile(out / artifacts.METRICS)

    def start(self, *, resume: bool) -> None:
        """Take the state of the last checkpoint, or begin, from the base if there is one.

        Where a base is given and a checkpoint is there, the checkpoint is further on.
        """
        if resume:
            self._position, self._units = checkpoint.load(
                self._out,
                identity=self._identity,
                network=self._network,
                optimiser=self._optimiser,
                rng=self._rng,
            )
        elif self._base is not None:
            asked = {"network": self._network_name, "hidden": list(self._config.hidden)}
            start_from(self._base, self._network, self._dataset, asked)
        if self._units is not None:
            self._observations, self._actions = self._units.observations, self._units.actions
        self._metrics.cut(self._position.metrics_bytes)
        if self._base is not None and not resume:
            row = {"step": 0, "epoch": 0, "batch_loss": None}
            self._metrics.append({**row, "held_out": self._summary("held_out")})

    def loop(self) -> None:
        """Take the steps that are left."""
        while self._optimiser.step_count < self._config.max_steps:
            for observations, actions in self._epoch():
                loss = self._step(observations, actions)
                self._position.batch += 1
                self._hooks.on_step(self._optimiser.step_count, loss)
                self._after_step(loss)
                if self._optimiser.step_count >= self._config.max_steps:
                    return
            self._position = Position(self._position.epoch + 1, 0, self._position.metrics_bytes)

    def _epoch(self) -> Iterator[tuple[Array, Array]]:
        """Yield the batches of the present pass that were not used yet."""
        batches = self._dataset.batches(
            "train",
            shuffle=f"{self._config.seed}/{self._position.epoch}",
            buffer_steps=self._config.shuffle_steps,
        )
        for batch in islice(batches, self._position.batch, None):
            yield (
                self._observations.standardise(batch.observations.astype(np.float64)),
                self._actions.standardise(batch.actions.astype(np.float64)),
            )

    def _step(self, observations: Array, actions: Array) -> float:
        noise = self._config.observation_noise
        if noise:
            observations = observations + noise * self._rng.standard_normal(observations.shape)
        # Overflow is looked for below and reported with its step, not as a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            loss, gradients = self._network.loss_and_gradients(observations, actions)
            self._optimiser.step(gradients)
        parameters = self._network.parameters.values()
        if not np.isfinite(loss) or not all(np.isfinite(value).all() for value in parameters):
            raise TrainerError(
                f"the loss or a weight is no longer finite at step {self._optimiser.step_count}",
                code="trainer.diverged",
                hint="Try a smaller learning_rate; the last checkpoint is sound.",
            )
        return loss

    def _after_step(self, loss: float) -> None:
        step = self._optimiser.step_count
        last = step == self._config.max_steps
        if last or step % self._config.evaluate_every == 0:
            held_out = self._summary("held_out")
            row = {"step": step, "epoch": self._position.epoch, "batch_loss": loss}
            self._metrics.append({**row, "held_out": held_out})
        if last or step % self._config.checkpoint_every == 0:
            self._position.metrics_bytes = self._metrics.sync()
            checkpoint.save(
                self._out,
                identity=self._identity,
                position=self._position,
                network=self._network,
                optimiser=self._optimiser,
                rng=self._rng,
                units=self._units,
            )
            self._hooks.on_checkpoint(step, self._out / checkpoint.FILE)

    def _summary(self, split: Split) -> dict[str, Any]:
        losses = episode_losses(
            self._dataset,
            split,
            self._network,
            self._observations,
            self._actions,
            mean_action=self._mean_action,
        )
        return summarise(losses, self._config)

    def finish(self) -> Outcome:
        """Judge the model and write the artifacts."""
        held_out = self._summary("held_out")
        found, reason = verdict(held_out, self._config)
        result = artifacts.write(
            self._out,
            artifacts.Trained(
                dataset=self._dataset,
                config=self._config,
                network_name=self._network_name,
                parameters=self._network.parameters,
                observations=self._observations,
                actions=self._actions,
                steps=self._optimiser.step_count,
                epochs=self._position.epoch,
                train=self._summary("train"),
                held_out=held_out,
                verdict=found,
                reason=reason,
                base=self._units.sha256 if self._units else None,
            ),
        )
        return Outcome(self._out, result)
