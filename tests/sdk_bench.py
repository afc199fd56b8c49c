"""What tests of the robot client share: a robot, a small episode, and the upload stage's handle."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import multiprocessing
import os
import sys
from typing import TYPE_CHECKING, Any

import httpx

from continuon.auth.ruri import Ruri
from continuon_cloud.queue import Packaging, QueueItem, RunOptions, State, UploadQueue

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_cloud.settings import Settings

ROBOT = Ruri("continuon.cloud", "acme", "companion-v1", "14d4b680")
EPISODE_ID = "ep_1704384000000"
CHUNK = 256 * 1024


class StageHandle:
    """The running stage, as a test sees it."""

    def __init__(self, origin: str, journal: Path, storage: str, settings: Settings) -> None:
        self.origin = origin
        self.storage = storage
        self.settings = settings
        self._journal = journal

    def in_home(self, home: Path) -> StageHandle:
        """Return the same stage for a client with another home folder."""
        settings = dataclasses.replace(self.settings, home=home)
        return StageHandle(self.origin, self._journal, self.storage, settings)

    def empty(self) -> None:
        """Delete every object, forget every episode and every rule."""
        for name in self.objects():
            quoted = name.replace("/", "%2F")
            httpx.delete(f"{self.storage}/storage/v1/b/stage/o/{quoted}", timeout=5)
        self.control(reset=True)

    def entries(self) -> list[dict[str, Any]]:
        """Return every request the stage saw, in the order of arrival."""
        if not self._journal.exists():
            return []
        entries = [json.loads(line) for line in self._journal.read_text().splitlines()]
        return sorted(entries, key=lambda entry: int(entry["arrival"]))

    def control(self, **wish: Any) -> None:
        httpx.post(f"{self.origin}/_control", json=wish, timeout=5).raise_for_status()

    def objects(self) -> dict[str, dict[str, Any]]:
        """Return what the store holds, by name."""
        answer = httpx.get(f"{self.storage}/storage/v1/b/stage/o", timeout=5).raise_for_status()
        return {item["name"]: item for item in answer.json().get("items", [])}

    def content(self, name: str) -> bytes:
        quoted = name.replace("/", "%2F")
        url = f"{self.storage}/storage/v1/b/stage/o/{quoted}?alt=media"
        return httpx.get(url, timeout=5).raise_for_status().content


def write_episode(folder: Path, *, episode_id: str = "ep_1704384000000", size: int = 3000) -> Path:
    """Write a small episode folder with one blob of ``size`` bytes that do not compress."""
    (folder / "blobs").mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps({"episode_id": episode_id, "step_count": 1}))
    (folder / "steps.jsonl").write_text('{"observation": {}, "action": {"command": [0.0]}}\n')
    (folder / "blobs" / "frame_000000.jpg").write_bytes(os.urandom(size))
    return folder


def upload(
    settings: Settings,
    path: Path,
    packaging: Packaging = Packaging.OBJECT,
    *,
    resumable: bool = False,
    **options: Any,
) -> QueueItem:
    """Queue ``path`` and run the queue, with chunks small enough to be several."""
    with UploadQueue(settings) as queue:
        added = queue.add(path, robot_id=ROBOT.device_id, packaging=packaging, resumable=resumable)
        chosen = RunOptions(**{"verdict_timeout_s": 5.0, "chunk_bytes": CHUNK, **options})
        (item,) = asyncio.run(queue.run([added.item.item_id], options=chosen))
    return item


def _upload_with_fault(
    fault: str,
    settings: Settings,
    path: Path,
    packaging: Packaging,
    resumable: bool,  # noqa: FBT001 - passed on by multiprocessing
) -> None:
    if fault:
        os.environ["CONTINUON_FAULT"] = fault
    item = upload(settings, path, packaging, resumable=resumable)
    sys.exit(0 if item.state is State.VALIDATED else 1)


def upload_in_children(
    count: int,
    settings: Settings,
    path: Path,
    packaging: Packaging = Packaging.OBJECT,
    *,
    resumable: bool = False,
    fault: str = "",
) -> list[int]:
    """Upload ``path`` in processes of their own, at once; return their exit codes, -9 for SIGKILL.

    They are forked from a server that has only the client loaded: the test process has threads of
    other tests' clients, and forking those is not sound.
    """
    context = multiprocessing.get_context("forkserver")
    # What a child would import for itself; pytest is there because it is the main module.
    context.set_forkserver_preload(["continuon_cloud.queue", "pytest"])
    arguments = (fault, settings, path, packaging, resumable)
    children = [context.Process(target=_upload_with_fault, args=arguments) for _ in range(count)]
    for child in children:
        child.start()
    codes = []
    for child in children:
        child.join(30)
        assert child.exitcode is not None, "the child did not end"
        codes.append(child.exitcode)
        child.close()
    return codes


def sessions_are_continued(stage: StageHandle) -> bool:
    """Tell whether every chunk started at the offset the store had named last.

    After a break the store may know more than its last answer: then the client has to ask first.
    """
    known: dict[str, int | None] = {}
    for entry in stage.entries():
        # By object, not by session: a new session would send what the old one has.
        name, span = entry["path"], entry["range"]
        if entry["session"] is None or span is None:
            continue
        if not span.startswith("bytes */"):
            start = int(span.removeprefix("bytes ").split("-")[0])
            if start != known.get(name, 0):
                return False
        if entry["status"] == 308:
            named = entry["known"]
            known[name] = int(named.split("-")[1]) + 1 if named else 0
        elif entry["status"] == "cut":
            known[name] = None
        elif entry["status"] in {404, 410}:
            known[name] = 0
    return True
