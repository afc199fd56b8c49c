"""What functions print: kept in one file each, echoed on request, the end remembered."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["FunctionLog"]

REMEMBERED_LINES = 40
"""How many of the last lines are shown when a function does not start."""

_CHUNK_BYTES = 65536


class FunctionLog:
    """The output of one function, over all its processes.

    Args:
        path: The file the output is appended to.
        echo: Called with each line as it arrives, for a console.
    """

    def __init__(self, path: Path, echo: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._echo = echo
        self._last: deque[str] = deque(maxlen=REMEMBERED_LINES)

    @property
    def last_lines(self) -> Sequence[str]:
        """The end of the output."""
        return tuple(self._last)

    async def follow(self, stream: StreamReader) -> None:
        """Copy ``stream`` until it ends."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        rest = b""
        with self._path.open("ab") as file:
            while chunk := await stream.read(_CHUNK_BYTES):
                file.write(chunk)
                file.flush()
                *lines, rest = (rest + chunk).split(b"\n")
                self._remember(lines)
        if rest:
            self._remember([rest])

    def _remember(self, lines: list[bytes]) -> None:
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip("\r")
            self._last.append(text)
            if self._echo is not None:
                self._echo(text)
