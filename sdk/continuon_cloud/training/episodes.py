"""A job's episodes on this machine: downloaded once, compared with their digests each time."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

from continuon.contracts.episodes import DownloadFile
from continuon_cloud.download import content_sha256, download_files, safe_target
from continuon_cloud.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from continuon.contracts.training import AssignedEpisode, Assignment
    from continuon_cloud.training.api import JobApi

__all__ = ["episode_ids_digest", "fetch_assigned"]

_AT_ONCE: Final = 4
"""Episodes downloaded at a time: small ones cost a round trip each, large ones share the link."""

_REPORT: Final = "report.json"
_PART: Final = ".part"


def episode_ids_digest(episode_ids: Sequence[str]) -> str:
    """Return the digest by which an assignment names its set of episodes."""
    lines = "".join(f"{episode_id}\n" for episode_id in sorted(episode_ids))
    return hashlib.sha256(lines.encode()).hexdigest()


async def fetch_assigned(
    api: JobApi,
    assignment: Assignment,
    cache: Path,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Path]:
    """Download what the cache does not hold whole, and return the folders by episode id.

    Args:
        api: Of the job.
        assignment: Names the set.
        cache: Made when missing; may be shared by the jobs of one machine, one after the other.
        on_progress: Called with the number of episodes that are there and that there will be.

    Raises:
        DownloadError: An episode is not what was promised, or the set is another.
        UnreachableError: The network failed too often.
    """
    folders: dict[str, Path] = {}
    gate = asyncio.Semaphore(_AT_ONCE)

    async def fetch(episode: AssignedEpisode, page_token: str | None) -> None:
        async with gate:
            folders[episode.episode_id] = await _fetch(api, episode, page_token, cache)
        on_progress(len(folders), assignment.episode_count)

    token: str | None = None
    while True:
        page = await api.episodes(token)
        await _together([fetch(episode, token) for episode in page.episodes])
        token = page.next_page_token
        if token is None:
            break
    if episode_ids_digest(list(folders)) != assignment.episodes_digest:
        raise DownloadError(
            "the episodes are not the set that was assigned", code="trainer.episodes_mismatch"
        )
    return dict(sorted(folders.items()))


async def _together(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all; the first error ends the others and is raised as it is, in no group."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _fetch(
    api: JobApi, episode: AssignedEpisode, page_token: str | None, cache: Path
) -> Path:
    folder = safe_target(cache, episode.episode_id)
    files = _files(episode)
    if await asyncio.to_thread(_is_whole, folder, files, episode.sha256):
        return folder
    # What lies there is another recording of that id, or damaged.
    await asyncio.to_thread(_clear, folder)
    folder.mkdir(parents=True, exist_ok=True)

    async def renew() -> Sequence[DownloadFile]:
        page = await api.episodes(page_token)
        same = (one for one in page.episodes if one.episode_id == episode.episode_id)
        return [file for one in same for file in _files(one)]

    await download_files(api.http, files, folder, renew=renew)
    if not await asyncio.to_thread(_is_whole, folder, files, episode.sha256):
        raise DownloadError(
            f"{episode.episode_id} is not what was validated (SHA-256 differs)",
            code="download.corrupt",
        )
    return folder


def _files(episode: AssignedEpisode) -> list[DownloadFile]:
    # A report is for people; a trainer judges each episode by itself.
    return [
        DownloadFile(path=file.path, url=file.url, size_bytes=file.size_bytes, crc32c=file.crc32c)
        for file in episode.files
        if file.path != _REPORT
    ]


def _is_whole(folder: Path, files: Sequence[DownloadFile], sha256: str | None) -> bool:
    """Whether all files are there and together have the digest of the validation's report."""
    targets = [safe_target(folder, file.path) for file in files]
    try:
        sizes = [target.stat().st_size for target in targets]
        if not files or sizes != [file.size_bytes for file in files]:
            return False
        forms = (False, True) if len(files) == 1 else (True,)
        return any(content_sha256(files, targets, is_folder=form) == sha256 for form in forms)
    except OSError:
        return False


def _clear(folder: Path) -> None:
    """Remove finished files; parts of a broken download stay and are continued."""
    if folder.is_dir():
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != _PART:
                path.unlink()
