from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING

import pytest

from continuon_local.meter import Operation

if TYPE_CHECKING:
    from unit.local.storage.harness import Cloud

OBJECTS = "/storage/v1/b/episodes/o"
UPLOAD = "/upload/storage/v1/b/episodes/o"


def multipart(metadata: dict[str, object], body: bytes) -> tuple[bytes, dict[str, str]]:
    content = b"".join(
        [
            b"--edge\r\ncontent-type: application/json\r\n\r\n",
            json.dumps(metadata).encode(),
            b"\r\n--edge\r\ncontent-type: text/plain\r\n\r\n",
            body,
            b"\r\n--edge--\r\n",
        ]
    )
    return content, {"content-type": 'multipart/related; boundary="edge"'}


async def test_upload_is_described_with_both_checksums(cloud: Cloud) -> None:
    resource = await cloud.created("a.txt", b"hello")

    assert resource["size"] == "5"
    assert resource["md5Hash"] == "XUFAKrxLKna5cZ2REBfFkg=="
    assert resource["crc32c"] == "mnG7TA=="
    assert resource["metageneration"] == "1"
    assert resource["contentType"] == "text/plain"
    assert resource["storageClass"] == "STANDARD"


@pytest.mark.parametrize("name", ["a/b", "a//b", "ü ~%+#?&=", "line\u2028sep", "..a", "é/." * 100])
async def test_any_name_is_stored_under_exactly_that_name(name: str, cloud: Cloud) -> None:
    await cloud.created(name, name.encode())

    assert await cloud.names() == [name]


@pytest.mark.parametrize("name", ["", "a\nb", "a\rb", ".", "..", "x" * 1025, "é" * 513])
async def test_names_no_object_can_have_are_refused(name: str, cloud: Cloud) -> None:
    answer = await cloud.upload(name)

    assert answer.status_code == 400
    assert await cloud.names() == []
    assert cloud.body_files() == []


async def test_generations_grow_and_an_overwrite_reports_the_old_one_deleted(cloud: Cloud) -> None:
    first = await cloud.created("a")
    second = await cloud.created("a", b"new")

    assert int(second["generation"]) > int(first["generation"])
    assert cloud.events() == [
        ("finalized", "objects/a"),
        ("deleted", "objects/a"),
        ("finalized", "objects/a"),
    ]
    assert len(cloud.body_files()) == 1


async def test_event_carries_the_object_resource(cloud: Cloud) -> None:
    resource = await cloud.created("dir/a")

    ((_, event),) = cloud.engine.outbox.pending()
    data = json.loads(event.data)
    assert event.type == "google.cloud.storage.object.v1.finalized"
    assert event.source == "//storage.googleapis.com/projects/_/buckets/episodes"
    assert event.subject == "objects/dir/a"
    assert event.extensions == {"bucket": "episodes"}
    assert data["generation"] == resource["generation"]
    assert data["size"] == "5"
    assert data["timeCreated"] == resource["timeCreated"] == event.time
    assert data["selfLink"].startswith("https://www.googleapis.com/storage/v1/b/episodes/o/dir%2Fa")


async def test_eight_racing_creations_have_one_winner(cloud: Cloud) -> None:
    answers = await asyncio.gather(
        *(cloud.upload("race", f"{n}".encode(), ifGenerationMatch="0") for n in range(8))
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    assert len(cloud.body_files()) == 1
    assert cloud.events() == [("finalized", "objects/race")]


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"ifGenerationMatch": "0"}, 412),
        ({"ifGenerationMatch": "{generation}"}, 200),
        ({"ifGenerationMatch": "17"}, 412),
        ({"ifGenerationNotMatch": "{generation}"}, 412),
        ({"ifGenerationNotMatch": "0"}, 200),
        ({"ifMetagenerationMatch": "1"}, 200),
        ({"ifMetagenerationMatch": "2"}, 412),
        ({"ifMetagenerationNotMatch": "1"}, 412),
        ({"ifGenerationMatch": "seven"}, 400),
    ],
)
async def test_preconditions_of_an_overwrite(
    parameters: dict[str, str], status: int, cloud: Cloud
) -> None:
    generation = (await cloud.created("a"))["generation"]
    filled = {name: text.format(generation=generation) for name, text in parameters.items()}

    answer = await cloud.upload("a", b"new", **filled)

    assert answer.status_code == status
    assert (await cloud.read("a")).content == (b"new" if status == 200 else b"hello")
    if status == 412:
        assert answer.json()["error"]["errors"][0]["reason"] == "conditionNotMet"


