"""The HTTP surface of robots and accounts."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query

from continuon import limits
from continuon.auth.claims import verify_claim
from continuon.contracts.robots import (
    ClaimRequest,
    Quota,
    Robot,
    RobotPage,
    UserProfile,
)
from continuon.errors import ProblemError
from continuon.identifiers import ROBOT_ID
from continuon.paging import decode_cursor, encode_cursor
from continuon.platform.http import create_app
from continuon.platform.identity import CurrentUser, Now
from continuon_fleet import service
from continuon_fleet.errors import ROBOT_NOT_FOUND
from continuon_fleet.settings import ClaimPolicy, settings
from continuon_fleet.store import FleetStore

if TYPE_CHECKING:
    from fastapi import FastAPI

    from continuon_fleet.records import RobotRecord

__all__ = ["app"]

_robots = APIRouter(prefix="/api/v1/robots", tags=["robots"])
_account = APIRouter(prefix="/api/v1/auth", tags=["account"])
_service = APIRouter(tags=["service"])

_RobotId = Annotated[str, Path(pattern=ROBOT_ID.pattern)]


@_robots.post("/claim", status_code=201)
async def claim_robot(request: ClaimRequest, user: CurrentUser, now: Now) -> Robot:
    """Bind a robot to your account with the proof that it signed on the local network.

    Claiming a robot that is yours already, with the key that is bound, changes nothing and answers
    with the robot: a request whose answer was lost may be repeated.
    """
    store = FleetStore()
    proof = verify_claim(request.proof, user_id=user.uid, now=now)
    existing, snapshot = await store.robot(proof.ruri.device_id)
    if existing is not None and service.is_bound(existing, proof):
        return existing.public()
    if settings().claim_policy is ClaimPolicy.PROVISIONED:
        registered = await store.provisioned_thumbprint(proof.ruri.device_id)
        service.check_provisioned(registered, proof)
    account = await store.user(user.uid)
    service.check_quota(await store.robots_used(user.uid), account.plan)
    record = service.claim(proof, existing, name=request.name, now=now)
    await store.apply_claim(proof, record, snapshot, now)
    return record.public()


@_robots.get("")
async def list_robots(
    user: CurrentUser,
    page_size: Annotated[int, Query(ge=1, le=limits.MAX_PAGE_SIZE)] = limits.DEFAULT_PAGE_SIZE,
    page_token: Annotated[str | None, Query(max_length=512)] = None,
) -> RobotPage:
    """List your robots, newest claim first."""
    after = decode_cursor(page_token) if page_token else None
    records = await FleetStore().page(user.uid, after=after, size=page_size)
    last = records[-1] if len(records) == page_size else None
    return RobotPage(
        robots=[record.public() for record in records],
        next_page_token=encode_cursor(last.claimed_at, last.robot_id) if last else None,
    )


async def _owned(store: FleetStore, robot_id: str, uid: str) -> tuple[RobotRecord, Any]:
    """Return the robot if it is the caller's; 404 says nothing about others' robots."""
    record, snapshot = await store.robot(robot_id)
    if record is None or record.owner_id != uid:
        raise ProblemError(ROBOT_NOT_FOUND)
    return record, snapshot


@_robots.get("/{robot_id}")
async def get_robot(robot_id: _RobotId, user: CurrentUser) -> Robot:
    """Get one of your robots."""
    record, _ = await _owned(FleetStore(), robot_id, user.uid)
    return record.public()


@_robots.post("/{robot_id}/revoke")
async def revoke_robot(robot_id: _RobotId, user: CurrentUser, now: Now) -> Robot:
    """Give a robot up: its key stops working with the next request.

    Its episodes stay yours. Whoever claims it next needs a new device key on the robot.
    """
    store = FleetStore()
    record, snapshot = await _owned(store, robot_id, user.uid)
    revoked = service.revoke(record)
    await store.apply_revoke(revoked, snapshot, actor=user.uid, now=now)
    return revoked.public()


@_account.get("/me")
async def me(user: CurrentUser) -> UserProfile:
    """Get your account: roles, plan, what is used of it."""
    store = FleetStore()
    account = await store.user(user.uid)
    allowed = service.plan_limits(account.plan)
    return UserProfile(
        uid=user.uid,
        email=user.email,
        roles=sorted(role.value for role in user.roles),
        plan=account.plan,
        quota=Quota(
            robots_used=await store.robots_used(user.uid),
            robots_limit=allowed.robots,
            episodes_used=await store.episodes_used(user.uid),
            episodes_limit=allowed.episodes,
        ),
    )


@_service.get("/api/health")
async def health() -> dict[str, str]:
    """Say that requests arrive. Touches no store: it must not cost and not fail with one."""
    return {"status": "ok"}


@cache
def app() -> FastAPI:
    """Return the application of the `fleet_api` function."""
    project_id = settings().google_cloud_project
    return create_app("Fleet", _robots, _account, _service, project_id=project_id)
