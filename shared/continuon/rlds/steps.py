"""The steps of an episode one after the other, in the documented shape: what readers build on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from continuon.limits import DEFAULT_LIMITS, Limits
from continuon.rlds import codes, shapes
from continuon.rlds._json import JsonFault, loads
from continuon.rlds.api import archive_members
from continuon.rlds.document import STEPS_PATH, document_lines
from continuon.rlds.episode import STEPS_FILE
from continuon.rlds.errors import SourceError, StepsError, StopReading
from continuon.rlds.packaging import SNIFF_BYTES, Packaging, detect_packaging
from continuon.rlds.reader import Measured
from continuon.rlds.sources import folder_members, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from continuon.rlds.episode import EpisodeMember

_SHARD: Final = re.compile(r"steps/\d{6}\.jsonl")


def iter_steps(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Iterator[dict[str, Any]]:
    """Yield the steps of a folder, an archive or a document in their order.

    At most one line and one chunk of the file are held in memory; a document, which has no lines,
    is held as bytes (at most `limits.document_bytes`). The rules of the format are not checked
    here: `validate_path` does that. Shards are put in order, wherever they stand in an archive.

    Args:
        path: The folder or file.
        limits: What is accepted.

    Yields:
        Each step in the documented shape; the shapes of other clients are normalised.

    Raises:
        SourceError: There is no readable file or folder at `path`.
        StepsError: A line is not a step, or the packaging is broken; with the episode code.
    """
    shape: str | None = None
    step = 0
    file: str | None = None
    try:
        for name, line in _lines(path, limits):
            file = name
            value = _decode(line, limits)
            shape = shape or shapes.detect_step_shape(value)
            yield shapes.normalise_step(value)[0] if shape == shapes.KOTLIN else value
            step += 1
    except StopReading as fault:
        raise StepsError(fault.code, fault.message, file=fault.file or file, step=step) from fault
    except shapes.ShapeFault as fault:
        raise StepsError(codes.SHAPE_UNKNOWN, fault.message, file=file, step=step) from fault
    except JsonFault as fault:
        raise StepsError(codes.STEPS_JSON_INVALID, fault.message, file=file, step=step) from fault
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def _decode(line: bytes, limits: Limits) -> dict[str, Any]:
    value = loads(line, max_depth=limits.depth)
    if not isinstance(value, dict):
        raise StopReading(codes.STEPS_TYPE, "a step is not an object")
    return value


def _lines(path: Path, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each steps file with each of its lines."""
    if path.is_dir():
        for member in folder_members(path):
            if _has_steps(member.path):
                yield from _member_lines(member, limits)
        return
    with path.open("rb") as opened:
        first = opened.read(SNIFF_BYTES)
    packaging = detect_packaging(first, path.name)
    if packaging is Packaging.DOCUMENT:
        source = Measured(read_file(path), limits.episode_bytes)
        yield from ((STEPS_PATH, line) for line in document_lines(source, limits))
    else:
        yield from _archive_lines(path, packaging, limits)


def _archive_lines(path: Path, packaging: Packaging, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """Read an archive as often as its shards stand out of order: once, as writers make them."""
    wanted = sorted(m.path for m in _members(path, packaging, limits) if _has_steps(m.path))
    done = 0
    while done < len(wanted):
        before = done
        for member in _members(path, packaging, limits):
            if done < len(wanted) and member.path == wanted[done]:
                done += 1
                yield from _member_lines(member, limits)
        if done == before:
            raise StopReading(codes.STEPS_MISSING, "the archive changed while it was read")


def _members(path: Path, packaging: Packaging, limits: Limits) -> Iterator[EpisodeMember]:
    """Yield the members of an archive; the bytes of one that is not used are passed over."""
    source = Measured(read_file(path), limits.episode_bytes)
    for member in archive_members(source, packaging, limits):
        yield member
        for _ in member.chunks:
            pass


def _has_steps(name: str) -> bool:
    return name == STEPS_FILE or _SHARD.fullmatch(name) is not None


def _member_lines(member: EpisodeMember, limits: Limits) -> Iterator[tuple[str, bytes]]:
    return ((member.path, line) for line in _split(member.chunks, limits.line_bytes))


def _split(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield the lines that are not blank."""
    rest = bytearray()
    for chunk in chunks:
        # Only the new bytes are searched: a long line in small pieces costs linear time.
        head, found, tail = chunk.rpartition(b"\n")
        if found:
            rest += head
            yield from _not_blank(bytes(rest).split(b"\n"), limit)
            rest = bytearray(tail)
        else:
            rest += chunk
        if len(rest) > limit + 1:
            raise StopReading(codes.LIMITS_LINE_SIZE, f"line longer than {limit} bytes")
    yield from _not_blank([bytes(rest)], limit)


def _not_blank(lines: list[bytes], limit: int) -> Iterator[bytes]:
    for line in lines:
        if len(line.removesuffix(b"\r")) > limit:
            raise StopReading(codes.LIMITS_LINE_SIZE, f"line longer than {limit} bytes")
        if line and not line.isspace():
            yield line
