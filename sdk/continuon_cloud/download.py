"""Downloading an episode: resumed by range, verified, and never outside the target folder."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import httpx

from continuon_cloud.errors import ApiProblem, DownloadError, UnreachableError
from continuon_cloud.files import sync_folder
from continuon_cloud.queue.backoff import backoff_s
from continuon_cloud.transport import seconds_until_retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path
    from typing import Any

    from continuon.contracts.episodes import DownloadFile
    from continuon_cloud.client import ContinuonClient

    Renew = Callable[[], Awaitable[Sequence[DownloadFile]]]
    """Asks for the same files again, with URLs that work for some more minutes."""

__all__ = [
    "DownloadedEpisode",
    "content_sha256",
    "download_episode",
    "download_files",
    "safe_target",
]

MAX_ATTEMPTS: Final = 6
"""Breaks in a row, without a byte in between, before a download gives up."""

MAX_RENEWALS: Final = 20
"""New URLs for one file: at fifteen minutes each, five hours."""

_REPORT: Final = "report.json"
_PART: Final = ".part"
_SEGMENT: Final = re.compile(r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")
_CONTENT_RANGE: Final = re.compile(r"^bytes ([0-9]+)-[0-9]+/([0-9]+)$")
_EXPIRED: Final = frozenset({400, 401, 403})
_RANGE_NOT_SATISFIABLE: Final = 416
_TEMPORARY: Final = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class DownloadedEpisode:
    """What was written.

    Attributes:
        files: In the order of the service's answer.
        verified: ``sha256`` when the content has the hash of the episode's report, ``size`` when
            the report gives none that fits this form.
    """

    episode_id: str
    folder: Path
    files: tuple[Path, ...]
    size_bytes: int
    verified: str


def safe_target(folder: Path, name: str) -> Path:
    """Return where file ``name`` of an episode goes below ``folder``.

    Raises:
        DownloadError: The name is absolute, climbs, or passes through a link.
    """
    parts = PurePosixPath(name).parts
    if not parts or not all(_SEGMENT.match(part) for part in parts) or "/".join(parts) != name:
        raise DownloadError(f"the file name {name!r} is not safe", code="download.unsafe_name")
    target = folder.joinpath(*parts)
    for parent in [target, *target.parents]:
        if parent == folder:
            break
        if parent.is_symlink():
            raise DownloadError(f"{parent} is a link", code="download.unsafe_name")
    return target


async def download_episode(
    client: ContinuonClient,
    episode_id: str,
    folder: Path,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> DownloadedEpisode:
    """Download all files of an episode into ``folder``.

    A download that broke goes on where it stopped. A file has its name only when it is whole.

    Args:
        client: The owner's.
        episode_id: Which one.
        folder: Made when missing; becomes the episode's folder.
        on_progress: Called with path, bytes so far, bytes in all.

    Raises:
        DownloadError: A file is not what was promised.
        ApiProblem: The service refused.
        UnreachableError: The network failed too often.
    """

    async def renew() -> Sequence[DownloadFile]:
        return (await client.download_urls(episode_id)).files

    granted = await client.download_urls(episode_id)
    targets = await download_files(
        client.http, granted.files, folder, renew=renew, on_progress=on_progress
    )
    report = await _report(client, episode_id)
    verified = await asyncio.to_thread(_verify, report, granted.files, targets)
    size_bytes = sum(file.size_bytes for file in granted.files)
    return DownloadedEpisode(episode_id, folder, tuple(targets), size_bytes, verified)


async def download_files(
    http: httpx.AsyncClient,
    files: Sequence[DownloadFile],
    folder: Path,
    *,
    renew: Renew,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Download granted files into ``folder`` and return where they are, in the same order.

    Raises:
        DownloadError: A name is unsafe, or a file is not what was promised.
        UnreachableError: The network failed too often.
    """
    targets = [safe_target(folder, file.path) for file in files]
    for file, target in zip(files, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        await _Download(http, file, target, renew, on_progress).run()
    return targets


class _TryAgainError(Exception):
    """The store asks for patience."""

    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__("the store asks for patience")
        self.retry_after_s = retry_after_s


class _Download:
    """One file."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        file: DownloadFile,
        target: Path,
        ask_again: Renew,
        on_progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self._http = http
        self._ask_again = ask_again
        self._file = file
        self._target = target
        # The name tells versions apart: a part of another version is not continued.
        version = hashlib.sha256(f"{file.size_bytes}.{file.crc32c}".encode()).hexdigest()[:12]
        self._part = target.with_name(f".{target.name}.{version}{_PART}")
        self._on_progress = on_progress
        self._renewals = 0

    async def run(self) -> None:
        failures = 0
        while (have := self._have()) < self._file.size_bytes or not self._part.exists():
            try:
                await self._fetch(have)
            except (httpx.TransportError, _TryAgainError) as error:
                failures = 1 if self._have() > have else failures + 1
                if failures >= MAX_ATTEMPTS:
                    raise UnreachableError(
                        f"the download of {self._file.path} broke ({type(error).__name__})",
                        hint="Run the same command again; it goes on where it stopped.",
                    ) from error
                after_s = error.retry_after_s if isinstance(error, _TryAgainError) else None
                await asyncio.sleep(backoff_s(failures, retry_after_s=after_s))
        self._finish()

    def _have(self) -> int:
        try:
            return self._part.stat().st_size
        except FileNotFoundError:
            return 0

    async def _fetch(self, have: int) -> None:
        headers = {"accept-encoding": "identity"}
        if have:
            headers["range"] = f"bytes={have}-"
        async with self._http.stream("GET", self._file.url, headers=headers) as response:
            if response.status_code in _EXPIRED:
                await self._renew()
                return
            if response.status_code == _RANGE_NOT_SATISFIABLE:
                self._part.unlink()
                return
            if response.status_code in _TEMPORARY or response.is_server_error:
                raise _TryAgainError(seconds_until_retry(response.headers, datetime.now(UTC)))
            if not response.is_success:
                raise DownloadError(
                    f"the store answered {response.status_code} for {self._file.path}",
                    code="download.refused",
                )
            await self._write(response, have)

    async def _write(self, response: httpx.Response, have: int) -> None:
        start = 0
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
            if found is None or int(found[1]) != have:
                raise DownloadError(
                    "the store answered another range than was asked for",
                    code="download.wrong_range",
                )
            start = have
        with self._part.open("r+b" if start else "wb") as part:
            part.seek(start)
            async for piece in response.aiter_raw():
                part.write(piece)
                start += len(piece)
                if start > self._file.size_bytes:
                    raise DownloadError(
                        f"{self._file.path} is longer than promised", code="download.wrong_size"
                    )
                if self._on_progress:
                    self._on_progress(self._file.path, start, self._file.size_bytes)

    async def _renew(self) -> None:
        self._renewals += 1
        if self._renewals > MAX_RENEWALS:
            raise DownloadError(
                f"the store refuses the URL of {self._file.path}", code="download.refused"
            )
        for file in await self._ask_again():
            if file.path == self._file.path and file.size_bytes == self._file.size_bytes:
                self._file = file

    def _finish(self) -> None:
        with self._part.open("rb") as part:
            os.fsync(part.fileno())
        self._part.replace(self._target)
        sync_folder(self._target.parent)


async def _report(client: ContinuonClient, episode_id: str) -> dict[str, Any]:
    try:
        return await client.report(episode_id)
    except ApiProblem as error:
        if error.status == httpx.codes.NOT_FOUND:
            return {}
        raise


def _verify(report: dict[str, Any], files: list[DownloadFile], targets: list[Path]) -> str:
    """Compare with the report's hash, which covers an object, or a folder's list of files."""
    expected = report.get("sha256")
    count = sum(file.path != _REPORT for file in files)
    is_folder = report.get("packaging") == "folder"
    if not isinstance(expected, str) or not count or (count > 1 and not is_folder):
        return "size"
    if content_sha256(files, targets, is_folder=is_folder) != expected:
        raise DownloadError(
            "the files are not those of the report (SHA-256 differs)", code="download.corrupt"
        )
    return "sha256"


def content_sha256(
    files: Sequence[DownloadFile], targets: Sequence[Path], *, is_folder: bool
) -> str:
    """Return an episode's SHA-256: of its one object, or of its folder's list of files.

    The report that lies beside an episode is not part of it.

    Args:
        files: As the service granted them.
        targets: Where they are, in the same order.
        is_folder: Whether the episode is a folder of files.
    """
    members = [
        (file, target) for file, target in zip(files, targets, strict=True) if file.path != _REPORT
    ]
    if not is_folder:
        return _sha256(members[0][1])
    lines = [
        f"{_sha256(target)}  {file.size_bytes}  {file.path}\n"
        for file, target in sorted(members, key=lambda member: member[0].path)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
