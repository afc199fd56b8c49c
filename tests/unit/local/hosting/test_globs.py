"""Patterns of firebase.json match as minimatch and Firebase Hosting document them."""

from __future__ import annotations

import pytest

from continuon_local.hosting.gateway import fill
from continuon_local.hosting.globs import compile_glob, compile_regex


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("**", ["/", "/a", "/a/b.html"], []),
        ("/api/**", ["/api/", "/api/x", "/api/x/y"], ["/api", "/apix", "/x/api/y"]),
        ("/api{,/**}", ["/api", "/api/x"], ["/apix"]),
        ("/a/**/z", ["/a/z", "/a/b/z", "/a/b/c/z"], ["/a/b", "/az"]),
        ("/a/*", ["/a/b"], ["/a/", "/a/b/c", "/a"]),
        ("/a/*.html", ["/a/b.html", "/a/.html"], ["/a/b/c.html", "/a/bxhtml"]),
        ("/v?/x", ["/v1/x"], ["/v/x", "/v12/x", "/v//x"]),
        ("**/*.@(jpg|png)", ["/a.jpg", "/a/b.png"], ["/a.gif", "/a.jpgx"]),
        ("/@(foo|bar)/**", ["/foo/x", "/bar/y/z"], ["/baz/x", "/foobar/x"]),
        ("/!(foo|bar)", ["/baz", "/foobar"], ["/foo", "/bar", "/baz/x"]),
        ("/+(ab)", ["/ab", "/abab"], ["/", "/a"]),
        ("/?(ab)c", ["/c", "/abc"], ["/ababc"]),
        ("/x{1,2,3}", ["/x1", "/x3"], ["/x4", "/x{1,2,3}"]),
        ("/[a-c]1", ["/a1", "/c1"], ["/d1"]),
        ("/[!a-c]1", ["/d1"], ["/a1"]),
        ("!/@(js|css)/**", ["/", "/html/x"], ["/js/x", "/css/y"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("about", ["/about"], ["/x/about"]),
        ("/:lang/docs", ["/en/docs"], ["/docs", "/a/b/docs"]),
        ("/blog/:rest*", ["/blog", "/blog/a", "/blog/a/b"], ["/blogs"]),
    ],
)
def test_a_glob_matches_whole_paths(glob: str, matching: list[str], other: list[str]) -> None:
    pattern = compile_glob(glob)
    assert [path for path in matching if pattern.match(path) is None] == []
    assert [path for path in other if pattern.match(path) is not None] == []


def test_captures_fill_the_destination() -> None:
    captures = compile_glob("/old/:year/:rest*").match("/old/2026/a/b")
    assert captures is not None
    assert fill("https://x.org:8080/:year/new/:rest*?y=:year", captures) == (
        "https://x.org:8080/2026/new/a/b?y=2026"
    )


def test_a_regex_matches_anywhere_and_captures_by_name_and_number() -> None:
    captures = compile_regex(r"^/v(\d)/(?P<name>\w+)").match("/v2/robot/x")
    assert captures is not None
    assert fill("/:name/:1", captures) == "/robot/2"


@pytest.mark.parametrize("glob", ["/@(a", "/{a,b", "/+(a|b", "/:x/:x"])
def test_a_malformed_glob_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="glob"):
        compile_glob(glob)


@pytest.mark.parametrize("regex", ["(", r"/(?!api)", r"(?<=a)b", r"(a)\1"])
def test_a_regex_that_re2_cannot_run_is_refused(regex: str) -> None:
    with pytest.raises(ValueError, match="regex"):
        compile_regex(regex)
