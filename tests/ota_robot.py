"""A robot with the real agent, for tests: its folder, its clock, its commands."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import ssl
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from continuon.auth.ruri import Ruri
from continuon_cloud.client import ContinuonClient
from continuon_cloud.identity import RobotIdentity
from continuon_cloud.ota.agent import AgentOptions, Round, UpdateAgent
from continuon_cloud.ota.clock import TrustedClock
from continuon_cloud.ota.download import DownloadLimits
from continuon_cloud.ota.health import RobotCommand
from continuon_cloud.ota.install import InstallOptions
from continuon_cloud.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

__all__ = ["PATIENT", "TestRobot", "round_until"]

RURI = Ruri("continuon.cloud", "acme", "companion-v1", "14d4b680")
PATIENT = DownloadLimits(window_s=30.0, total_s=100.0, attempts=3, slow_windows=2)
"""An honest answer may take long on a busy machine; tests of slowness say less."""

_TLS = ssl.create_default_context()
"""Loaded once: it takes longer than most tests."""


@dataclass(frozen=True)
class TestRobot:
    """Everything an agent is made of; it can be sent to another process.

    Attributes:
        now: What the robot's clock says.
        health: A command line, or None for the check of the files.
    """

    __test__ = False

    url: str
    home: Path
    now: datetime
    health: str | None = None
    health_timeout_s: float = 60.0
    activate: str | None = None
    software_version: str = "1.0.0"
    limits: DownloadLimits = PATIENT
    deadline_s: float = 30.0
    state_file: Path | None = None
    tasks_file: Path | None = None

    @property
    def folder(self) -> Path:
        return self.home / "ota"

    def pin(self, root: bytes) -> TestRobot:
        """Pin the root of trust."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "root.json").write_bytes(root)
        return self

    def at(self, now: datetime) -> TestRobot:
        """Return the same robot with another time on its clock."""
        return replace(self, now=now)

    def options(self) -> AgentOptions:
        health = self.health and RobotCommand(self.health, self.health_timeout_s, "ota.unhealthy")
        activate = self.activate and RobotCommand(self.activate, 60.0, "ota.activation")
        install = InstallOptions(
            self.software_version, health or None, activate or None, self.limits
        )
        return AgentOptions(
            install,
            state_file=self.state_file,
            tasks_file=self.tasks_file,
            metadata_deadline_s=self.deadline_s,
        )

    def round(self) -> Round:
        """Do one round as one process would that starts, works and ends."""
        return asyncio.run(self._round())

    async def run(self, on_round: Callable[[Round], None]) -> None:
        """Work until cancelled."""
        async with self._agent() as agent:
            await agent.run(on_round)

    async def _round(self) -> Round:
        async with self._agent() as agent:
            return await agent.round()

    @asynccontextmanager
    async def _agent(self) -> AsyncIterator[UpdateAgent]:
        key = Ed25519PrivateKey.generate()
        settings = Settings(self.url, self.home)
        robot = RobotIdentity(RURI, key)
        async with httpx.AsyncClient(verify=_TLS, timeout=60.0) as http:
            client = ContinuonClient(settings, robot=robot, http=http)
            clock = TrustedClock(lambda: self.now)
            with UpdateAgent(client, self.folder, self.options(), clock=clock) as agent:
                yield agent

    # --- What is on its disk --------------------------------------------------------------------

    def running(self) -> str | None:
        """Return the version that a program would find through ``current``, whole and unmixed."""
        current = self.folder / "current"
        if not current.is_symlink():
            return None
        content = (current / "model.bin").read_bytes()
        assert content.startswith(b"weights")
        return content.removeprefix(b"weights").decode()

    def slot(self) -> str:
        """Return which slot runs."""
        return os.path.basename((self.folder / "current").readlink())  # noqa: PTH119 - of a link


def _round_with_fault(robot: TestRobot, fault: str) -> None:
    os.environ["CONTINUON_FAULT"] = fault
    # A process that is killed loses nothing that the kernel has.
    setattr(os, "fsync", lambda _: None)  # noqa: B010 - a replacement, which mypy may not judge
    sys.exit(0 if robot.round().outcome == "installed" else 1)


def round_until(robot: TestRobot, fault: str) -> int:
    """Do a round in a process that ends at ``fault``; return its exit code, -9 for SIGKILL.

    It is forked from a server that has only the client loaded: the test process has threads, and
    forking those is not sound.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["continuon_cloud.ota.agent", "pytest"])
    child = context.Process(target=_round_with_fault, args=(robot, fault))
    child.start()
    child.join(120)
    code = child.exitcode
    assert code is not None, "the child did not end"
    child.close()
    return code
