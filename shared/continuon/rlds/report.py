"""The report: what the validator says about an episode, on the robot and in the cloud alike."""

from __future__ import annotations

import builtins  # noqa: TC003 - msgspec reads the annotations at run time
from collections import Counter
from typing import Any, Literal

import msgspec

from continuon.rlds import codes
from continuon.rlds.errors import ReportError


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One problem or warning.

    Attributes:
        code: Stable code, see `continuon.rlds.codes`.
        message: One sentence for people.
        file: Path of the member inside the episode, or None.
        step: Global number of the step, counted from 0 over all shards, or None.
        path: Dotted path of the field inside the file or step, or None.
    """

    code: str
    message: str
    file: str | None = None
    step: int | None = None
    path: str | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps, blobs and files (all members, blobs included) were read."""

    steps: int = 0
    blobs: int = 0
    files: int = 0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the quality score.

    Attributes:
        score: 0 (bad) to 1 (good).
        value: The number the score came from; None when it could not be measured.
        unit: Unit of `value`.
        explanation: The formula, in a sentence.
    """

    score: float
    value: float | None
    unit: str
    explanation: str


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of the measurable parts, and the parts by name."""

    score: float
    parts: dict[str, Part]


class Eligibility(msgspec.Struct, frozen=True, kw_only=True):
    """Whether training may use the episode, and the reason codes when not."""

    training_eligible: bool
    reasons: list[str] = []


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """The longest sound prefix of an episode with a broken tail.

    Attributes:
        steps: Steps before the first broken one.
        bytes: Length to which `file` would be cut; later shards would be dropped.
        file: The steps file to cut.
    """

    steps: int
    bytes: int
    file: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    r"""What was found. `to_json` gives `report.json`, byte for byte reproducible.

    Attributes:
        verdict: `valid` or `invalid`; warnings do not make an episode invalid.
        profile: `xr` or `base`.
        shape: The client's shape: `canonical`, `kotlin` or `flutter`.
        packaging: `folder`, `tar`, `tar.gz`, `zip` or `document`.
        schema_version: As recorded, "1.0" when missing, None without readable metadata.
        episode_id: As recorded, or None.
        robot_id: As recorded, or None.
        counts: Steps, blobs, files.
        duration_ms: Last minus first time of the steps, in milliseconds; None without times.
        bytes: Size of the object; for a folder the sum of its files.
        sha256: Of the object, lower-case hex. For a folder: over the lines
            `SHA256  SIZE  PATH\n` of its files, sorted by path. None when reading stopped.
        problems: What refuses the episode, ordered by step; at most a stated number per code.
        warnings: What does not.
        totals: For each code, how often it occurred, listed or not.
        eligibility: May training use it.
        quality: None when no step could be read.
        repair: None unless cutting the tail would leave sound steps.
        metadata: The normalised metadata object, unknown fields kept; None when unreadable.
        no_upload: The recording forbids upload; the uploaded copy must be deleted.
    """

    verdict: Literal["valid", "invalid"]
    profile: Literal["xr", "base"]
    shape: str
    packaging: str
    schema_version: str | None
    episode_id: str | None
    robot_id: str | None
    counts: Counts
    duration_ms: float | None
    bytes: int
    sha256: str | None
    problems: list[Finding]
    warnings: list[Finding]
    totals: dict[str, int]
    eligibility: Eligibility
    quality: Quality | None
    repair: Repair | None
    metadata: dict[str, Any] | None
    no_upload: bool

    @property
    def is_valid(self) -> bool:
        """Whether the verdict is `valid`."""
        return self.verdict == "valid"

    def to_json(self) -> builtins.bytes:
        """Return the report as JSON in UTF-8."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: builtins.bytes) -> Report:
        """Read a stored report.

        Raises:
            ReportError: The bytes are not a report.
        """
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ReportError(f"not a report: {error}") from error


class Findings:
    """Collects findings, listing at most `cap` per code and counting all."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self.listed: list[Finding] = []
        self.totals: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()

    def add(
        self,
        code: str,
        message: str,
        *,
        file: str | None = None,
        step: int | None = None,
        path: str | None = None,
        times: int = 1,
    ) -> None:
        """Record one finding, or `times` equal ones of which one is listed."""
        self.totals[code] += times
        if self._kept[code] < self._cap:
            self._kept[code] += 1
            self.listed.append(Finding(code=code, message=message, file=file, step=step, path=path))

    def absorb(self, other: Findings, *, base: int) -> None:
        """Take over the findings of a shard whose first step has the global number `base`."""
        unlisted = Counter(other.totals)
        for found in other.listed:
            unlisted[found.code] -= 1
            step = None if found.step is None else found.step + base
            self.add(found.code, found.message, file=found.file, step=step, path=found.path)
        for code, count in unlisted.items():
            self.totals[code] += count

    def of(self, severity: codes.Severity) -> list[Finding]:
        """Return the listed findings of one severity, ordered by step, file and code."""
        chosen = [f for f in self.listed if codes.CODES[f.code].severity == severity]
        return sorted(chosen, key=_order)


def _order(found: Finding) -> tuple[int, str, str, str]:
    step = -1 if found.step is None else found.step
    return (step, found.file or "", found.code, found.path or "")
