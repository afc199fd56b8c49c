"""The optional `manifest.json`: sizes and checksums of the other files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from continuon.rlds import blobs, codes
from continuon.rlds._json import JsonFault, loads

if TYPE_CHECKING:
    from continuon.limits import Limits
    from continuon.rlds.blobs import Digest
    from continuon.rlds.report import Findings

_FILE: Final = "manifest.json"
_JSON_CODES: Final = {
    "utf8": codes.TEXT_NOT_UTF8,
    "depth": codes.LIMITS_DEPTH,
    "nonfinite": codes.MANIFEST_INVALID,
    "syntax": codes.MANIFEST_INVALID,
}


class Entry(NamedTuple):
    """What the manifest says about one file; None where it is silent."""

    sha256: str | None
    size: int | None


@dataclass(slots=True)
class Manifest:
    """The entries by path."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def compare(self, digests: dict[str, Digest], findings: Findings, *, skip: set[str]) -> None:
        """Compare every entry with what was read, except the paths in `skip`."""
        for path, entry in sorted(self.entries.items()):
            if path in skip or path == _FILE:
                continue
            digest = digests.get(path)
            if digest is None:
                message = "listed in the manifest and absent"
                findings.add(codes.MANIFEST_FILE_MISSING, message, file=path)
            elif digest.sha256 and _differs(entry, digest):
                message = "size or SHA-256 differ from the manifest"
                findings.add(codes.MANIFEST_MISMATCH, message, file=path)


def _differs(entry: Entry, digest: Digest) -> bool:
    return entry.sha256 not in {None, digest.sha256} or entry.size not in {None, digest.size}


def check_manifest(data: bytes, findings: Findings, limits: Limits) -> Manifest:
    """Read `checksums.episodes[]` of a manifest; other content is kept without a look."""
    try:
        value = loads(data, max_depth=limits.depth)
    except JsonFault as fault:
        findings.add(_JSON_CODES[fault.kind], fault.message, file=_FILE, path=fault.path)
        return Manifest()
    manifest = Manifest()
    for index, item in enumerate(_items(value)):
        path = f"checksums.episodes[{index}]"
        entry = _entry(item)
        if entry is None:
            findings.add(codes.MANIFEST_INVALID, "not an entry", file=_FILE, path=path)
        else:
            manifest.entries[item["path"]] = entry
    return manifest


def _items(value: Any) -> list[Any]:
    checksums = value.get("checksums") if isinstance(value, dict) else None
    items = checksums.get("episodes") if isinstance(checksums, dict) else None
    return items if isinstance(items, list) else []


def _entry(item: Any) -> Entry | None:
    if not isinstance(item, dict) or not isinstance(item.get("path"), str):
        return None
    sha256, size = item.get("sha256"), item.get("size_bytes")
    if sha256 is not None and not (isinstance(sha256, str) and blobs.is_sha256(sha256)):
        return None
    if size is not None and type(size) is not int:
        return None
    return Entry(None if sha256 is None else sha256.lower(), size)
