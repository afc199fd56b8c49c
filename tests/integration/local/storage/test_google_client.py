from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions
from google.cloud.storage import Bucket

if TYPE_CHECKING:
    from pathlib import Path

    from integration.local.storage.harness import Cloud

BODY = os.urandom(1_300_000)


def test_text_and_metadata_come_back(cloud: Cloud) -> None:
    blob = cloud.bucket.blob("a dir/ü+&#?.txt")
    blob.metadata = {"robot": "r1"}
    blob.upload_from_string("hello", content_type="text/plain", if_generation_match=0)

    found = cloud.bucket.get_blob("a dir/ü+&#?.txt")

    assert found.download_as_bytes(checksum="crc32c") == b"hello"
    assert found.metadata == {"robot": "r1"}
    assert found.content_type == "text/plain"
    assert found.generation == blob.generation


def test_large_file_goes_up_and_down_in_chunks(cloud: Cloud, tmp_path: Path) -> None:
    blob = cloud.bucket.blob("big", chunk_size=256 << 10)
    blob.upload_from_file(io.BytesIO(BODY), checksum="crc32c")
    blob.download_to_filename(str(tmp_path / "copy"), checksum="md5")

    assert (tmp_path / "copy").read_bytes() == BODY
    assert blob.size == len(BODY)
    assert cloud.bucket.blob("big").download_as_bytes(start=10, end=19) == BODY[10:20]


def test_written_and_read_as_a_file(cloud: Cloud) -> None:
    with cloud.bucket.blob("file", chunk_size=256 << 10).open("wb") as writer:
        writer.write(BODY)
    with cloud.bucket.blob("file").open("rb") as reader:
        reader.seek(1000)
        assert reader.read(50) == BODY[1000:1050]


def test_corrupted_upload_is_refused_and_leaves_nothing(cloud: Cloud) -> None:
    blob = cloud.bucket.blob("a")
    blob.md5_hash = "AAAAAAAAAAAAAAAAAAAAAA=="

    with pytest.raises(exceptions.BadRequest):
        blob.upload_from_string(b"hello")

    assert not cloud.bucket.blob("a").exists()


def test_eight_clients_race_and_one_creates(cloud: Cloud) -> None:
    def create(number: int) -> bool:
        blob = cloud.bucket.blob("race")
        try:
            blob.upload_from_string(f"{number}", if_generation_match=0)
        except exceptions.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(create, range(8)))

    assert outcomes.count(True) == 1
    assert cloud.bucket.blob("race").download_as_bytes() == f"{outcomes.index(True)}".encode()


def test_folders_and_pages(cloud: Cloud) -> None:
    for name in ("a/1", "a/2", "b/1", "top"):
        cloud.bucket.blob(name).upload_from_string(name)

    listing = cloud.client.list_blobs(cloud.bucket, delimiter="/")
    assert [blob.name for blob in listing] == ["top"]
    assert listing.prefixes == {"a/", "b/"}
    paged = cloud.client.list_blobs(cloud.bucket, page_size=1)
    assert [blob.name for blob in paged] == ["a/1", "a/2", "b/1", "top"]


def test_copy_rewrite_and_compose(cloud: Cloud) -> None:
    source = cloud.bucket.blob("source")
    source.upload_from_string(b"one", content_type="text/plain")
    cloud.bucket.copy_blob(source, cloud.bucket, "copy")
    target = cloud.bucket.blob("rewritten")

    with pytest.raises(exceptions.PreconditionFailed):
        target.rewrite(source, if_source_generation_match=1)
    assert target.rewrite(source, if_generation_match=0) == (None, 3, 3)
    joined = cloud.bucket.blob("joined")
    joined.compose([source, target], if_generation_match=0)

    assert joined.download_as_bytes() == b"oneone"
    assert joined.component_count == 2
    assert joined.md5_hash is None
    assert target.content_type == "text/plain"


def test_batch_answers_each_call(cloud: Cloud) -> None:
    for name in ("a", "b"):
        cloud.bucket.blob(name).upload_from_string(name)

    with cloud.client.batch():
        cloud.bucket.delete_blob("a")
        cloud.bucket.blob("b").delete()
    with pytest.raises(exceptions.NotFound), cloud.client.batch():
        cloud.bucket.blob("none").delete()

    assert list(cloud.client.list_blobs(cloud.bucket)) == []


def test_buckets_are_listed_changed_and_deleted(cloud: Cloud) -> None:
    cloud.bucket.labels = {"team": "robots"}
    cloud.bucket.patch()
    with pytest.raises(exceptions.Conflict):
        cloud.client.create_bucket(cloud.bucket.name)
    cloud.bucket.blob("a").upload_from_string("a")
    with pytest.raises(exceptions.Conflict):
        cloud.bucket.delete()

    found = cloud.client.get_bucket(cloud.bucket.name)
    assert found.labels == {"team": "robots"}
    assert found.name in [bucket.name for bucket in cloud.client.list_buckets()]
    found.delete(force=True)
    with pytest.raises(exceptions.NotFound):
        cloud.client.get_bucket(found.name)


def test_changes_raise_events(cloud: Cloud) -> None:
    blob = cloud.bucket.blob("a")
    blob.upload_from_string("a")
    blob.metadata = {"k": "v"}
    blob.patch()
    blob.delete()

    assert cloud.service.events()[-3:] == [
        ("finalized", "objects/a"),
        ("metadataUpdated", "objects/a"),
        ("deleted", "objects/a"),
    ]


def test_unknown_bucket_is_not_created_on_the_way(cloud: Cloud) -> None:
    blob = Bucket(cloud.client, "no-such-bucket").blob("a")

    with pytest.raises(exceptions.NotFound):
        blob.upload_from_string("a")
