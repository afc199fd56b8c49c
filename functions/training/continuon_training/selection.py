"""Which episodes a job is trained on: pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.errors import FieldProblem, ProblemError
from continuon_training.errors import EPISODE_NOT_ELIGIBLE, EPISODES_TOO_LARGE, NO_EPISODES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from continuon_training.records import EpisodeChoice, JobRecord

__all__ = [
    "check_listed",
    "check_size",
    "digest",
    "is_good_enough",
    "still_eligible",
    "why_not",
    "with_episodes",
]

_VALIDATED: Final = "validated"
_MAX_NAMED: Final = 50
"""Episodes at fault that one answer names."""


def digest(episode_ids: Iterable[str]) -> str:
    """Return what names a set of episodes: SHA-256 over the sorted ids, a line feed after each."""
    text = "".join(f"{episode_id}\n" for episode_id in sorted(episode_ids))
    return hashlib.sha256(text.encode()).hexdigest()


def is_good_enough(choice: EpisodeChoice, min_quality: float | None) -> bool:
    """Say whether the episode has the quality that is asked for; an unknown one has none."""
    return min_quality is None or (choice.quality is not None and choice.quality >= min_quality)


def why_not(
    choice: EpisodeChoice | None, *, owner_id: str, robot_model: str, min_quality: float | None
) -> str | None:
    """Say why an episode cannot be trained on; None when it can.

    Another's episode and one that does not exist get the same answer.
    """
    if choice is None or choice.owner_id != owner_id:
        return "is not one of your episodes"
    if choice.robot_model != robot_model:
        return f"was recorded by a {choice.robot_model}, not a {robot_model}"
    if choice.status != _VALIDATED:
        return f"is {choice.status}, not validated"
    if not choice.training_eligible:
        return "is not eligible for training"
    if not is_good_enough(choice, min_quality):
        return f"has the quality {choice.quality}, below {min_quality}"
    return None


def check_listed(
    episode_ids: Sequence[str],
    found: Mapping[str, EpisodeChoice],
    *,
    owner_id: str,
    robot_model: str,
    min_quality: float | None,
) -> None:
    """Check that every listed episode can be trained on.

    Raises:
        ProblemError: ``job.episode_not_eligible``, naming each with its reason.
    """
    errors = []
    for index, episode_id in enumerate(episode_ids):
        reason = why_not(
            found.get(episode_id),
            owner_id=owner_id,
            robot_model=robot_model,
            min_quality=min_quality,
        )
        if reason is not None:
            path, message = f"episode_ids[{index}]", f"{episode_id} {reason}"
            errors.append(FieldProblem(EPISODE_NOT_ELIGIBLE.code, path, message))
    if errors:
        detail = f"{len(errors)} of {len(episode_ids)} episodes; {errors[0].message}."
        raise ProblemError(EPISODE_NOT_ELIGIBLE, detail, errors=errors[:_MAX_NAMED])


def check_size(episode_ids: Sequence[str]) -> None:
    """Check that there are episodes, and that a job's document can name them.

    Raises:
        ProblemError: ``job.no_episodes`` or ``job.episodes_too_large``.
    """
    if not episode_ids:
        raise ProblemError(NO_EPISODES)
    size = sum(len(episode_id) + 1 for episode_id in episode_ids)
    if len(episode_ids) > limits.MAX_JOB_EPISODES or size > limits.MAX_JOB_EPISODES_BYTES:
        raise ProblemError(EPISODES_TOO_LARGE)


def still_eligible(record: JobRecord, found: Mapping[str, EpisodeChoice]) -> list[str]:
    """Return those of a job's episodes that can be trained on now, in their order."""
    config = record.config
    return [
        episode_id
        for episode_id in config.episode_ids
        if why_not(
            found.get(episode_id),
            owner_id=record.owner_id,
            robot_model=config.robot_model,
            min_quality=config.min_quality,
        )
        is None
    ]


def with_episodes(record: JobRecord, episode_ids: Sequence[str]) -> JobRecord:
    """Return the job over ``episode_ids``, with what fell away counted."""
    ordered = sorted(episode_ids)
    config = record.config
    dropped = config.dropped_episodes + config.episode_count - len(ordered)
    return record.model_copy(
        update={
            "config": config.model_copy(
                update={
                    "episode_ids": ordered,
                    "episode_count": len(ordered),
                    "episodes_digest": digest(ordered),
                    "dropped_episodes": dropped,
                }
            )
        }
    )
