"""The entry points: bytes in, report out. Nothing here raises for bad input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon.limits import DEFAULT_LIMITS, Limits
from continuon.rlds.document import check_document
from continuon.rlds.episode import EpisodeCheck, EpisodeMember
from continuon.rlds.errors import StopReading
from continuon.rlds.packaging import Packaging, strip_top_folder
from continuon.rlds.reader import ByteReader, Measured, gunzip
from continuon.rlds.tar import read_tar
from continuon.rlds.zip import read_zip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from continuon.rlds.metadata import ExpectedIdentity
    from continuon.rlds.report import Report


def validate_members(
    members: Iterable[EpisodeMember],
    *,
    expected: ExpectedIdentity | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Report:
    """Validate an episode that is a set of files, in any order.

    Each file's bytes are read at most once, in the order given, in bounded memory.

    Args:
        members: The files with their paths relative to the episode.
        expected: What was proven at upload.
        limits: What is accepted.

    Returns:
        The report. Only errors of the byte sources themselves are raised, unchanged.
    """
    check = EpisodeCheck(limits, expected)
    _add_all(check, members)
    return check.finish()


def validate_stream(
    chunks: Iterable[bytes],
    *,
    packaging: Packaging,
    expected: ExpectedIdentity | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Report:
    """Validate an episode that is one object, in a single pass over its bytes.

    The whole object is read, also after a problem, so that the report has its SHA-256; only an
    object larger than `limits.episode_bytes` is left alone there.

    Args:
        chunks: The bytes, in pieces of any size.
        packaging: The object's form, see `detect_packaging`.
        expected: What was proven at upload.
        limits: What is accepted.

    Returns:
        The report. Only errors of the byte source itself are raised, unchanged.
    """
    source = Measured(chunks, limits.episode_bytes)
    check = EpisodeCheck(limits, expected, packaging.value)
    if packaging is Packaging.DOCUMENT:
        _add_document(check, source, limits)
    else:
        _add_all(check, archive_members(source, packaging, limits))
    source.drain()
    return check.finish(size=source.size, sha256=source.hexdigest())


def archive_members(
    source: Measured, packaging: Packaging, limits: Limits
) -> Iterator[EpisodeMember]:
    """Yield the files of an archive by their names inside the episode, in the archive's order.

    Raises:
        StopReading: The archive cannot be read on.
    """
    if packaging is Packaging.ZIP:
        return strip_top_folder(read_zip(ByteReader(source), limits.members))
    unpacked = gunzip(source) if packaging is Packaging.TAR_GZ else source
    return strip_top_folder(read_tar(ByteReader(unpacked)))


def _add_all(check: EpisodeCheck, members: Iterable[EpisodeMember]) -> None:
    try:
        for member in members:
            check.add(member)
    except StopReading as fault:
        check.stop(fault)


def _add_document(check: EpisodeCheck, source: Measured, limits: Limits) -> None:
    try:
        check_document(source, check, limits)
    except StopReading as fault:
        check.stop(fault)