@pytest.mark.parametrize("verb", ["GET", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"ifGenerationMatch": "17"}, 412),
        ({"ifMetagenerationMatch": "2"}, 412),
        ({"ifMetagenerationNotMatch": "1"}, 304),
        ({"generation": "17"}, 404),
    ],
)
async def test_preconditions_hold_on_every_verb(
    verb: str, parameters: dict[str, str], status: int, cloud: Cloud
) -> None:
    await cloud.created("a")

    answer = await cloud.http.request(verb, f"{OBJECTS}/a", params=parameters)

    expected = 412 if status == 304 and verb != "GET" else status
    assert answer.status_code == expected
    assert await cloud.names() == ["a"]
    assert cloud.events() == [("finalized", "objects/a")]


async def test_unknown_bucket_and_object_are_not_found(cloud: Cloud) -> None:
    for url in ("/storage/v1/b/nowhere", "/storage/v1/b/nowhere/o", f"{OBJECTS}/nothing"):
        answer = await cloud.http.get(url)
        assert answer.status_code == 404
        assert answer.json()["error"]["errors"][0]["reason"] == "notFound"


@pytest.mark.parametrize(
    "metadata", [{"md5Hash": base64.b64encode(bytes(16)).decode()}, {"crc32c": "AAAAAA=="}]
)
async def test_body_that_differs_from_its_checksum_is_not_stored(
    metadata: dict[str, object], cloud: Cloud
) -> None:
    content, headers = multipart({"name": "a", **metadata}, b"hello")

    answer = await cloud.http.post(
        UPLOAD, params={"uploadType": "multipart"}, content=content, headers=headers
    )

    assert answer.status_code == 400
    assert await cloud.names() == []
    assert cloud.events() == []
    assert cloud.body_files() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"content-md5": base64.b64encode(bytes(16)).decode()},
        {"x-goog-hash": "crc32c=AAAAAA=="},
        {"x-goog-hash": "md5=garbage"},
        {"x-goog-hash": "sha1=AAAAAA=="},
    ],
)
async def test_checksums_in_headers_are_checked(headers: dict[str, str], cloud: Cloud) -> None:
    answer = await cloud.http.post(
        UPLOAD, params={"uploadType": "media", "name": "a"}, content=b"hello", headers=headers
    )

    assert answer.status_code == 400
    assert await cloud.names() == []


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"--edge", b"\r\n--edg\r\n--edgy"[:12], b"x" * 3_000_000]
)
async def test_multipart_bodies_that_look_like_boundaries_are_kept(
    body: bytes, cloud: Cloud
) -> None:
    content, headers = multipart({"name": "a", "metadata": {"k": "v"}}, body)

    answer = await cloud.http.post(
        UPLOAD, params={"uploadType": "multipart"}, content=content, headers=headers
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"] == {"k": "v"}
    assert (await cloud.read("a")).content == body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"--edge\r\n\r\n{}",
        b"--edge\r\n\r\nnot json\r\n--edge\r\n\r\nbody\r\n--edge--",
        b'--edge\r\n\r\n{"name": "a"}\r\n--edge\r\n\r\nbody without an end',
    ],
)
async def test_malformed_multipart_is_refused(content: bytes, cloud: Cloud) -> None:
    answer = await cloud.http.post(
        UPLOAD,
        params={"uploadType": "multipart"},
        content=content,
        headers={"content-type": "multipart/related; boundary=edge"},
    )

    assert answer.status_code == 400
    assert await cloud.names() == []
    assert cloud.body_files() == []


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=7-999", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-999", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("items=0-1", 200, b"0123456789", None),
    ],
)
async def test_ranges(
    header: str, status: int, body: bytes | None, content_range: str | None, cloud: Cloud
) -> None:
    await cloud.created("a", b"0123456789")

    answer = await cloud.http.get(
        f"{OBJECTS}/a", params={"alt": "media"}, headers={"range": header}
    )

    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    if body is not None:
        assert answer.content == body


async def test_compressed_object_is_served_as_stored(cloud: Cloud) -> None:
    content, headers = multipart({"name": "a", "contentEncoding": "br"}, b"opaque")
    await cloud.http.post(
        UPLOAD, params={"uploadType": "multipart"}, content=content, headers=headers
    )

    async with cloud.http.stream("GET", f"{OBJECTS}/a?alt=media") as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert raw == b"opaque"
    assert answer.headers["content-encoding"] == "br"


