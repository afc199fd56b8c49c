"""Episodes as a stream of samples and batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from continuon.rlds import EpisodeError, iter_steps
from continuon_cloud.dataset.catalogue import EpisodeEntry, catalogue, named_catalogue
from continuon_cloud.dataset.errors import DatasetError
from continuon_cloud.dataset.fields import numbers_at, proprioception_of
from continuon_cloud.dataset.split import Split, episode_set_digest, split_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

__all__ = ["Batch", "EpisodeDataset", "Sample", "load_episodes"]

ACTION_FIELD: Final = "action.command"

DEFAULT_BATCH_STEPS: Final = 256
"""Steps in one batch: large enough for matrix products, small enough for a robot's memory."""

MAX_BATCH_STEPS: Final = 1_000_000
"""Of one batch, and of the shuffle buffer: both are held in memory."""


class Sample(NamedTuple):
    """What was seen and what was done at one step.

    Attributes:
        episode: Place of the episode in ``EpisodeDataset.episodes``.
        step: Number of the step in its episode.
        observation: The chosen fields, one after the other.
        action: ``action.command``.
    """

    episode: int
    step: int
    observation: tuple[float, ...]
    action: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as arrays.

    Attributes:
        observations: Shape (steps, observation width).
        actions: Shape (steps, action width).
        episodes: Shape (steps,): place of each step's episode in ``EpisodeDataset.episodes``.
    """

    observations: Array
    actions: Array
    episodes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeDataset:
    """Valid episodes, of which the steps are read again on every pass.

    Attributes:
        episodes: Sorted by id.
        fields: Dotted paths of the observation.
        action: Dotted path of the action.
        batch_steps: Steps in a batch.
        held_out: Share of episodes held out.
        salt: Of the split.
        keep_last: Whether the last step of each episode is used. Its action may be a placeholder
            (the format's N-step convention), so by default it is not.
        dtype: Of the arrays.
        observation_width: Numbers in an observation.
        action_width: Numbers in an action.
        digest: Names the set: SHA-256 over ids and hashes, whatever the order of the sources.
    """

    episodes: tuple[EpisodeEntry, ...]
    fields: tuple[str, ...]
    action: str
    batch_steps: int
    held_out: float
    salt: str
    keep_last: bool
    dtype: Literal["float32", "float64"]
    observation_width: int
    action_width: int
    digest: str = field(default="")

    def __post_init__(self) -> None:
        pairs = ((entry.episode_id, entry.sha256) for entry in self.episodes)
        object.__setattr__(self, "digest", episode_set_digest(pairs))

    def __iter__(self) -> Iterator[Batch]:
        """Iterate the batches of all episodes in order."""
        return self.batches()

    def members(self, split: Split | None = None) -> tuple[int, ...]:
        """Return the places of the episodes of a split (None: all) in ``episodes``."""
        return tuple(
            place
            for place, entry in enumerate(self.episodes)
            if split is None
            or split_of(entry.episode_id, held_out=self.held_out, salt=self.salt) == split
        )

    def samples(
        self, split: Split | None = None, *, shuffle: str | None = None, buffer_steps: int = 4096
    ) -> Iterator[Sample]:
        """Yield the samples of a split; needs no NumPy.

        Args:
            split: Which episodes; None for all.
            shuffle: None keeps the order. Any text is a seed: episodes are read in a random order
                and steps mixed in a buffer, the same for the same text on every machine.
            buffer_steps: Steps held for mixing.

        Raises:
            DatasetError: A step cannot be used, or an episode changed since it was judged.
        """
        places = list(self.members(split))
        if shuffle is None:
            yield from self._in_order(places)
            return
        _check_steps("buffer_steps", buffer_steps)
        random = Random(shuffle)  # noqa: S311 - an order, not a secret
        random.shuffle(places)
        held: list[Sample] = []
        for sample in self._in_order(places):
            if len(held) < buffer_steps:
                held.append(sample)
                continue
            chosen = random.randrange(buffer_steps)
            yield held[chosen]
            held[chosen] = sample
        random.shuffle(held)
        yield from held

    def batches(
        self, split: Split | None = None, *, shuffle: str | None = None, buffer_steps: int = 4096
    ) -> Iterator[Batch]:
        """Yield the samples of a split as arrays; the last batch may be shorter.

        The arguments and errors are those of `samples`.

        Raises:
            DatasetError: As `samples`; also when NumPy is not installed.
        """
        held: list[Sample] = []
        for sample in self.samples(split, shuffle=shuffle, buffer_steps=buffer_steps):
            held.append(sample)
            if len(held) == self.batch_steps:
                yield _to_arrays(held, self.dtype)
                held = []
        if held:
            yield _to_arrays(held, self.dtype)

    def _in_order(self, places: Iterable[int]) -> Iterator[Sample]:
        for place in places:
            yield from self._episode(place)

    def _episode(self, place: int) -> Iterator[Sample]:
        entry = self.episodes[place]
        wanted = entry.steps if self.keep_last else entry.steps - 1
        count = 0
        for step in _steps(entry):
            if count < wanted:
                yield self._sample(place, count, step)
            count += 1
        if count != entry.steps:
            raise DatasetError(
                f"{entry.path} has {count} steps, it had {entry.steps} before",
                code="dataset.changed",
            )

    def _sample(self, place: int, number: int, step: dict[str, Any]) -> Sample:
        entry = self.episodes[place]
        where = f"step {number} of {entry.episode_id}"
        observation = numbers_at(step, self.fields, where)
        action = numbers_at(step, (self.action,), where)
        _check_width("observation", len(observation), self.observation_width, entry, where)
        _check_width("action", len(action), self.action_width, entry, where)
        return Sample(place, number, observation, action)


def load_episodes(
    sources: Iterable[str | Path] | Mapping[str, Path],
    *,
    fields: Sequence[str] | None = None,
    action: str = ACTION_FIELD,
    batch_steps: int = DEFAULT_BATCH_STEPS,
    held_out: float = 0.2,
    salt: str = "",
    keep_last: bool = False,
    dtype: Literal["float32", "float64"] = "float32",
) -> EpisodeDataset:
    """Judge the episodes at or below ``sources`` and make them readable as training data.

    Every episode is validated once, with the cloud's rules. Afterwards memory holds one step, one
    batch and the shuffle buffer, never an episode; an episode that is one JSON document is the
    exception, its bytes (at most 64 MiB) are held while it is read.

    Args:
        sources: Folders, archives or JSON documents; folders of these; what
            ``continuon episode download`` wrote. A mapping gives episodes their ids: each of its
            folders holds one.
        fields: Dotted paths of the observation, in the order of its numbers. None for what the
            robot knows of its own body: its joints, else the pose of its hand and its gripper, as
            the first step has them.
        action: Dotted path of the action.
        batch_steps: Steps in a batch.
        held_out: Share of episodes held out, decided by a hash of each id.
        salt: Another salt makes another split.
        keep_last: Use the last step of each episode, whose action may be a placeholder.
        dtype: Of the arrays.

    Raises:
        DatasetError: See its codes; the episode, step and field are named.
    """
    _check_steps("batch_steps", batch_steps)
    if (
        (fields is not None and not fields)
        or not 0 <= held_out <= 1
        or dtype not in {"float32", "float64"}
    ):
        raise DatasetError(
            "fields must name one or more paths, held_out be a share from 0 to 1, and dtype be "
            "float32 or float64",
            code="dataset.options",
        )
    if isinstance(sources, Mapping):
        episodes = named_catalogue(sources)
    else:
        episodes = catalogue([Path(source) for source in sources])
    first = next(_steps(episodes[0]))
    where = f"step 0 of {episodes[0].episode_id}"
    chosen = proprioception_of(first, where) if fields is None else tuple(fields)
    return EpisodeDataset(
        episodes=episodes,
        fields=chosen,
        action=action,
        batch_steps=batch_steps,
        held_out=held_out,
        salt=salt,
        keep_last=keep_last,
        dtype=dtype,
        observation_width=len(numbers_at(first, chosen, where)),
        action_width=len(numbers_at(first, (action,), where)),
    )


def _steps(entry: EpisodeEntry) -> Iterator[dict[str, Any]]:
    try:
        yield from iter_steps(entry.path)
    except EpisodeError as error:
        message = f"{entry.path} changed since it was judged: {error}"
        raise DatasetError(message, code="dataset.changed") from error


def _check_steps(name: str, value: int) -> None:
    if not 1 <= value <= MAX_BATCH_STEPS:
        message = f"{name} must be from 1 to {MAX_BATCH_STEPS}, not {value}"
        raise DatasetError(message, code="dataset.options")


def _check_width(what: str, found: int, wanted: int, entry: EpisodeEntry, where: str) -> None:
    if found != wanted:
        model = f" ({entry.robot_model})" if entry.robot_model else ""
        raise DatasetError(
            f"the {what} has {found} numbers at {where}{model}, {wanted} in the first episode",
            code="dataset.width_mismatch",
            hint="Load the episodes of one robot model at a time.",
        )


def _to_arrays(samples: list[Sample], dtype: str) -> Batch:
    try:
        import numpy as np  # noqa: PLC0415 - optional: iteration works without it
    except ImportError as error:
        raise DatasetError(
            "arrays need NumPy",
            code="dataset.numpy_missing",
            hint="pip install 'continuon-cloud[train]'",
        ) from error
    return Batch(
        observations=np.array([sample.observation for sample in samples], dtype=dtype),
        actions=np.array([sample.action for sample in samples], dtype=dtype),
        episodes=np.array([sample.episode for sample in samples], dtype=np.int64),
    )
