"""The real application of `ota_api` on a real Firestore, with a clock that a test moves.

Robots sign their requests with device keys; only the reading of the clock and the proof of a
person's identity are replaced.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from continuon.auth.keys import public_jwk
from continuon.auth.principals import Role, UserPrincipal
from continuon.platform.firestore import firestore_client
from continuon.platform.identity import _user, request_time
from continuon_ota import rollout, ticks
from continuon_ota.api import surface
from devices import Device
from ota_samples import bundle
from ota_stage import IDLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from continuon_ota.records import BundleRecord, RolloutRecord

__all__ = ["QUICK", "World", "WorldRobot", "opened"]

_NUMBERS = itertools.count(1)

QUICK = {
    "stages": [
        {"percentage": 50, "soak": "10m", "min_sample": 2},
        {"percentage": 100, "soak": "10m", "min_sample": 2},
    ]
}


@dataclass
class WorldRobot:
    """A claimed robot with its key, as the cloud knows it."""

    world: World = field(repr=False)
    device: Device
    version: str | None = None
    bundle_id: str | None = None
    sequence: int = 0

    @property
    def id(self) -> str:
        """The robot id."""
        return self.device.robot_id

    async def send(self, path: str, document: dict[str, Any]) -> httpx.Response:
        """Send a signed request."""
        request = self.signed(path, document)
        return await self.world.http.send(request)

    def signed(self, path: str, document: dict[str, Any]) -> httpx.Request:
        """Return a signed request, to be sent once or twice."""
        content = httpx.Request("POST", "http://x", json=document).content
        headers = self.device.headers("POST", path, content, now=self.world.now)
        headers["content-type"] = "application/json"
        return self.world.http.build_request("POST", path, content=content, headers=headers)

    def checking(self, **changes: Any) -> dict[str, Any]:
        """Return the body of a check."""
        return {
            "version": self.version,
            "bundle_id": self.bundle_id,
            "software_version": "1.2.0",
            "state": IDLE,
            **changes,
        }

    async def check(self, **changes: Any) -> dict[str, Any]:
        """Ask whether there is something to install."""
        response = await self.send("/api/ota/check", self.checking(**changes))
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def report(self, bundle_id: str, phase: str, **changes: Any) -> dict[str, Any]:
        """Say how it goes."""
        self.sequence += 1
        document = {
            "bundle_id": bundle_id,
            "sequence": self.sequence,
            "phase": phase,
            "version": self.version,
            **changes,
        }
        response = await self.send("/api/ota/report", document)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def install(self, bundle_id: str, version: str, **changes: Any) -> None:
        """Report a whole installation that succeeds."""
        await self.report(bundle_id, "installed")
        self.version, self.bundle_id = version, bundle_id
        await self.report(bundle_id, "healthy", **changes)


class World:
    """One project of its own, its clock, and what is in it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.now = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
        self.model = "companion-v1"
        self.documents: Any = firestore_client()

    def pass_time(self, **span: float) -> None:
        """Move the clock."""
        self.now += timedelta(**span)

    async def minutes(self, count: int) -> list[dict[str, int]]:
        """Let minutes pass, each with its tick."""
        outcomes = []
        for _ in range(count):
            self.pass_time(minutes=1)
            outcomes.append(await ticks.run(self.now))
        return outcomes

    async def robot(self, robot_id: str | None = None, **fields: Any) -> WorldRobot:
        """Claim a robot."""
        device = Device(robot_id or f"robot-{next(_NUMBERS)}", self.model)
        document = {
            "robot_id": device.robot_id,
            "owner_id": "olivia",
            "name": device.robot_id,
            "model": self.model,
            "status": "claimed",
            "public_key": public_jwk(device.key.public_key()),
            **fields,
        }
        await self.documents.collection("robots").document(device.robot_id).set(document)
        return WorldRobot(self, device)

    async def robots(self, count: int, **fields: Any) -> list[WorldRobot]:
        """Claim several robots."""
        return [await self.robot(**fields) for _ in range(count)]

    async def bundle(
        self, version: str, state: RolloutRecord | None = None, **changes: Any
    ) -> BundleRecord:
        """Store a bundle as it is when it was published."""
        record = bundle(version, state, robot_model=self.model, **changes)
        reference = self.documents.collection("ota_bundles").document(record.bundle_id)
        await reference.set(record.model_dump())
        return record

    async def started(self, version: str, **plan: Any) -> str:
        """Store a bundle and start its rollout; return its id."""
        record = await self.bundle(version)
        response = await self.act(record.bundle_id, "start", plan={**QUICK, **plan})
        assert response.status_code == 200, response.text
        return record.bundle_id

    async def in_production(self, version: str, **plan: Any) -> str:
        """Store a bundle and start it for all robots at once; return its id."""
        return await self.started(version, stages=[{"percentage": 100}], **plan)

    async def act(self, bundle_id: str, action: str, **request: Any) -> httpx.Response:
        """Ask for a change of a rollout."""
        path = f"/api/ota/bundles/{bundle_id}/rollout"
        response = await self.http.post(path, json={"action": action, **request})
        await self.written(bundle_id)
        return response

    async def written(self, bundle_id: str) -> str:
        """Deliver the event that a write raises."""
        return await rollout.bundle_written(bundle_id, self.now)

    async def document(self, path: str) -> dict[str, Any]:
        """Return a document's fields."""
        found = (await self.documents.document(path).get()).to_dict()
        assert found is not None, path
        fields: dict[str, Any] = found
        return fields

    async def state(self, bundle_id: str) -> dict[str, Any]:
        """Return the state of a rollout as it is stored."""
        fields: dict[str, Any] = (await self.document(f"ota_bundles/{bundle_id}"))["rollout"]
        return fields

    async def status(self, bundle_id: str) -> str:
        """Return the status of a rollout as it is stored."""
        status: str = (await self.state(bundle_id))["status"]
        return status

    async def audit(self, subject: str) -> list[tuple[str, str]]:
        """Return action and outcome of what the audit log holds about a document, sorted."""
        found = await self.documents.collection("audit_log").get()
        entries = [entry.to_dict() for entry in found]
        return sorted(
            (entry["action"], entry["outcome"]) for entry in entries if entry["subject"] == subject
        )

    async def everything(self) -> dict[str, Any]:
        """Return every document of the top collections by path."""
        collections = [one async for one in self.documents.collections()]
        listed = await asyncio.gather(*(one.get() for one in collections))
        return {one.reference.path: one.to_dict() for found in listed for one in found}


async def opened() -> AsyncIterator[World]:
    """Yield a world on the stores that the environment names."""
    app = surface.app()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as http:
        world = World(http)
        operator = UserPrincipal("operator", None, frozenset({Role.USER, Role.OPERATOR}))
        app.dependency_overrides[request_time] = lambda: world.now
        app.dependency_overrides[_user] = lambda: operator
        yield world
        app.dependency_overrides.clear()
        # The client's own close() leaves the channel's coroutine unawaited.
        await world.documents._firestore_api.transport.close()
