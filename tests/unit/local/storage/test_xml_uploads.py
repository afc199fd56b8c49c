from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from unit.local.storage.harness import Cloud

OWNER = {"authorization": "Bearer owner"}
PART = b"a" * (5 << 20)
PATH = "/episodes/dir/big"


def field(answer: httpx.Response, name: str) -> str:
    return answer.text.partition(f"<{name}>")[2].partition(f"</{name}>")[0]


async def begin(cloud: Cloud, **headers: str) -> str:
    sent = {**OWNER, "content-type": "text/plain", "x-goog-meta-robot": "r1", **headers}
    answer = await cloud.http.post(f"{PATH}?uploads", headers=sent)
    assert answer.status_code == 200, answer.text
    return field(answer, "UploadId")


async def put_part(cloud: Cloud, upload: str, number: int, body: bytes) -> httpx.Response:
    url = f"{PATH}?partNumber={number}&uploadId={upload}"
    return await cloud.http.put(url, content=body, headers=OWNER)


async def complete(cloud: Cloud, upload: str, parts: list[tuple[int, str]]) -> httpx.Response:
    inner = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in parts
    )
    body = f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>"
    return await cloud.http.post(f"{PATH}?uploadId={upload}", content=body, headers=OWNER)


async def test_parts_become_one_object_with_the_metadata_of_the_start(cloud: Cloud) -> None:
    upload = await begin(cloud)
    second = await put_part(cloud, upload, 2, b"end")
    first = await put_part(cloud, upload, 1, PART)
    assert first.headers["etag"] == f'"{hashlib.md5(PART, usedforsecurity=False).hexdigest()}"'

    answer = await complete(
        cloud, upload, [(1, first.headers["etag"]), (2, second.headers["etag"])]
    )

    assert answer.status_code == 200, answer.text
    assert (await cloud.read("dir/big")).content == PART + b"end"
    stored = (await cloud.http.get("/storage/v1/b/episodes/o/dir%2Fbig")).json()
    assert stored["contentType"] == "text/plain"
    assert stored["metadata"] == {"robot": "r1"}
    assert "md5Hash" not in stored
    assert cloud.events() == [("finalized", "objects/dir/big")]
    assert len(cloud.body_files()) == 1
    again = await complete(cloud, upload, [(1, first.headers["etag"])])
    assert (again.status_code, field(again, "Code")) == (404, "NoSuchUpload")


async def test_parts_and_uploads_are_listed_until_aborted(cloud: Cloud) -> None:
    upload = await begin(cloud)
    for number in (3, 1, 2):
        await put_part(cloud, upload, number, b"%d" % number)
    await put_part(cloud, upload, 2, b"two")

    listed = await cloud.http.get(f"{PATH}?uploadId={upload}&max-parts=2", headers=OWNER)
    uploads = await cloud.http.get("/episodes?uploads", headers=OWNER)
    aborted = await cloud.http.delete(f"{PATH}?uploadId={upload}", headers=OWNER)

    assert re.findall("<PartNumber>(.)</PartNumber>", listed.text) == ["1", "2"]
    assert re.findall("<Size>(.)</Size>", listed.text) == ["1", "3"]
    assert field(listed, "IsTruncated") == "true"
    assert field(uploads, "UploadId") == upload
    assert aborted.status_code == 204
    assert cloud.body_files() == []
    assert (await put_part(cloud, upload, 1, b"x")).status_code == 404
    assert cloud.body_files() == []


