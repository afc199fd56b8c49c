"""Writing and reading bundles: plain tar archives of which every byte is determined.

The same files and the same manifest give the same bytes, on any machine and in any year, so a
bundle can be built again and compared. The archive is not compressed: weights do not shrink, and a
compressed one would depend on the library that made it.

Reading trusts nothing: the manifest comes first and is small, then exactly the files it lists, in
its order, with its sizes and hashes. Anything else ends the reading.
"""

from __future__ import annotations

import hashlib
import tarfile
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from continuon.ota.errors import BundleError
from continuon.ota.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, read_manifest
from continuon.rlds.errors import StopReading
from continuon.rlds.reader import ByteReader
from continuon.rlds.tar import BLOCK, read_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from continuon.ota.manifest import BundleFile, BundleManifest
    from continuon.rlds.episode import EpisodeMember

__all__ = ["BundleMember", "BundleReader", "BundleSize", "write_bundle"]

_MODE: Final = 0o644
_COPY_BYTES: Final = 1024 * 1024
_END_BYTES: Final = 2 * BLOCK
"""POSIX: two blocks of zeros. The usual padding to a tape's record says nothing and is left out."""


class BundleSize(NamedTuple):
    """What signed metadata says of an archive: its length in bytes and its SHA-256 in hex."""

    size_bytes: int
    sha256: str


class BundleMember(NamedTuple):
    """One file of a bundle; ``chunks`` is read once, and its hash is checked at its end."""

    file: BundleFile
    chunks: Iterator[bytes]


class _Measured:
    """Counts and hashes what is written through it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        self._out.write(data)

    def measured(self) -> BundleSize:
        return BundleSize(self.size, self._hash.hexdigest())


def write_bundle(
    manifest: BundleManifest, open_file: Callable[[str], BinaryIO], out: BinaryIO
) -> BundleSize:
    """Write the bundle of ``manifest`` to ``out``.

    Args:
        manifest: Lists the files.
        open_file: Opens the file of a path for reading; it is closed after use.
        out: Only written to, from start to end.

    Returns:
        Length and hash of what was written.

    Raises:
        BundleError: A file is not what the manifest says.
    """
    measured = _Measured(out)
    document = manifest.to_bytes()
    measured.write(_header(MANIFEST_FILE, len(document)))
    measured.write(document + _padding(len(document)))
    for file in manifest.files:
        measured.write(_header(file.path, file.size_bytes))
        with open_file(file.path) as source:
            for piece in _source(source, file):
                measured.write(piece)
        measured.write(_padding(file.size_bytes))
    measured.write(bytes(_END_BYTES))
    return measured.measured()


def _source(source: BinaryIO, file: BundleFile) -> Iterator[bytes]:
    digest = hashlib.sha256()
    missing = file.size_bytes
    while missing and (piece := source.read(min(missing, _COPY_BYTES))):
        digest.update(piece)
        missing -= len(piece)
        yield piece
    if missing or source.read(1) or digest.hexdigest() != file.sha256:
        raise BundleError(f"{file.path} is not what the manifest says", code="bundle.file_changed")


def _header(path: str, size_bytes: int) -> bytes:
    header = tarfile.TarInfo(path)
    header.size, header.mode, header.mtime = size_bytes, _MODE, 0
    return header.tobuf(tarfile.USTAR_FORMAT)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % BLOCK)


class BundleReader:
    """A bundle that is read forward once.

    Attributes:
        manifest: Read on construction; nothing else was.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """Read the manifest.

        Raises:
            BundleError: The archive is malformed, or does not begin with a manifest.
        """
        self._members = _members(chunks)
        first = next(self._members, None)
        if first is None or first.path != MANIFEST_FILE:
            raise BundleError("a bundle begins with manifest.json")
        if first.size is None or first.size > MAX_MANIFEST_BYTES:
            raise BundleError("manifest.json is too large", code="bundle.too_large")
        self.manifest = read_manifest(b"".join(_pieces(first)))

    def members(self) -> Iterator[BundleMember]:
        """Yield the files in the order of the manifest; read each before the next.

        Raises:
            BundleError: There is a file too many or too few, or one with other content. What was
                yielded before must then not be used.
        """
        for file in self.manifest.files:
            found = next(self._members, None)
            if found is None:
                raise BundleError(f"{file.path} is missing", code="bundle.member_missing")
            if found.path != file.path or found.size != file.size_bytes:
                raise BundleError(
                    f"{found.path[:100]!r} is not the file that the manifest lists here",
                    code="bundle.member_unexpected",
                )
            chunks = _verified(found, file)
            yield BundleMember(file, chunks)
            for _ in chunks:
                pass
        extra = next(self._members, None)
        if extra is not None:
            raise BundleError(
                f"{extra.path[:100]!r} is not in the manifest", code="bundle.member_unexpected"
            )


def _members(chunks: Iterable[bytes]) -> Iterator[EpisodeMember]:
    try:
        yield from read_tar(ByteReader(chunks))
    except StopReading as error:
        raise BundleError(f"archive: {error.message}") from error


def _pieces(member: EpisodeMember) -> Iterator[bytes]:
    try:
        yield from member.chunks
    except StopReading as error:
        raise BundleError(f"archive: {error.message}", code="bundle.truncated") from error


def _verified(member: EpisodeMember, file: BundleFile) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in _pieces(member):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != file.sha256:
        raise BundleError(f"{file.path} has another SHA-256", code="bundle.member_corrupt")
