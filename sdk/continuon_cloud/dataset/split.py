"""Which episodes train and which judge, and the name of a set of episodes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Split", "episode_set_digest", "split_of"]

Split = Literal["train", "held_out"]

_HASH_BYTES: Final = 8
"""Of SHA-256: enough that the share is exact to 1 in 10^19."""


def split_of(episode_id: str, *, held_out: float, salt: str = "") -> Split:
    """Tell an episode's side from its id alone.

    An episode keeps its side when others join or leave the set, on every machine, so a model is
    never judged on what an earlier version of it has seen.

    Args:
        episode_id: Which episode.
        held_out: Share of episodes held out, 0 to 1, in the long run.
        salt: Another salt makes another split.
    """
    digest = hashlib.sha256(f"{salt}\0{episode_id}".encode()).digest()
    place = int.from_bytes(digest[:_HASH_BYTES]) / 2 ** (8 * _HASH_BYTES)
    return "held_out" if place < held_out else "train"


def episode_set_digest(episodes: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 that names a set of (episode id, SHA-256 of its report), in any order."""
    lines = sorted(f"{episode_id}  {sha256}\n" for episode_id, sha256 in episodes)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