async def test_patch_merges_metadata_and_counts_metagenerations(cloud: Cloud) -> None:
    await cloud.created("a")

    first = await cloud.http.patch(f"{OBJECTS}/a", json={"metadata": {"x": "1", "y": "2"}})
    second = await cloud.http.patch(
        f"{OBJECTS}/a", json={"metadata": {"x": None}, "cacheControl": "no-store"}
    )

    assert first.json()["metageneration"] == "2"
    assert second.json()["metadata"] == {"y": "2"}
    assert second.json()["metageneration"] == "3"
    assert cloud.events()[1:] == [("metadataUpdated", "objects/a")] * 2


async def test_rewrite_keeps_metadata_and_checks_both_sides(cloud: Cloud) -> None:
    source = await cloud.created("a")
    url = f"{OBJECTS}/a/rewriteTo/b/episodes/o/dir%2Fb"

    for refused in ({"ifSourceGenerationMatch": "1"}, {"ifGenerationMatch": "9"}):
        answer = await cloud.http.post(url, params=refused)
        assert answer.status_code == 412
    accepted = await cloud.http.post(
        url, params={"ifSourceGenerationMatch": source["generation"], "ifGenerationMatch": "0"}
    )

    body = accepted.json()
    assert body["done"] is True
    assert body["totalBytesRewritten"] == "5"
    assert body["resource"]["contentType"] == "text/plain"
    assert body["resource"]["md5Hash"] == source["md5Hash"]
    assert (await cloud.read("dir/b")).content == b"hello"


async def test_copy_survives_the_deletion_of_its_source(cloud: Cloud) -> None:
    await cloud.created("a")
    await cloud.http.post(f"{OBJECTS}/a/copyTo/b/episodes/o/b")

    await cloud.http.delete(f"{OBJECTS}/a")
    assert (await cloud.read("b")).content == b"hello"

    await cloud.http.delete(f"{OBJECTS}/b")
    assert cloud.body_files() == []


async def test_compose_joins_in_order_and_has_no_md5(cloud: Cloud) -> None:
    first, second = await cloud.created("1", b"one"), await cloud.created("2", b"two")
    sources = [
        {
            "name": "1",
            "generation": first["generation"],
            "objectPreconditions": {"ifGenerationMatch": first["generation"]},
        },
        {"name": "2"},
        {"name": "1"},
    ]

    answer = await cloud.http.post(f"{OBJECTS}/all/compose", json={"sourceObjects": sources})

    assert answer.json()["componentCount"] == 3
    assert "md5Hash" not in answer.json()
    assert answer.json()["size"] == "9"
    assert (await cloud.read("all")).content == b"onetwoone"
    assert second["generation"]


@pytest.mark.parametrize(
    ("sources", "parameters", "status"),
    [
        ([{"name": "1", "objectPreconditions": {"ifGenerationMatch": "5"}}], {}, 412),
        ([{"name": "1"}], {"ifGenerationMatch": "5"}, 412),
        ([{"name": "none"}], {}, 404),
        ([], {}, 400),
        ([{"name": "1"}] * 33, {}, 400),
        ([{}], {}, 400),
        ("1", {}, 400),
        ([{"name": "1", "generation": "x"}], {}, 400),
        ([{"name": "1", "objectPreconditions": "x"}], {}, 400),
    ],
)
async def test_compositions_that_are_refused(
    sources: object, parameters: dict[str, str], status: int, cloud: Cloud
) -> None:
    await cloud.created("1")

    answer = await cloud.http.post(
        f"{OBJECTS}/all/compose", json={"sourceObjects": sources}, params=parameters
    )

    assert answer.status_code == status
    assert await cloud.names() == ["1"]
    assert len(cloud.body_files()) == 1


async def test_move_is_one_step(cloud: Cloud) -> None:
    await cloud.created("a")

    answer = await cloud.http.post(f"{OBJECTS}/a/moveTo/o/b")

    assert answer.status_code == 200
    assert await cloud.names() == ["b"]
    assert (await cloud.read("b")).content == b"hello"


async def test_versioned_bucket_archives(cloud: Cloud) -> None:
    await cloud.http.patch("/storage/v1/b/episodes", json={"versioning": {"enabled": True}})
    first = await cloud.created("a", b"old")
    await cloud.created("a", b"new")
    await cloud.http.delete(f"{OBJECTS}/a")

    assert await cloud.names() == []
    versions = (await cloud.http.get(OBJECTS, params={"versions": "true"})).json()["items"]
    assert [version["size"] for version in versions] == ["3", "3"]
    old = await cloud.http.get(
        f"{OBJECTS}/a", params={"generation": first["generation"], "alt": "media"}
    )
    assert old.content == b"old"
    assert [event for event, _ in cloud.events()] == [
        "finalized",
        "archived",
        "finalized",
        "archived",
    ]


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/storage/v1/b?softDeleted=true"),
        ("GET", "/storage/v1/b/episodes/folders"),
        ("GET", "/storage/v1/b/episodes/anywhereCaches"),
        ("POST", "/storage/v1/b/episodes/o/watch"),
        ("POST", "/storage/v1/b/episodes/o/a/bulkRestore"),
        ("POST", "/storage/v1/channels/stop"),
        ("GET", "/storage/v1/projects/p/other"),
    ],
)
async def test_what_is_not_implemented_says_so(method: str, url: str, cloud: Cloud) -> None:
    answer = await cloud.http.request(method, url)

    assert answer.status_code == 501
    assert "not implemented" in answer.json()["error"]["message"]


