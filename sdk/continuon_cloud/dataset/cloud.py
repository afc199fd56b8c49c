"""Episodes of the cloud, downloaded once into a cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from continuon.rlds import SourceError, validate_path
from continuon_cloud.dataset.catalogue import find_episodes
from continuon_cloud.dataset.errors import DatasetError
from continuon_cloud.dataset.loader import EpisodeDataset, load_episodes
from continuon_cloud.download import download_episode, safe_target

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from continuon_cloud.client import ContinuonClient

__all__ = ["fetch_episodes", "load_cloud_episodes"]

_MARKER: Final = ".sha256"
"""Beside an episode's folder: what its download was verified to be."""


async def load_cloud_episodes(
    client: ContinuonClient, episode_ids: Iterable[str], *, cache: Path, **options: Any
) -> EpisodeDataset:
    """Fetch episodes and load them.

    Args:
        client: The owner's.
        episode_ids: Which ones.
        cache: Where downloads are kept, one folder for each episode.
        **options: As of `load_episodes`.

    Raises:
        DatasetError: As `fetch_episodes` and `load_episodes`.
        ClientError: The service refused or could not be reached.
    """
    folders = await fetch_episodes(client, episode_ids, cache=cache)
    return await asyncio.to_thread(load_episodes, folders, **options)


async def fetch_episodes(
    client: ContinuonClient, episode_ids: Iterable[str], *, cache: Path
) -> list[Path]:
    """Download what the cache does not hold whole, and return the episodes' folders.

    Each download is compared with the SHA-256 of its report, which is kept beside it. What is
    there already is hashed again; what was damaged or changed is downloaded anew.

    Args:
        client: The owner's.
        episode_ids: Which ones.
        cache: Made when missing.

    Raises:
        DatasetError: A download cannot be compared with a report's SHA-256.
        ClientError: The service refused, a name is unsafe, or the network failed.
    """
    folders: list[Path] = []
    for episode_id in sorted(set(episode_ids)):
        folder = safe_target(cache, episode_id)
        marker = cache / f"{episode_id}{_MARKER}"
        if not await asyncio.to_thread(_is_whole, folder, marker):
            await _download(client, episode_id, folder)
            await asyncio.to_thread(_mark, folder, marker)
        folders.append(folder)
    return folders


async def _download(client: ContinuonClient, episode_id: str, folder: Path) -> None:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    got = await download_episode(client, episode_id, folder)
    if got.verified != "sha256":
        raise DatasetError(
            f"{episode_id} has no report to compare the download with", code="dataset.unverified"
        )


def _is_whole(folder: Path, marker: Path) -> bool:
    """Whether a folder holds one episode, with the SHA-256 that was verified when it came."""
    try:
        return marker.read_text() == f"{_digest(folder)}\n"
    except (OSError, ValueError, DatasetError, SourceError):
        return False


def _mark(folder: Path, marker: Path) -> None:
    marker.write_text(f"{_digest(folder)}\n")


def _digest(folder: Path) -> str:
    """Return the SHA-256 of the one episode below ``folder``."""
    found = list(find_episodes(folder))
    if len(found) != 1:
        message = f"{folder} holds {len(found)} episodes instead of one"
        raise DatasetError(message, code="dataset.unverified")
    return validate_path(found[0]).sha256 or ""
