"""Asking the robot whether it is well: a command, its exit code, and a limit of time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from continuon_cloud.ota.errors import UpdateError

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_cloud.ota.records import Installed

__all__ = ["RobotAction", "RobotCommand"]

_TAIL_BYTES: Final = 500
_READ_BYTES: Final = 4096
_LAST_WORDS_S: Final = 2.0
"""After the command ended, something it started may hold its output open; it is not waited for."""


class RobotAction(Protocol):
    """Something that the robot does with a bundle and that may fail."""

    async def run(self, bundle: Installed | None, folder: Path | None) -> None:
        """Do it for ``bundle``, unpacked in ``folder``; both None when none runs.

        Raises:
            UpdateError: It failed.
        """


@dataclass(frozen=True, slots=True)
class RobotCommand:
    """A command of the robot, run without a shell.

    It finds in its environment ``CONTINUON_BUNDLE_DIR``, ``CONTINUON_BUNDLE_ID`` and
    ``CONTINUON_BUNDLE_VERSION``; empty when no bundle runs.

    Attributes:
        line: As typed; quotes work, variables and pipes do not.
        timeout_s: After this the command and everything it started is killed.
        code: Of the error when it fails; ``{code}_timeout`` when it hangs.
    """

    line: str
    timeout_s: float
    code: str

    async def run(self, bundle: Installed | None, folder: Path | None) -> None:
        """Run it.

        Raises:
            UpdateError: It failed, hung, or could not be started.
        """
        environment = os.environ | {
            "CONTINUON_BUNDLE_DIR": str(folder or ""),
            "CONTINUON_BUNDLE_ID": bundle.bundle_id if bundle else "",
            "CONTINUON_BUNDLE_VERSION": bundle.version if bundle else "",
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *shlex.split(self.line),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError, TypeError) as error:
            raise UpdateError(f"{self.line}: {error}", code=self.code) from error
        await self._judge(process)

    async def _judge(self, process: asyncio.subprocess.Process) -> None:
        words = asyncio.create_task(_tail(process.stderr))
        try:
            async with asyncio.timeout(self.timeout_s):
                status = await process.wait()
        except TimeoutError as error:
            raise UpdateError(
                f"{self.line}: no end after {self.timeout_s:g} s", code=f"{self.code}_timeout"
            ) from error
        finally:
            # The whole session: what it started must not outlive it, however it ended.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            said = await _last_words(words)
        if status:
            raise UpdateError(f"{self.line}: exit code {status}. {said}".strip(), code=self.code)


async def _last_words(words: asyncio.Task[str]) -> str:
    done, _ = await asyncio.wait({words}, timeout=_LAST_WORDS_S)
    if not done:
        words.cancel()
        return ""
    return words.result()


async def _tail(stream: asyncio.StreamReader | None) -> str:
    kept = b""
    while stream is not None and (piece := await stream.read(_READ_BYTES)):
        kept = (kept + piece)[-_TAIL_BYTES:]
    return kept.decode(errors="replace").strip()