async def test_foreign_bearer_token_is_refused(cloud: Cloud) -> None:
    answer = await cloud.http.get(OBJECTS, headers={"authorization": "Bearer ya29.stolen"})

    assert answer.status_code == 401


async def test_refused_requests_are_not_billed(cloud: Cloud) -> None:
    await cloud.upload("a", ifGenerationMatch="5")
    await cloud.read("a")
    await cloud.http.get("/storage/v1/b/nowhere")

    assert cloud.engine.meter.totals() == {}


async def test_operations_are_attributed_to_their_caller(cloud: Cloud) -> None:
    await cloud.created("a")
    await cloud.http.get(f"{OBJECTS}/a", headers={"x-continuon-caller": "ingest"})

    assert cloud.engine.meter.by_caller()[Operation.STORAGE_CLASS_B, "ingest"] == 1


async def test_contradicting_checksums_are_refused(cloud: Cloud) -> None:
    content, headers = multipart({"name": "a", "crc32c": "mnG7TA=="}, b"hello")

    answer = await cloud.http.post(
        UPLOAD,
        params={"uploadType": "multipart"},
        content=content,
        headers={**headers, "x-goog-hash": "crc32c=AAAAAA=="},
    )

    assert answer.status_code == 400
    assert await cloud.names() == []


async def test_billable_operations_are_counted(cloud: Cloud) -> None:
    await cloud.created("a", b"12345")
    await cloud.read("a")
    await cloud.names()
    await cloud.http.delete(f"{OBJECTS}/a")

    assert {str(name): count for name, count in cloud.engine.meter.totals().items()} == {
        "storage.class_a": 2,
        "storage.class_b": 1,
        "storage.ingress_bytes": 5,
        "storage.egress_bytes": 5,
    }


async def test_entity_tags_guard_reads(cloud: Cloud) -> None:
    tag = (await cloud.created("a"))["etag"]

    async def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await cloud.http.get(f"{OBJECTS}/a", headers=named)).status_code

    assert await status(if_none_match=tag) == 304
    assert await status(if_none_match=f'"other", "{tag}"') == 304
    assert await status(if_none_match="other") == 200
    assert await status(if_match=tag) == 200
    assert await status(if_match="other") == 412


async def test_incomplete_customer_keys_are_not_silently_ignored(cloud: Cloud) -> None:
    answer = await cloud.http.post(
        UPLOAD,
        params={"uploadType": "media", "name": "a"},
        content=b"secret",
        headers={"x-goog-encryption-algorithm": "AES256"},
    )

    assert answer.status_code == 400
    assert "customerEncryptionKeyFormatIsInvalid" in answer.text
    assert await cloud.names() == []


@pytest.mark.parametrize("field", ["contentType", "contentDisposition", "cacheControl"])
async def test_line_breaks_cannot_begin_another_header(field: str, cloud: Cloud) -> None:
    await cloud.created("a")

    answer = await cloud.http.patch(f"{OBJECTS}/a", json={field: "x\r\nset-cookie: evil"})

    assert answer.status_code == 400
    assert (await cloud.read("a")).status_code == 200


async def test_metadata_of_any_text_makes_harmless_headers(cloud: Cloud) -> None:
    metadata = {"k\r\nset-cookie": "v\r\nset-cookie: evil", "schlüssel": "größe", "plain": "v w"}
    await cloud.created("a")
    changed = await cloud.http.patch(
        f"{OBJECTS}/a", json={"metadata": metadata, "contentDisposition": 'inline; filename="é"'}
    )

    answer = await cloud.read("a")

    assert changed.json()["metadata"] == metadata
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-goog-meta-plain"] == "v w"
    assert answer.headers["x-goog-meta-k%0D%0Aset-cookie"] == "v%0D%0Aset-cookie%3A evil"
    assert answer.headers["content-disposition"] == 'inline; filename="é"'
