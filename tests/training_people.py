"""People and machines around training: signed-in homes, recorded episodes, workers to kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from continuon_cloud.accounts import Accounts
from continuon_cloud.settings import Settings
from devices import Device
from product import Robot
from small_episodes import pack
from trainer_episodes import write_episodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from product import Account

__all__ = ["COMMAND", "WorkerProcess", "environment_of", "recorded", "worker_process"]

COMMAND = (sys.executable, "-c", "from continuon_cloud.cli import main; main()")
_HOUR_S = "3600"


def environment_of(account: Account, home: Path, *, url: str | None = None) -> dict[str, str]:
    """Sign ``account`` in under ``home`` and return what points the command at it."""
    cloud = account.product.cloud
    chosen = url or cloud.url
    accounts = Accounts(Settings(base_url=chosen, home=home), httpx.AsyncClient())
    accounts._keep(
        uid=account.uid,
        email="worker@example.com",
        id_token=account.token,
        refresh_token="unused",
        lifetime_s=_HOUR_S,
    )
    return {
        "PATH": "/usr/bin:/bin",
        "CONTINUON_URL": chosen,
        "CONTINUON_HOME": str(home),
        "SECRET_OF_THE_PERSON": account.token,
    }


def recorded(
    account: Account, folder: Path, *, prefix: str, robot_model: str, count: int = 12
) -> list[str]:
    """Upload episodes whose best policy is known, and wait until they are validated."""
    device = Device(f"{prefix}-robot", model=robot_model)
    assert account.claim(device).status_code == 201
    robot = Robot(account.product, device, account)
    names = []
    for path in sorted(write_episodes(folder, count).iterdir()):
        name = f"{prefix}-{path.name}"
        metadata = json.loads((path / "metadata.json").read_text()) | {"episode_id": name}
        files = {
            "metadata.json": json.dumps(metadata).encode(),
            "steps.jsonl": (path / "steps.jsonl").read_bytes(),
        }
        robot.upload_archive(pack(files), episode_id=name)
        names.append(name)
    for name in names:
        found = account.product.settled(name, timeout_s=120)
        assert (found["status"], found["training_eligible"]) == ("validated", True)
    return names


@dataclass
class WorkerProcess:
    """A running `continuon worker`."""

    process: subprocess.Popen[str]

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        self.process.kill()
        self.process.communicate(timeout=60)

    def terminate(self) -> tuple[int, Any]:
        """Send SIGTERM; return the exit status and what it printed."""
        self.process.send_signal(signal.SIGTERM)
        return self.finish()

    def finish(self) -> tuple[int, Any]:
        """Wait for its end; return the exit status and what it printed."""
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, json.loads(out)


@contextmanager
def worker_process(
    environment: dict[str, str], folder: Path, label: str, *options: str
) -> Iterator[WorkerProcess]:
    """Run a worker for as long as the block runs."""
    command = [*COMMAND, "worker", "--backend-label", label, "--folder", str(folder), "--json"]
    process = subprocess.Popen(  # noqa: S603 - this interpreter, our command
        [*command, *options], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield WorkerProcess(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=60)
