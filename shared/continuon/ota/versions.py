"""Versions and requirements on them, by PEP 440.

One rule for both sides: the version of a bundle and the version of a robot's software are PEP 440
versions. What SemVer writes is read too, as far as PEP 440 can (``1.2.0-alpha.1`` is ``1.2.0a1``).
A requirement is a PEP 440 specifier set such as ``>=1.0.0,<3``; an empty one accepts everything.
SemVer's ``^1.2`` and ``~1.2`` are refused by name instead of being guessed at.

A robot's pre-release counts by its place in the order: ``2.0.0rc1`` satisfies ``>=1.0.0`` and does
not satisfy ``>=2.0.0``. PEP 440 leaves pre-releases out unless asked, which is right for choosing
what to install and wrong for judging what is already running.
"""

from __future__ import annotations

from typing import Annotated, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, StringConstraints

from continuon.ota.errors import VersionError

__all__ = [
    "BundleVersion",
    "Requirement",
    "SoftwareVersion",
    "canonical_version",
    "check_requirement",
    "is_lower",
    "parse_version",
    "satisfies",
]

MAX_VERSION_CHARS: Final = 64
"""A version becomes part of an object name and of a metadata path."""

MAX_REQUIREMENT_CHARS: Final = 200
"""A dozen clauses; the longest honest one has three."""


def parse_version(text: str) -> Version:
    """Read a version.

    Raises:
        VersionError: It is no PEP 440 version, or too long.
    """
    if len(text) > MAX_VERSION_CHARS:
        raise VersionError(f"a version has at most {MAX_VERSION_CHARS} characters")
    try:
        return Version(text)
    except InvalidVersion as error:
        raise VersionError(
            f"{text!r} is not a version (PEP 440), such as 1.4.0 or 2.0rc1"
        ) from error


def canonical_version(text: str) -> str:
    """Return the one spelling of a bundle's version, which is its name in paths.

    Raises:
        VersionError: It is no version, or has an epoch or a local part (``1!2.0``, ``1.0+lab``),
            which are no safe names and which no registry gives out.
    """
    version = parse_version(text)
    if version.epoch or version.local:
        raise VersionError(f"a bundle's version has no epoch and no local part: {text!r}")
    return str(version)


def check_requirement(text: str) -> SpecifierSet:
    """Read a requirement on the robot's software.

    Raises:
        VersionError: It is no PEP 440 specifier set.
    """
    if len(text) > MAX_REQUIREMENT_CHARS:
        raise VersionError(f"a requirement has at most {MAX_REQUIREMENT_CHARS} characters")
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        hint = " (SemVer's ^ and ~ are not understood)" if text.lstrip()[:1] in {"^", "~"} else ""
        raise VersionError(
            f"{text!r} is not a requirement (PEP 440), such as >=1.0.0,<2{hint}"
        ) from error


def satisfies(version: str, requirement: str) -> bool:
    """Tell whether a robot's software ``version`` meets ``requirement``.

    Raises:
        VersionError: One of them cannot be read. That is not a yes.
    """
    return check_requirement(requirement).contains(parse_version(version), prereleases=True)


def is_lower(version: str, than: str) -> bool:
    """Tell whether ``version`` comes before ``than``.

    Raises:
        VersionError: One of them cannot be read.
    """
    return parse_version(version) < parse_version(than)


def _already_canonical(text: str) -> str:
    if canonical_version(text) != text:
        raise VersionError(f"write {canonical_version(text)!r} instead of {text!r}")
    return text


def _checked_version(text: str) -> str:
    parse_version(text)
    return text


def _checked_requirement(text: str) -> str:
    check_requirement(text)
    return text


BundleVersion = Annotated[
    str, StringConstraints(min_length=1, max_length=64), AfterValidator(_already_canonical)
]
"""The version of a bundle, in its one canonical spelling."""

SoftwareVersion = Annotated[
    str, StringConstraints(min_length=1, max_length=64), AfterValidator(_checked_version)
]
"""The version of a robot's software; any PEP 440 version."""

Requirement = Annotated[
    str, StringConstraints(max_length=200), AfterValidator(_checked_requirement)
]
"""A PEP 440 specifier set; empty accepts everything."""
