"""The committed site, read as files: what can be known without a browser."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTING = ROOT / "hosting"
VENDOR = HOSTING / "docs" / "vendor"
PAGES = sorted(HOSTING.glob("**/*.html"))


def drawing(path: Path) -> list[str]:
    """The lines of the loop's shapes and words, without the frame that differs by place."""
    text = path.read_text(encoding="utf-8")
    start, end = text.index('<path class="loop-arrow'), text.rindex("exactly once.</text>")
    return [line.strip() for line in text[start:end].splitlines()]


def test_the_readme_shows_the_same_loop_as_the_landing_page() -> None:
    lines = drawing(ROOT / "docs" / "loop.svg")

    assert len(lines) > 40
    assert lines == drawing(HOSTING / "index.html")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_needs_no_exception_from_the_policy(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text) == []
    assert re.findall(r"<script(?![^>]*\ssrc=\"/)", text) == []
    assert re.findall(r"(?:src|href)=\"(?!/|#)[^\"]*", text) == []


def test_the_vendored_files_are_the_published_ones() -> None:
    sums = re.findall(r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "README.md").read_text(), re.MULTILINE)

    assert {name for _, name in sums} == {"swagger-ui-bundle.js", "swagger-ui.css"}
    for digest, name in sums:
        content = (VENDOR / "swagger-ui" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest, name
