"""A fleet in one process: the real agent many times over, against the real API.

Each simulated robot has its own key, folder, state and slots. Only its health check is played: a
drawn share of robots finds the bundle ill, the same robots every time for the same seed.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import httpx

from continuon.auth.ruri import Ruri
from continuon.contracts.robots import ClaimRequest
from continuon_cloud.client import ContinuonClient
from continuon_cloud.files import private_folder
from continuon_cloud.identity import RobotHome, RobotIdentity
from continuon_cloud.ota.agent import AgentOptions, Round, UpdateAgent
from continuon_cloud.ota.download import DownloadLimits
from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.ota.install import InstallOptions
from continuon_cloud.transport import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from continuon_cloud.ota.records import Installed
    from continuon_cloud.settings import Settings

__all__ = ["Fleet", "FleetOptions", "FleetState"]

MAX_ROBOTS: Final = 10_000
_MANUFACTURER: Final = "simulated"


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """How a fleet behaves.

    Attributes:
        robots: How many.
        model: Robot model of all of them.
        software_version: Of all of them.
        fail_rate: Share of robots, from 0 to 1, whose health check fails for a bundle.
        seed: Draws which.
        interval_s: Between two checks of one robot.
        connections: At most so many at once.
        rounds: Of each robot; None goes on until it is stopped.
    """

    robots: int
    model: str
    software_version: str = "1.0.0"
    fail_rate: float = 0.0
    seed: int = 0
    interval_s: float = 5.0
    connections: int = 32
    rounds: int | None = None


@dataclass(slots=True)
class FleetState:
    """The fleet as it stands.

    Attributes:
        versions: Robots by the version that runs; None for none.
        outcomes: Robots by the outcome of their last round.
        rounds: Rounds done by all together.
    """

    versions: Counter[str | None] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class _PlayedHealth:
    robot_id: str
    options: FleetOptions

    async def run(self, bundle: Installed | None, folder: Path | None) -> None:
        """Fail for the share of robots that the seed draws for this bundle."""
        del folder
        name = bundle.bundle_id if bundle else ""
        text = f"{self.options.seed}/{self.robot_id}/{name}"
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
        if drawn < self.options.fail_rate:
            raise UpdateError("a simulated robot is ill", code="ota.unhealthy")


class Fleet:
    """Simulated robots of the signed-in person.

    Args:
        settings: Of the cloud; keys and folders of the robots are kept below its home.
        root: Root of trust that every robot has pinned.
    """

    def __init__(self, settings: Settings, options: FleetOptions, root: bytes) -> None:
        self._settings = settings
        self._options = options
        self._root = root
        self._home = private_folder(settings.home / "simulated")
        self._last: dict[str, Round] = {}
        self._rounds = 0

    async def run(self, on_change: Callable[[FleetState], None]) -> FleetState:
        """Claim what is not claimed, and let every robot do its rounds.

        Raises:
            ApiProblem: The cloud refuses to claim more robots.
        """
        options = self._options
        limits = httpx.Limits(max_connections=options.connections)
        # Robots wait for a connection as long as it takes; the cloud is not at fault for that.
        timeout = httpx.Timeout(TIMEOUT.read, connect=TIMEOUT.connect, pool=None)
        async with httpx.AsyncClient(limits=limits, timeout=timeout) as http:
            robots = await self._robots(http)
            turns = asyncio.Semaphore(options.connections)
            async with asyncio.TaskGroup() as tasks:
                for robot in robots:
                    tasks.create_task(self._live(robot, http, turns, on_change))
        return self.state()

    def state(self) -> FleetState:
        """Return how the fleet stands."""
        last = self._last.values()
        return FleetState(
            Counter(one.version for one in last),
            Counter(one.outcome for one in last),
            self._rounds,
        )

    # --- Robots ---------------------------------------------------------------------------------

    async def _robots(self, http: httpx.AsyncClient) -> list[RobotIdentity]:
        home = RobotHome(self._home)
        present = set(home.ids())
        robots = []
        for number in range(self._options.robots):
            robot_id = f"sim-{self._options.model.replace('.', '-')[:40]}-{number:05}"
            ruri = Ruri("continuon.cloud", _MANUFACTURER, self._options.model, robot_id)
            robots.append(home.load(robot_id) if robot_id in present else home.create(ruri))
        await self._claim(robots, http)
        return robots

    async def _claim(self, robots: list[RobotIdentity], http: httpx.AsyncClient) -> None:
        client = ContinuonClient(self._settings, http=http)
        claimed = {robot.robot_id async for robot in client.robots()}
        session = await client.accounts.current()
        for robot in robots:
            if robot.robot_id not in claimed:
                proof = robot.claim_proof(session.uid, now=datetime.now(UTC))
                await client.claim(ClaimRequest(proof=proof, name=robot.robot_id))

    async def _live(
        self,
        robot: RobotIdentity,
        http: httpx.AsyncClient,
        turns: asyncio.Semaphore,
        on_change: Callable[[FleetState], None],
    ) -> None:
        folder = private_folder(self._home / "updates" / robot.robot_id)
        (folder / "root.json").write_bytes(self._root)
        client = ContinuonClient(self._settings, robot=robot, http=http)
        # Spread over one interval: a real fleet is not switched on all at once.
        await asyncio.sleep(random.uniform(0, self._options.interval_s))  # noqa: S311 - jitter
        done = 0
        while self._options.rounds is None or done < self._options.rounds:
            async with turns:
                # Opened for each round: a thousand open states are more files than a process has.
                with UpdateAgent(client, folder, self._agent(robot), durable=False) as agent:
                    self._last[robot.robot_id] = await agent.round()
            done += 1
            self._rounds += 1
            on_change(self.state())
            if done != self._options.rounds:
                await self._pause()

    async def _pause(self) -> None:
        spread = random.uniform(0.9, 1.1)  # noqa: S311 - jitter, not a secret
        await asyncio.sleep(spread * self._options.interval_s)

    def _agent(self, robot: RobotIdentity) -> AgentOptions:
        health = _PlayedHealth(robot.robot_id, self._options)
        install = InstallOptions(self._options.software_version, health, None, DownloadLimits())
        return AgentOptions(install, assume_ready=True)
