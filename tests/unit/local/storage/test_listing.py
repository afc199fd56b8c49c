from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from continuon_local.storage.listing import successor

if TYPE_CHECKING:
    from unit.local.storage.harness import Cloud

OBJECTS = "/storage/v1/b/episodes/o"
NAMES = ["a", "a/", "a/1", "a/2/x", "a/2/y", "b", "c/1", "c/2", "ü/1"]


@pytest.fixture
async def filled(cloud: Cloud) -> Cloud:
    for name in reversed(NAMES):
        await cloud.created(name)
    return cloud


async def listed(cloud: Cloud, **parameters: str) -> dict[str, Any]:
    answer = await cloud.http.get(OBJECTS, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def names(page: dict[str, Any]) -> list[str]:
    return [item["name"] for item in page.get("items", [])]


@pytest.mark.parametrize(
    ("parameters", "items", "prefixes"),
    [
        ({}, NAMES, []),
        ({"prefix": "a/"}, ["a/", "a/1", "a/2/x", "a/2/y"], []),
        ({"delimiter": "/"}, ["a", "b"], ["a/", "c/", "ü/"]),
        ({"prefix": "a/", "delimiter": "/"}, ["a/", "a/1"], ["a/2/"]),
        (
            {"delimiter": "/", "includeTrailingDelimiter": "true"},
            ["a", "a/", "b"],
            ["a/", "c/", "ü/"],
        ),
        ({"startOffset": "b", "endOffset": "c/2"}, ["b", "c/1"], []),
        ({"startOffset": "a/2/y", "delimiter": "/"}, ["b"], ["a/", "c/", "ü/"]),
        ({"prefix": "zzz"}, [], []),
        ({"delimiter": "1"}, ["a", "a/", "a/2/x", "a/2/y", "b", "c/2"], ["a/1", "c/1", "ü/1"]),
    ],
)
async def test_prefix_delimiter_and_offsets(
    parameters: dict[str, str], items: list[str], prefixes: list[str], filled: Cloud
) -> None:
    page = await listed(filled, **parameters)

    assert names(page) == items
    assert page.get("prefixes", []) == prefixes
    assert "nextPageToken" not in page


@pytest.mark.parametrize("size", [1, 2, 3, 9, 10])
@pytest.mark.parametrize("delimiter", ["", "/"])
async def test_pages_of_any_size_add_up_without_gap_or_repetition(
    size: int, delimiter: str, filled: Cloud
) -> None:
    whole = await listed(filled, delimiter=delimiter)
    items: list[str] = []
    prefixes: list[str] = []
    token = ""
    while True:
        page = await listed(filled, delimiter=delimiter, maxResults=str(size), pageToken=token)
        items += names(page)
        prefixes += page.get("prefixes", [])
        assert len(page.get("items", [])) + len(page.get("prefixes", [])) <= size
        token = page.get("nextPageToken", "")
        if not token:
            break

    assert items == names(whole)
    assert prefixes == whole.get("prefixes", [])


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("a/*", ["a/", "a/1"]),
        ("a/**", ["a/", "a/1", "a/2/x", "a/2/y"]),
        ("?", ["a", "b"]),
        ("c/[2-9]", ["c/2"]),
        ("[!ab]/1", ["c/1", "ü/1"]),
        ("{a,c}/1", ["a/1", "c/1"]),
        ("a,b", []),
        ("**/1", ["a/1", "c/1", "ü/1"]),
        ("**/{a,y}", ["a", "a/2/y"]),
        ("a\\/1", ["a/1"]),
        ("(a|b)", []),
    ],
)
@pytest.mark.parametrize("size", ["1", "1000"])
async def test_glob(glob: str, expected: list[str], size: str, filled: Cloud) -> None:
    found: list[str] = []
    token = ""
    while True:
        page = await listed(filled, matchGlob=glob, maxResults=size, pageToken=token)
        found += names(page)
        token = page.get("nextPageToken", "")
        if not token:
            break

    assert found == expected


@pytest.mark.parametrize("glob", ["{a", "a}", "[z-a]", "x" * 1025])
async def test_malformed_glob_is_refused(glob: str, filled: Cloud) -> None:
    assert (await filled.http.get(OBJECTS, params={"matchGlob": glob})).status_code == 400


async def test_versions_are_listed_from_old_to_new_over_pages(cloud: Cloud) -> None:
    await cloud.http.patch("/storage/v1/b/episodes", json={"versioning": {"enabled": True}})
    generations = [(await cloud.created("a"))["generation"] for _ in range(5)]

    found: list[str] = []
    token = ""
    while True:
        page = await listed(cloud, versions="true", maxResults="2", pageToken=token)
        found += [item["generation"] for item in page["items"]]
        token = page.get("nextPageToken", "")
        if not token:
            break

    assert found == generations


@pytest.mark.parametrize(
    "parameters",
    [{"maxResults": "0"}, {"maxResults": "x"}, {"pageToken": "!!"}, {"pageToken": "W10="}],
)
async def test_malformed_paging_is_refused(parameters: dict[str, str], filled: Cloud) -> None:
    answer = await filled.http.get(OBJECTS, params=parameters)

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a", "b"),
        ("a/", "a0"),
        ("\ud7ff", "\ue000"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("", None),
    ],
)
def test_successor_is_the_least_name_behind_a_prefix(prefix: str, expected: str | None) -> None:
    assert successor(prefix) == expected