async def test_wrong_order_missing_parts_and_small_parts_are_refused(cloud: Cloud) -> None:
    upload = await begin(cloud)
    one = (await put_part(cloud, upload, 1, b"small")).headers["etag"]
    two = (await put_part(cloud, upload, 2, b"last")).headers["etag"]

    async def code(*parts: tuple[int, str]) -> str:
        return field(await complete(cloud, upload, list(parts)), "Code")

    assert await code((2, two), (1, one)) == "InvalidPartOrder"
    assert await code((1, two)) == "InvalidPart"
    assert await code((1, one), (3, two)) == "InvalidPart"
    assert await code((1, one), (2, two)) == "EntityTooSmall"
    assert await code() == "InvalidPartOrder"
    assert await cloud.names() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"<a", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"<a><Other/></a>", b"\xff\xfe"],
)
async def test_malformed_documents_are_refused(body: bytes, cloud: Cloud) -> None:
    upload = await begin(cloud)

    answer = await cloud.http.post(f"{PATH}?uploadId={upload}", content=body, headers=OWNER)

    assert (answer.status_code, field(answer, "Code")) == (400, "MalformedXML")


@pytest.mark.parametrize("number", ["0", "10001", "x", ""])
async def test_part_numbers_have_a_range(number: str, cloud: Cloud) -> None:
    upload = await begin(cloud)
    url = f"{PATH}?partNumber={number}&uploadId={upload}"

    answer = await cloud.http.put(url, content=b"x", headers=OWNER)

    assert answer.status_code == 400
    assert cloud.body_files() == []


async def test_corrupted_part_is_refused(cloud: Cloud) -> None:
    upload = await begin(cloud)
    headers = {**OWNER, "x-goog-hash": "crc32c=AAAAAA=="}

    answer = await cloud.http.put(
        f"{PATH}?partNumber=1&uploadId={upload}", content=b"x", headers=headers
    )

    assert (answer.status_code, field(answer, "Code")) == (400, "BadDigest")
    assert cloud.body_files() == []


async def test_anonymous_callers_cannot_begin(cloud: Cloud) -> None:
    assert (await cloud.http.post(f"{PATH}?uploads")).status_code == 403


async def listing(cloud: Cloud, **parameters: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in parameters.items()}
    return await cloud.http.get("/episodes", params=named, headers=OWNER)


def keys(answer: httpx.Response) -> list[str]:
    return re.findall("<Key>(.*?)</Key>", answer.text)


def prefixes(answer: httpx.Response) -> list[str]:
    return re.findall("<CommonPrefixes><Prefix>(.*?)</Prefix>", answer.text)


async def test_first_listing_goes_on_behind_its_marker(cloud: Cloud) -> None:
    for name in ("a", "b/1", "b/2", "c", "d&e"):
        await cloud.created(name)

    first = await listing(cloud, delimiter="/", max_keys="2")
    rest = await listing(cloud, delimiter="/", marker=field(first, "NextMarker"))

    assert (keys(first), prefixes(first)) == (["a"], ["b/"])
    assert (keys(rest), prefixes(rest)) == (["c", "d&amp;e"], [])
    assert field(rest, "IsTruncated") == "false"


async def test_second_listing_goes_on_with_its_token(cloud: Cloud) -> None:
    for name in ("a", "b", "c"):
        await cloud.created(name)

    first = await listing(cloud, list_type="2", max_keys="2", start_after="a")
    token = field(first, "NextContinuationToken")
    assert (keys(first), field(first, "KeyCount"), token) == (["b", "c"], "2", "")
    page = await listing(cloud, list_type="2", max_keys="2")
    rest = await listing(
        cloud, list_type="2", continuation_token=field(page, "NextContinuationToken")
    )

    assert keys(rest) == ["c"]


async def test_anybody_reads_what_is_public_and_nothing_else(cloud: Cloud) -> None:
    await cloud.upload("open", predefinedAcl="publicRead")
    await cloud.upload("closed")

    assert (await cloud.http.get("/episodes/open")).content == b"hello"
    for path in ("/episodes/closed", "/episodes/missing", "/episodes", "/other/open"):
        assert (await cloud.http.get(path)).status_code == 403
    assert (await cloud.http.put("/episodes/open", content=b"evil")).status_code == 403
    prevention = {"iamConfiguration": {"publicAccessPrevention": "enforced"}}
    await cloud.http.patch("/storage/v1/b/episodes", json=prevention)
    assert (await cloud.http.get("/episodes/open")).status_code == 403
