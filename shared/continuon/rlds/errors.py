"""The validator's own error family.

Bad input never leaves `validate_*` as an exception: it becomes a `Report`. These types travel
inside the package only, except for `ReportError`, `SourceError` and `StepsError`.
"""

from __future__ import annotations


class EpisodeError(Exception):
    """Base of everything the validator raises itself."""


class ReportError(EpisodeError, ValueError):
    """A stored report cannot be read back."""


class SourceError(EpisodeError, OSError):
    """A local path cannot be read as an episode (absent, not a file or folder)."""


class StepsError(EpisodeError, ValueError):
    """A step cannot be read; `validate_path` on the same episode lists every problem.

    Attributes:
        code: Stable code, see `continuon.rlds.codes`.
        message: What is wrong, for people.
        file: The member it was found in, when known.
        step: Number of the step that could not be read, counted from 0 over all shards.
    """

    def __init__(self, code: str, message: str, *, file: str | None, step: int) -> None:
        super().__init__(f"{code}: {message} (step {step} of {file or 'the episode'})")
        self.code = code
        self.message = message
        self.file = file
        self.step = step


class StopReading(EpisodeError):  # noqa: N818 - control flow inside the package, not a failure of ours
    """The input is so broken, or so large, that nothing after it can be interpreted.

    Attributes:
        code: The finding to report.
        message: Its sentence.
        file: The member it was found in, when known.
        reported: The finding was already added, with its step.
    """

    def __init__(
        self, code: str, message: str, *, file: str | None = None, reported: bool = False
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.file = file
        self.reported = reported
