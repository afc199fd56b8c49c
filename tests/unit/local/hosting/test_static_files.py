"""Which file is served under which path, with clean URLs and trailing slashes each way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from continuon_local.hosting.config import HostingConfig
from continuon_local.hosting.static import Moved, StaticFiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def public(tmp_path: Path) -> Path:
    for name in ("index.html", "page.html", "dir/index.html", ".hidden", ".well-known/x.json"):
        (tmp_path / "public" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "public" / name).write_text(name)
    (tmp_path / "outside.txt").write_text("secret")
    (tmp_path / "public" / "link.txt").symlink_to(tmp_path / "outside.txt")
    return tmp_path / "public"


def resolved(config: HostingConfig, path: str) -> str | None:
    """Return the file's name, ``-> location`` for a redirect, or None."""
    found = StaticFiles(config).resolve(path)
    if isinstance(found, Moved):
        return f"-> {found.location}"
    return None if found is None else found.path.relative_to(config.public).as_posix()


@pytest.mark.parametrize(
    ("clean", "slash", "path", "expected"),
    [
        (False, None, "/", "index.html"),
        (False, None, "/page.html", "page.html"),
        (False, None, "/page", None),
        (False, None, "/dir", "-> /dir/"),
        (False, None, "/dir/", "dir/index.html"),
        (False, False, "/dir", "dir/index.html"),
        (False, False, "/dir/", "-> /dir"),
        (True, None, "/page", "page.html"),
        (True, None, "/page.html", "-> /page"),
        (True, None, "/dir/index.html", "-> /dir/"),
        (True, None, "/dir", "dir/index.html"),
        (True, False, "/page/", "-> /page"),
        (True, False, "/dir/index.html", "-> /dir"),
        (True, True, "/page", "-> /page/"),
        (True, True, "/page/", "page.html"),
        (True, True, "/page.html", "-> /page/"),
        (True, True, "/dir", "-> /dir/"),
        (True, True, "/", "index.html"),
    ],
)
def test_paths_resolve_as_the_options_say(
    public: Path, *, clean: bool, slash: bool | None, path: str, expected: str | None
) -> None:
    config = HostingConfig(public=public, clean_urls=clean, trailing_slash=slash)
    assert resolved(config, path) == expected


@pytest.mark.parametrize(
    "path", ["/.hidden", "/../outside.txt", "/link.txt", "/dir//index.html", "/a\\b", "/x\0"]
)
def test_hidden_linked_and_climbing_paths_are_not_served(public: Path, path: str) -> None:
    assert resolved(HostingConfig(public=public), path) is None


def test_well_known_is_served(public: Path) -> None:
    assert resolved(HostingConfig(public=public), "/.well-known/x.json") == ".well-known/x.json"


def test_an_etag_changes_with_the_content(public: Path) -> None:
    files = StaticFiles(HostingConfig(public=public))
    before = files.file("/page.html")
    (public / "page.html").write_text("other text")
    after = files.file("/page.html")
    assert before is not None
    assert after is not None
    assert before.etag != after.etag
