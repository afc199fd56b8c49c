"""Versions and requirements on them."""

from __future__ import annotations

import pytest

from continuon.ota.errors import VersionError
from continuon.ota.versions import canonical_version, is_lower, satisfies


@pytest.mark.parametrize(
    ("software", "requirement", "expected"),
    [
        ("1.0.0", ">=1.0.0", True),
        ("0.9.9", ">=1.0.0", False),
        ("1.10.0", ">=1.9", True),
        ("2.0.0", ">=1.0,<2", False),
        ("2.0.0rc1", ">=2.0.0", False),
        ("2.0.0rc1", ">=1.0.0", True),
        ("1.0.0+lab.3", "==1.0.0", True),
        ("1.2.0-alpha.1", ">=1.2.0a1", True),
        ("1.4.7", "~=1.4.2", True),
        ("0.0.1", "", True),
    ],
)
def test_a_requirement_is_judged_by_pep_440(
    software: str,
    requirement: str,
    expected: bool,  # noqa: FBT001 - a table
) -> None:
    assert satisfies(software, requirement) is expected


@pytest.mark.parametrize(
    ("software", "requirement"),
    [("latest", ">=1"), ("", ">=1"), ("1.0", "^1.0"), ("1.0", "~1.0"), ("1" * 65, "")],
)
def test_what_cannot_be_read_is_not_a_yes(software: str, requirement: str) -> None:
    with pytest.raises(VersionError):
        satisfies(software, requirement)


def test_versions_are_ordered_by_number_not_by_text() -> None:
    assert is_lower("1.9.0", "1.10.0")
    assert is_lower("1.10.0rc1", "1.10.0")
    assert not is_lower("1.10.0", "1.10")


def test_a_bundle_has_one_spelling_of_its_version() -> None:
    assert canonical_version("v1.02.0-beta.3") == "1.2.0b3"
