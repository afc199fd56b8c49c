"""Media references of the steps, digests of the files, and whether they agree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from continuon.rlds import codes

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = "blobs/"
_SAFE: Final = re.compile(r"blobs(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")

VISION_BLOCKS: Final = ("egocentric_video", "video", "depth", "audio")
"""Blocks of an observation that may hold one media reference themselves (companion app)."""


class Reference(NamedTuple):
    """One media reference of a step: the URI as written, the digest it gives, and where it is."""

    uri: str
    sha256: str | None
    path: str


class Digest(NamedTuple):
    """What was read of one file."""

    size: int
    sha256: str


def is_safe(uri: str) -> bool:
    """Whether a reference is a plain relative path under `blobs/`."""
    return _SAFE.fullmatch(uri) is not None


def is_sha256(value: str) -> bool:
    """Whether a string is a SHA-256 in hexadecimal."""
    return _SHA256.fullmatch(value) is not None


def is_lower_sha256(value: str) -> bool:
    """Whether a string is a SHA-256 in lower-case hexadecimal, the form that is compared."""
    return _SHA256.fullmatch(value) is not None and value == value.lower()


def references(observation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every block of an observation that may hold a `uri`, with its path in the step.

    These are `media.*`, `segmentation.masks[]` and the blocks of `VISION_BLOCKS`. Other fields are
    unknown ones and are kept without a look inside.
    """
    media = observation.get("media")
    if isinstance(media, dict):
        for name, block in media.items():
            if isinstance(block, dict):
                yield f"observation.media.{name}", block
    segmentation = observation.get("segmentation")
    masks = segmentation.get("masks") if isinstance(segmentation, dict) else None
    for index, block in enumerate(masks if isinstance(masks, list) else ()):
        if isinstance(block, dict):
            yield f"observation.segmentation.masks[{index}]", block
    for name in VISION_BLOCKS:
        block = observation.get(name)
        if isinstance(block, dict):
            yield f"observation.{name}", block


def read_reference(path: str, block: dict[str, Any]) -> Reference | tuple[str, str, str] | None:
    """Read the reference in a block.

    Returns:
        The reference, None when the block has no `uri`, or a fault (code, path, message).
    """
    uri = block.get("uri")
    if uri is None:
        return None
    if not isinstance(uri, str) or not is_safe(uri):
        shown = uri[:80] if isinstance(uri, str) else type(uri).__name__
        return (codes.BLOBS_PATH_UNSAFE, f"{path}.uri", f"{shown!r} is not a path under blobs/")
    sha256 = block.get("sha256")
    if sha256 is None:
        return Reference(uri, None, f"{path}.uri")
    if not isinstance(sha256, str) or not is_sha256(sha256):
        return (codes.STEPS_TYPE, f"{path}.sha256", "sha256 is not 64 hexadecimal digits")
    return Reference(uri, sha256.lower(), f"{path}.uri")
