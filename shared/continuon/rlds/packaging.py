"""The forms an episode travels in, and how to tell them apart."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from continuon.rlds import codes
from continuon.rlds.errors import StopReading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from continuon.rlds.episode import EpisodeMember


class Packaging(enum.StrEnum):
    """How the bytes of one object hold an episode."""

    TAR_GZ = "tar.gz"
    TAR = "tar"
    ZIP = "zip"
    DOCUMENT = "document"


SNIFF_BYTES: Final = 512
"""First bytes that `detect_packaging` wants to see; fewer work when the object is shorter."""

_ROOTS: Final = frozenset({"metadata.json", "steps.jsonl", "manifest.json", "steps", "blobs"})
_BY_TYPE: Final = {
    "application/gzip": Packaging.TAR_GZ,
    "application/x-gzip": Packaging.TAR_GZ,
    "application/x-tar": Packaging.TAR,
    "application/zip": Packaging.ZIP,
    "application/json": Packaging.DOCUMENT,
}
_BY_SUFFIX: Final = {
    ".tar.gz": Packaging.TAR_GZ,
    ".tgz": Packaging.TAR_GZ,
    ".tar": Packaging.TAR,
    ".zip": Packaging.ZIP,
    ".json": Packaging.DOCUMENT,
}


def detect_packaging(
    first_bytes: bytes, name: str | None = None, content_type: str | None = None
) -> Packaging:
    """Tell the form of an object; its bytes outweigh its type, its type its name.

    Args:
        first_bytes: The first `SNIFF_BYTES` of the object.
        name: Object or file name.
        content_type: As declared.

    Returns:
        The form; `document` when nothing else fits, so that the report names what is wrong.
    """
    if first_bytes[:2] == b"\x1f\x8b":
        return Packaging.TAR_GZ
    if first_bytes[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return Packaging.ZIP
    if first_bytes[257:262] == b"ustar":
        return Packaging.TAR
    if first_bytes.lstrip()[:1] == b"{":
        return Packaging.DOCUMENT
    declared = _BY_TYPE.get((content_type or "").split(";")[0].strip().lower())
    if declared is not None:
        return declared
    suffixes = (kind for end, kind in _BY_SUFFIX.items() if (name or "").lower().endswith(end))
    return next(suffixes, Packaging.DOCUMENT)


def strip_top_folder(members: Iterable[EpisodeMember]) -> Iterator[EpisodeMember]:
    """Take the one top folder off the names of an archive, and drop folder entries.

    `tar czf episode.tar.gz .` writes every name behind `./`; that one prefix means nothing and is
    taken off first.

    Raises:
        StopReading: A member lies outside the top folder.
    """
    top: str | None = None
    for member in members:
        path = member.path.removeprefix("./")
        if not path and member.path:
            continue
        first = path.split("/", 1)[0]
        if top is None and first not in {"", ".", ".."}:
            top = "" if first in _ROOTS else first + "/"
        if path.endswith("/") and _is_plain_folder(path):
            continue
        if top and not path.startswith(top):
            message = f"outside the top folder {top[:100]!r}"
            code = codes.ARCHIVE_MEMBER_UNKNOWN
            if _leaves(path):
                code, message = codes.ARCHIVE_MEMBER_UNSAFE, "the name leaves the episode folder"
            raise StopReading(code, message, file=path[:200])
        yield member._replace(path=path[len(top or "") :])


def _is_plain_folder(path: str) -> bool:
    return not _leaves(path) and path != "/"


def _leaves(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/") or "\\" in path
