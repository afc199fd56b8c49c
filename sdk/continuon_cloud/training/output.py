"""A trainer's output, sent to the job's log as well as where it went before."""

from __future__ import annotations

import io
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["captured_output", "without_secrets"]

_SIGNATURE: Final = re.compile(r"((?:X-Goog-)?Signature=)[0-9A-Za-z%+/=]{16,}")
"""Of a signed URL: whoever has it can read the object."""


def without_secrets(text: str, token: str) -> str:
    """Take the job's token and the signatures of URLs out of some log."""
    return _SIGNATURE.sub(r"\1[secret]", text.replace(token, "[secret]"))


class _Tee(io.TextIOBase):
    """Writes to the original and, a whole line at a time, to the log."""

    def __init__(self, original: TextIO, leave: Callable[[str], None]) -> None:
        super().__init__()
        self._original = original
        self._leave = leave
        self._line = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._original.encoding

    def __getattr__(self, name: str) -> Any:
        # Such as `buffer`: bytes that are written past this one are not in the log.
        return getattr(self._original, name)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._original.isatty()

    def fileno(self) -> int:
        return self._original.fileno()

    def write(self, text: str) -> int:
        self._original.write(text)
        # A secret is never split over two lines, so whole lines can be looked through.
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            self._leave("\n".join(lines) + "\n")
        return len(text)

    def flush(self) -> None:
        self._original.flush()

    def finish(self) -> None:
        """Pass on a last line without an end."""
        if self._line:
            self._leave(self._line + "\n")
            self._line = ""


@contextmanager
def captured_output(leave: Callable[[str], None], token: str) -> Iterator[None]:
    """Send what Python prints to the log as well; other processes' output is not seen here."""

    def pass_on(text: str) -> None:
        leave(without_secrets(text, token))

    before = sys.stdout, sys.stderr
    tees = _Tee(before[0], pass_on), _Tee(before[1], pass_on)
    sys.stdout, sys.stderr = tees
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for tee in tees:
            tee.finish()
