"""The upload queue against the local Cloud Storage, on a good day and on bad ones."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from continuon_cloud import transport
from continuon_cloud.errors import EpisodeSourceError, QueueError
from continuon_cloud.queue import Added, Packaging, QueueItem, RunOptions, State, UploadQueue
from sdk_bench import (
    CHUNK,
    EPISODE_ID,
    ROBOT,
    StageHandle,
    sessions_are_continued,
    upload,
    upload_in_children,
    write_episode,
)

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_cloud.queue.records import FileTask

PREFIX = f"episodes/raw/{ROBOT.device_id}/{EPISODE_ID}"


def test_folder_arrives_as_one_archive_and_its_verdict_is_kept(
    stage: StageHandle, tmp_path: Path
) -> None:
    item = upload(stage.settings, write_episode(tmp_path / "episode"))

    assert (item.state, item.episode_id, item.quality) == (State.VALIDATED, EPISODE_ID, 0.9)
    assert list(stage.objects()) == [f"{PREFIX}/episode.tar.gz"]
    assert not list((stage.settings.home / "queue" / "spool").iterdir())


def test_folder_arrives_file_by_file_with_the_manifest_last(
    stage: StageHandle, tmp_path: Path
) -> None:
    item = upload(stage.settings, write_episode(tmp_path / "episode"), packaging=Packaging.FILES)

    assert item.state is State.VALIDATED
    names = ["blobs/frame_000000.jpg", "metadata.json", "steps.jsonl"]
    assert sorted(stage.objects()) == [f"{PREFIX}/{name}" for name in names]
    puts = [entry["path"] for entry in stage.entries() if entry["method"] == "PUT"]
    assert puts[-1].endswith("/metadata.json")


def test_same_content_twice_is_one_upload(stage: StageHandle, tmp_path: Path) -> None:
    first = upload(stage.settings, write_episode(tmp_path / "episode"))
    requests = len(stage.entries())
    with UploadQueue(stage.settings) as queue:
        again: Added = queue.add(
            tmp_path / "episode", robot_id=ROBOT.device_id, packaging=Packaging.FILES
        )

    assert again.duplicate
    assert again.item.item_id == first.item_id
    assert len(stage.entries()) == requests


def test_broken_link_continues_from_the_confirmed_offset(
    stage: StageHandle, tmp_path: Path
) -> None:
    archive = tmp_path / "big.tar.gz"
    archive.write_bytes(os.urandom(5 * CHUNK + 1234))
    stage.control(rules=[{"method": "PUT", "with_body": True, "times": 2, "cut_after": 700_000}])
    item = upload(stage.settings, archive, resumable=True, chunk_bytes=4 * CHUNK)

    assert item.state is State.VALIDATED
    (name,) = stage.objects()
    assert stage.content(name) == archive.read_bytes()
    assert sum(entry["status"] == "cut" for entry in stage.entries()) == 2
    assert sessions_are_continued(stage)


def test_lost_answer_does_not_send_the_object_again(stage: StageHandle, tmp_path: Path) -> None:
    stage.control(rules=[{"method": "PUT", "times": 1, "swallow_answer": True}])
    item = upload(stage.settings, write_episode(tmp_path / "episode"))

    assert item.state is State.VALIDATED
    assert len([entry for entry in stage.entries() if entry["method"] == "PUT"]) == 1


def test_retry_after_of_the_store_is_waited_for(stage: StageHandle, tmp_path: Path) -> None:
    busy = {"method": "PUT", "times": 1, "status": 503, "headers": {"retry-after": "1"}}
    stage.control(rules=[busy])
    begun = time.monotonic()
    item = upload(stage.settings, write_episode(tmp_path / "episode"))

    assert item.state is State.VALIDATED
    assert time.monotonic() - begun >= 1.0


def test_service_that_stays_away_leaves_the_item_for_the_next_run(
    stage: StageHandle, tmp_path: Path
) -> None:
    away = {"method": "POST", "path": "signed-url", "times": 2, "status": 503}
    stage.control(rules=[away])
    path = write_episode(tmp_path / "episode")
    item = upload(stage.settings, path, max_attempts=2)

    assert (item.state, item.attempts) == (State.QUEUED, 2)
    assert item.problem is not None
    assert item.problem["status"] == 503
    assert item.next_attempt_at > 0
    assert upload(stage.settings, path).state is State.VALIDATED


def test_url_that_expired_in_a_power_cut_is_renewed(stage: StageHandle, tmp_path: Path) -> None:
    stage.control(url_lifetime_s=1)
    path = write_episode(tmp_path / "episode")
    assert upload_in_children(1, stage.settings, path, fault="urls_saved") == [-signal.SIGKILL]
    time.sleep(1.1)
    stage.control(url_lifetime_s=3600)
    item = upload(stage.settings, path)

    assert item.state is State.VALIDATED
    assert [e["status"] for e in stage.entries() if e["method"] == "PUT"] == [400, 200]
    assert sum(e["path"].endswith("/signed-url") for e in stage.entries()) == 2


def test_session_that_is_gone_is_started_anew(stage: StageHandle, tmp_path: Path) -> None:
    archive = tmp_path / "big.tar.gz"
    archive.write_bytes(os.urandom(2 * CHUNK + 99))
    cut = {"method": "PUT", "with_body": True, "times": 1, "cut_after": CHUNK // 2}
    gone = {"method": "PUT", "times": 1, "status": 410}
    stage.control(rules=[cut, gone])
    item = upload(stage.settings, archive, resumable=True)

    assert item.state is State.VALIDATED
    (name,) = stage.objects()
    assert stage.content(name) == archive.read_bytes()
    assert len({entry["session"] for entry in stage.entries() if entry["session"]}) == 2


def test_refused_request_is_set_aside_and_not_repeated_until_asked(
    stage: StageHandle, tmp_path: Path
) -> None:
    problem = {
        "type": "about:blank",
        "title": "No.",
        "status": 422,
        "detail": "size_bytes is wrong",
        "code": "request.invalid",
        "errors": [{"code": "int", "path": "size_bytes", "message": "is wrong"}],
    }
    refusal = {"method": "POST", "times": 1, "status": 422, "body": json.dumps(problem)}
    stage.control(rules=[refusal])
    path = write_episode(tmp_path / "episode")
    item = upload(stage.settings, path)
    again = upload(stage.settings, path)

    assert item.state is again.state is State.SET_ASIDE
    assert item.problem is not None
    assert item.problem["code"] == "request.invalid"
    assert item.problem["errors"][0]["path"] == "size_bytes"
    assert len(stage.entries()) == 1
    with UploadQueue(stage.settings) as queue:
        queue.retry(item.item_id)
    assert upload(stage.settings, path).state is State.VALIDATED


def test_refused_identity_stops_the_run_and_keeps_the_item(
    stage: StageHandle, tmp_path: Path
) -> None:
    stage.control(rules=[{"method": "POST", "times": 1, "status": 401}])
    path = write_episode(tmp_path / "episode")
    item = upload(stage.settings, path)

    assert item.state is State.QUEUED
    assert item.problem is not None
    assert item.problem["status"] == 401
    assert upload(stage.settings, path).state is State.VALIDATED


def test_file_that_changed_after_it_was_added_is_never_mixed(
    stage: StageHandle, tmp_path: Path
) -> None:
    archive = tmp_path / "big.tar.gz"
    archive.write_bytes(os.urandom(CHUNK * 2))
    stage.control(rules=[{"method": "PUT", "with_body": True, "times": 1, "cut_after": CHUNK}])
    with UploadQueue(stage.settings) as queue:
        added = queue.add(archive, robot_id=ROBOT.device_id, resumable=True)
        options = RunOptions(chunk_bytes=CHUNK * 2, max_attempts=1)
        asyncio.run(queue.run([added.item.item_id], options=options))
        archive.write_bytes(os.urandom(CHUNK * 2))
        os.utime(archive, ns=(1, 1))
        (item,) = asyncio.run(queue.run([added.item.item_id]))

    assert item.state is State.SET_ASIDE
    assert item.problem is not None
    assert item.problem["code"] == "source.changed"
    assert not stage.objects()


def test_content_the_cloud_judged_before_is_recognised_by_its_hash(
    stage: StageHandle, tmp_path: Path
) -> None:
    path = write_episode(tmp_path / "episode")
    upload(stage.settings, path)
    shutil.rmtree(stage.settings.home / "queue")
    stage.control(settled=True)
    item = upload(stage.settings, path)

    assert item.state is State.VALIDATED
    assert len([entry for entry in stage.entries() if entry["method"] == "PUT"]) == 1


def test_other_content_under_a_judged_id_is_a_conflict(stage: StageHandle, tmp_path: Path) -> None:
    upload(stage.settings, write_episode(tmp_path / "one"))
    before = stage.objects()
    stage.control(settled=True)
    item = upload(stage.settings, write_episode(tmp_path / "two"))

    assert item.state is State.SET_ASIDE
    assert item.problem is not None
    assert item.problem["code"] == "episode.settled"
    assert stage.objects() == before


def test_two_processes_with_the_same_episode_upload_it_once(
    stage: StageHandle, tmp_path: Path
) -> None:
    path = write_episode(tmp_path / "episode", size=2 * CHUNK)
    codes = upload_in_children(3, stage.settings, path)

    assert codes == [0, 0, 0]
    assert len([entry for entry in stage.entries() if entry["method"] == "PUT"]) == 1


def test_no_secret_reaches_a_log(
    stage: StageHandle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upload(stage.settings, write_episode(tmp_path / "a"), resumable=True)

    assert "HTTP Request: POST" in caplog.text
    for secret in ("X-Goog-Signature", "upload_id", "signature-input"):
        assert secret.lower() not in caplog.text.lower()


def test_item_in_another_process_holds_up_no_other_item(stage: StageHandle, tmp_path: Path) -> None:
    with UploadQueue(stage.settings) as queue:
        taken = queue.add(write_episode(tmp_path / "a", episode_id="ep_a")).item
        free = queue.add(write_episode(tmp_path / "b", episode_id="ep_b")).item
        with queue._lock_of(taken.item_id):
            (item,) = asyncio.run(queue.run([free.item_id]))
            with pytest.raises(QueueError) as refusal:
                queue.forget(taken.item_id)

    assert item.state is State.VALIDATED
    assert refusal.value.code == "queue.busy"


def test_file_that_vanishes_under_way_is_set_aside_and_ends_nothing_else(
    stage: StageHandle, tmp_path: Path
) -> None:
    archive = tmp_path / "big.tar.gz"
    archive.write_bytes(os.urandom(CHUNK * 2))

    class Vanishing:
        def progressed(self, item: QueueItem, file: FileTask, sent_bytes: int) -> None:
            if item.source == archive and file.position == 0 and sent_bytes >= CHUNK:
                archive.unlink(missing_ok=True)

        def changed(self, item: QueueItem) -> None:
            pass

    with UploadQueue(stage.settings) as queue:
        gone = queue.add(archive, resumable=True).item
        fine = queue.add(write_episode(tmp_path / "episode")).item
        options = RunOptions(chunk_bytes=CHUNK, verdict_timeout_s=5.0)
        ids = [gone.item_id, fine.item_id]
        first, second = asyncio.run(queue.run(ids, options=options, observer=Vanishing()))

    assert (first.state, second.state) == (State.SET_ASIDE, State.VALIDATED)
    assert first.problem is not None
    assert first.problem["code"] == "source.changed"


@pytest.mark.parametrize("hours", [-500_000, -1, 1])
def test_robot_with_a_wrong_clock_learns_the_time_and_uploads(
    hours: int, stage: StageHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Patched because a test cannot set the machine's clock.
    monkeypatch.setattr(transport, "_now", lambda: datetime.now(UTC) + timedelta(hours=hours))
    item = upload(stage.settings, write_episode(tmp_path / "episode"))

    assert item.state is State.VALIDATED
    statuses = [entry["status"] for entry in stage.entries() if "/api/" in entry["path"]]
    assert statuses[:2] == [401, 200]
    assert statuses.count(401) == 1


def test_bandwidth_limit_is_kept(stage: StageHandle, tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode", size=CHUNK)
    begun = time.monotonic()
    item = upload(stage.settings, path, rate_bytes_per_s=CHUNK / 0.8)

    assert item.state is State.VALIDATED
    assert time.monotonic() - begun >= 0.75


def test_empty_file_in_a_session_is_stored(stage: StageHandle, tmp_path: Path) -> None:
    folder = write_episode(tmp_path / "episode", size=0)
    item = upload(stage.settings, folder, packaging=Packaging.FILES, resumable=True)

    assert item.state is State.VALIDATED
    assert len(stage.objects()) == 3


def test_recording_marked_no_upload_never_leaves_the_machine(
    stage: StageHandle, tmp_path: Path
) -> None:
    folder = write_episode(tmp_path / "episode")
    (folder / "metadata.json").write_text('{"privacy": {"no_upload": true}}')
    with UploadQueue(stage.settings) as queue:
        with pytest.raises(EpisodeSourceError) as refusal:
            queue.add(folder, robot_id=ROBOT.device_id)
        assert not queue.items()

    assert refusal.value.code == "privacy.no_upload"
    assert not stage.entries()
