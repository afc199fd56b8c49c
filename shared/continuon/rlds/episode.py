"""An episode as a set of files, read one after the other in any order."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from continuon.rlds import blobs, codes, shapes
from continuon.rlds._schema import Schemas
from continuon.rlds.blobs import Digest
from continuon.rlds.errors import StopReading
from continuon.rlds.manifest import Manifest, check_manifest
from continuon.rlds.merge import Merged, Merger, Place, iterate_places
from continuon.rlds.metadata import FILE as METADATA_FILE
from continuon.rlds.metadata import ExpectedIdentity, Metadata, check_metadata
from continuon.rlds.quality import score
from continuon.rlds.report import Counts, Eligibility, Findings, Repair, Report
from continuon.rlds.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from continuon.limits import Limits

STEPS_FILE: Final = "steps.jsonl"
MANIFEST_FILE: Final = "manifest.json"
_SHARD: Final = re.compile(r"steps/(\d{6})\.jsonl")
_UNSAFE: Final = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|^/|//|[\\\x00-\x1f\x7f:]|^$|/$")
_NS_PER_MS: Final = 1_000_000
_DURATION_TOLERANCE: Final = 0.05
"""Declared and measured duration may differ by 5 %, or by one step period."""


class EpisodeMember(NamedTuple):
    """One file of an episode as a stream.

    Attributes:
        path: Relative to the episode's root, with forward slashes.
        size: Announced size in bytes, None when it is not known before reading.
        chunks: The bytes, iterated at most once.
    """

    path: str
    size: int | None
    chunks: Iterable[bytes]


class EpisodeCheck:
    """Takes the files of an episode one by one and ends in a report.

    Args:
        limits: What is accepted.
        expected: What was proven at upload.
        packaging: How the files arrive; in an archive, stray files are refused.
    """

    def __init__(
        self, limits: Limits, expected: ExpectedIdentity | None, packaging: str = "folder"
    ) -> None:
        self.limits = limits
        self.findings = Findings(limits.findings_per_code)
        self.packaging = packaging
        self.digests: dict[str, Digest] = {}
        self._expected = expected
        self._members = 0
        self._bytes = 0
        self._steps = 0
        self._metadata: Metadata | None = None
        self._manifest: Manifest | None = None
        self._single: Segment | None = None
        self._shards: dict[int, Segment] = {}
        self._last: Segment | None = None
        self._stopped = False
        self._cut = False
        self._schemas = Schemas()

    @property
    def _in_archive(self) -> bool:
        return self.packaging != "folder"

    def add(self, member: EpisodeMember) -> None:
        """Read one file to its end.

        Raises:
            StopReading: Nothing after this can be interpreted.
        """
        self._members += 1
        if self._members > self.limits.members:
            raise StopReading(codes.LIMITS_MEMBERS, f"more than {self.limits.members} files")
        if not self._admit(member.path):
            return
        if member.path in self.digests:
            code = codes.ARCHIVE_DUPLICATE if self._in_archive else codes.FILES_DUPLICATE
            self.findings.add(code, "the name occurs twice", file=member.path)
            return
        self._read(member)

    def _admit(self, path: str) -> bool:
        """Whether a file belongs to the layout; if not, say so."""
        if len(path.encode("utf-8", "replace")) > self.limits.path_bytes or _UNSAFE.search(path):
            code = codes.ARCHIVE_MEMBER_UNSAFE if self._in_archive else codes.FILES_PATH_UNSAFE
            self.findings.add(code, "the name is not a safe relative path", file=_shown(path))
            return False
        if path in {METADATA_FILE, STEPS_FILE, MANIFEST_FILE} or _SHARD.fullmatch(path):
            return True
        if path.startswith(blobs.PREFIX):
            if blobs.is_safe(path):
                return True
            code = codes.ARCHIVE_MEMBER_UNSAFE if self._in_archive else codes.FILES_PATH_UNSAFE
            self.findings.add(code, "the name has forbidden characters", file=_shown(path))
            return False
        code = codes.ARCHIVE_MEMBER_UNKNOWN if self._in_archive else codes.FILES_UNKNOWN
        self.findings.add(code, "not part of the episode layout", file=_shown(path))
        return False

    def _read(self, member: EpisodeMember) -> None:
        path = member.path
        hashing = _Hashing(member, self.limits)
        self.digests[path] = Digest(0, "")
        try:
            if path == METADATA_FILE:
                self._read_metadata(hashing)
            elif path == MANIFEST_FILE:
                self._read_manifest(hashing)
            elif not path.startswith(blobs.PREFIX):
                self.add_steps(path, hashing)
            for _ in hashing:
                pass
        except StopReading as fault:
            self._bytes += hashing.size
            if self._in_archive or fault.code not in {codes.LIMITS_LINE_SIZE, codes.LIMITS_STEPS}:
                raise
            self._report_stop(fault)
            self._cut = True
            return
        self._finish_member(member, hashing)

    def _finish_member(self, member: EpisodeMember, hashing: _Hashing) -> None:
        self.digests[member.path] = Digest(hashing.size, hashing.hexdigest())
        self._bytes += hashing.size
        if member.size is not None and member.size != hashing.size:
            message = f"{hashing.size} bytes, {member.size} announced"
            self.findings.add(codes.FILES_SIZE, message, file=member.path)
        if self._bytes > self.limits.episode_bytes:
            message = f"more than {self.limits.episode_bytes} bytes unpacked"
            raise StopReading(codes.ARCHIVE_TOO_LARGE, message)

    def _read_metadata(self, chunks: _Hashing) -> None:
        data = _collect(chunks, self.limits.metadata_bytes)
        if data is None:
            self._metadata = Metadata()
            message = f"larger than {self.limits.metadata_bytes} bytes"
            self.findings.add(codes.LIMITS_METADATA_SIZE, message, file=METADATA_FILE)
        else:
            self.add_metadata(data)

    def add_metadata(self, data: bytes) -> None:
        """Check the metadata object."""
        self._metadata = check_metadata(data, self.findings, self.limits, self._expected)

    def _read_manifest(self, chunks: _Hashing) -> None:
        data = _collect(chunks, self.limits.manifest_bytes)
        if data is None:
            message = f"larger than {self.limits.manifest_bytes} bytes"
            self.findings.add(codes.LIMITS_MANIFEST_SIZE, message, file=MANIFEST_FILE)
        else:
            self._manifest = check_manifest(data, self.findings, self.limits)

    def add_steps(self, path: str, chunks: Iterable[bytes]) -> None:
        """Read a steps file.

        Raises:
            StopReading: A limit is passed.
        """
        segment = self._open_steps(path)
        try:
            for chunk in chunks:
                segment.feed(chunk)
            segment.finish()
        except StopReading as fault:
            if not fault.reported:
                segment.interrupt()
            raise
        finally:
            self._steps += segment.steps

    def _open_steps(self, path: str) -> Segment:
        budget = self.limits.steps - self._steps
        segment = Segment(path, self.limits, step_budget=budget, schemas=self._schemas)
        shard = _SHARD.fullmatch(path)
        if shard is None:
            self._single = segment
        else:
            self._shards[int(shard[1])] = segment
        return segment

    def stop(self, fault: StopReading) -> None:
        """Take note that reading ended early; what was read is still reported."""
        self._report_stop(fault)
        self._stopped = True

    def _report_stop(self, fault: StopReading) -> None:
        if not fault.reported:
            self.findings.add(fault.code, fault.message, file=fault.file)

    def finish(self, *, size: int | None = None, sha256: str | None = None) -> Report:
        """Check what needs the whole episode and return the report.

        Args:
            size: Bytes of the object; None for a folder.
            sha256: Of the object; None for a folder, or when it was not read to its end.
        """
        segments, strays = self._segments()
        self._last = segments[-1] if segments else None
        whole = not (self._stopped or self._cut or strays)
        merged = Merger(self.findings, complete=whole).run(segments, strays)
        meta = self._metadata or Metadata()
        if not self._stopped:
            self._completeness(merged)
            self._check_blobs(merged)
        if whole:
            self._against_metadata(meta, merged)
        if self.packaging == "folder":
            size = self._bytes
            sha256 = None if self._stopped or self._cut else self._folder_digest()
        return self._report(meta, merged, size or 0, sha256)

    def _segments(self) -> tuple[list[Segment], list[Segment]]:
        """Return the shards from the first on without a gap, and those after a gap."""
        if self._shards and self._single is not None:
            message = "both steps.jsonl and steps/ are there"
            self.findings.add(codes.STEPS_BOTH_FORMS, message, file=STEPS_FILE)
        if self._single is not None:
            return [self._single], []
        numbers = sorted(self._shards)
        sound = next((k for k, number in enumerate(numbers) if k != number), len(numbers))
        if sound < len(numbers) and not self._stopped:
            message = f"shard {sound:06d} is missing before {numbers[sound]:06d}"
            file = f"steps/{numbers[sound]:06d}.jsonl"
            self.findings.add(codes.STEPS_SHARD_GAP, message, file=file)
        ordered = [self._shards[number] for number in numbers]
        return ordered[:sound], ordered[sound:]

    def _completeness(self, merged: Merged) -> None:
        if self._metadata is None:
            self.findings.add(codes.METADATA_MISSING, "no metadata.json", file=METADATA_FILE)
        if self._single is None and not self._shards:
            self.findings.add(codes.STEPS_MISSING, "no steps file", file=STEPS_FILE)
        elif merged.steps == 0:
            file = self._single.file if self._single else min(s.file for s in self._shards.values())
            self.findings.add(codes.STEPS_EMPTY, "the steps file holds no step", file=file)

    def _check_blobs(self, merged: Merged) -> None:
        reported: set[str] = set()
        for uri, sha256, place, path in iterate_places(merged):
            fault = self._blob_fault(uri, sha256)
            if fault is None or uri in reported:
                continue
            reported.add(uri)
            merged.mark_bad(place)
            self.findings.add(fault[0], fault[1], file=place.file, step=place.step, path=path)
        used = {uri for uri, _ in merged.references}
        if self._manifest is not None:
            self._manifest.compare(self.digests, self.findings, skip=reported)
        if self.findings.of("problem"):
            return  # a reference may have been lost with what is broken
        for path in sorted(self.digests.keys() - used):
            if path.startswith(blobs.PREFIX):
                self.findings.add(codes.BLOBS_UNREFERENCED, "no step refers to it", file=path)

    def _blob_fault(self, uri: str, sha256: str | None) -> tuple[str, str] | None:
        digest = self.digests.get(uri)
        if digest is None:
            return codes.BLOBS_MISSING, f"{uri} is absent"
        if digest.size == 0:
            return codes.BLOBS_EMPTY, f"{uri} has no bytes"
        if sha256 is not None and digest.sha256 != sha256:
            return (
                codes.BLOBS_CHECKSUM,
                f"{uri} has SHA-256 {digest.sha256}, the step says {sha256}",
            )
        listed = self._manifest.entries.get(uri) if self._manifest else None
        if listed is not None and listed.sha256 not in {None, digest.sha256}:
            return codes.BLOBS_CHECKSUM, f"{uri} differs from its SHA-256 in manifest.json"
        return None

    def _against_metadata(self, meta: Metadata, merged: Merged) -> None:
        if merged.steps == 0:
            return
        if meta.step_count is not None and meta.step_count != merged.steps:
            message = f"step_count is {meta.step_count}, there are {merged.steps} steps"
            self.findings.add(
                codes.STEPS_COUNT_MISMATCH, message, file=METADATA_FILE, path="step_count"
            )
        if meta.duration_ms is None or merged.duration_ns is None:
            return
        measured = merged.duration_ns / _NS_PER_MS
        period = (merged.timing.period_ns or 0) / _NS_PER_MS
        tolerance = max(period, _DURATION_TOLERANCE * measured)
        if abs(meta.duration_ms - measured) > tolerance:
            message = f"duration_ms is {meta.duration_ms:g}, the steps span {measured:g}"
            self.findings.add(
                codes.METADATA_DURATION, message, file=METADATA_FILE, path="duration_ms"
            )

    def _folder_digest(self) -> str:
        lines = [f"{d.sha256}  {d.size}  {path}\n" for path, d in sorted(self.digests.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _report(self, meta: Metadata, merged: Merged, size: int, sha256: str | None) -> Report:
        shape = self._shape(meta, merged)
        problems = self.findings.of("problem")
        no_upload = meta.no_upload or codes.PRIVACY_NO_UPLOAD in self.findings.totals
        reasons = [codes.ELIGIBILITY_INVALID] if problems else []
        reasons += [codes.ELIGIBILITY_PII_PENDING] if meta.pii_pending else []
        blob_count = sum(path.startswith(blobs.PREFIX) for path in self.digests)
        duration = merged.duration_ns
        return Report(
            verdict="invalid" if problems else "valid",
            profile=meta.profile,
            shape=shape,
            packaging=self.packaging,
            schema_version=meta.schema_version,
            episode_id=meta.text("episode_id"),
            robot_id=meta.text("robot_id"),
            counts=Counts(steps=merged.steps, blobs=blob_count, files=len(self.digests)),
            duration_ms=None if duration is None else duration / _NS_PER_MS,
            bytes=size,
            sha256=sha256,
            problems=problems,
            warnings=self.findings.of("warning"),
            totals=dict(sorted(self.findings.totals.items())),
            eligibility=Eligibility(training_eligible=not reasons, reasons=reasons),
            quality=score(merged.timing, merged.sample, meta.values) if merged.steps else None,
            repair=self._repair(merged),
            metadata=meta.values,
            no_upload=no_upload,
        )

    def _shape(self, meta: Metadata, merged: Merged) -> str:
        shape = meta.shape
        if shape == shapes.CANONICAL and merged.shape is not None:
            shape = merged.shape
        if shape == shapes.KOTLIN:
            self.findings.add(codes.SHAPE_KOTLIN, "read as the documented shape")
        elif shape == shapes.FLUTTER:
            self.findings.add(codes.SHAPE_FLUTTER, "read as the documented shape")
        return shape

    def _repair(self, merged: Merged) -> Repair | None:
        """Offer the sound prefix when a step is broken and steps before it are not.

        The new last step needs its `is_last`, and the metadata their counts, set again.
        """
        bad = merged.first_bad
        if bad is None and self._stopped and self._last is not None:
            bad = Place(merged.steps, self._last.file, self._last.length)
        if bad is None or bad.step == 0 or self.packaging == "document":
            return None
        return Repair(steps=bad.step, bytes=bad.offset, file=bad.file)


class _Hashing:
    """Iterates a member once, counting and hashing, and stops at the size limit."""

    def __init__(self, member: EpisodeMember, limits: Limits) -> None:
        self._member = member
        self._limit = limits.member_bytes
        self._hash = hashlib.sha256()
        self._chunks = iter(member.chunks)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            if self.size > self._limit:
                message = f"larger than {self._limit} bytes"
                raise StopReading(codes.LIMITS_MEMBER_SIZE, message, file=self._member.path)
            self._hash.update(chunk)
            yield chunk

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _collect(chunks: Iterable[bytes], limit: int) -> bytes | None:
    """Join a small file, or return None when it is larger than `limit`."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def _shown(path: str) -> str:
    """Make a hostile name safe to print and to encode."""
    return path[:200].encode("unicode_escape").decode("ascii")
