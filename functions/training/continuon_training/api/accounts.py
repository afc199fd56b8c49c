"""An account's training money, and the loops that train by themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from continuon.contracts.training import (
    Budget,
    BudgetUpdate,
    JobRequest,
    JobType,
    SlowLoop,
    SlowLoopUpdate,
)
from continuon.errors import ProblemError
from continuon.platform.identity import CurrentUser, Now
from continuon_training import creation, money
from continuon_training.budget import monthly_limit_usd
from continuon_training.errors import JOB_CHANGED, SLOW_LOOP_NOT_FOUND
from continuon_training.records import SlowLoopRecord
from continuon_training.settings import settings
from continuon_training.slow_loop import SlowLoopStore
from continuon_training.store import JobStore
from continuon_training.webhooks.creation import check_callback

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/training", tags=["training"])
_RobotModel = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


@router.get("/budget")
async def get_budget(user: CurrentUser, now: Now) -> Budget:
    """Get what your training may cost this month, and what it has cost so far."""
    store, month = JobStore(), money.month_of(now)
    return Budget(
        month=month,
        monthly_limit_usd=await monthly_limit_usd(store, user.uid),
        used_usd=round(await store.used_usd(user.uid, month), 4),
        prices_from=money.price_table(settings().continuon_training_prices).date,
    )


@router.put("/budget")
async def put_budget(request: BudgetUpdate, user: CurrentUser, now: Now) -> Budget:
    """Set what your training may cost in a month; running jobs are held to it within a minute."""
    await JobStore().set_monthly_limit_usd(user.uid, request.monthly_limit_usd, now)
    return await get_budget(user, now)


@router.get("/slow-loops/{robot_model}")
async def get_slow_loop(robot_model: _RobotModel, user: CurrentUser) -> SlowLoop:
    """Get when a robot model is trained again by itself."""
    record, _ = await SlowLoopStore().read(user.uid, robot_model)
    if record is None:
        raise ProblemError(SLOW_LOOP_NOT_FOUND)
    return record.public()


@router.put("/slow-loops/{robot_model}")
async def put_slow_loop(
    robot_model: _RobotModel, request: SlowLoopUpdate, user: CurrentUser, now: Now
) -> SlowLoop:
    """Have a robot model trained again whenever `threshold` new eligible episodes came together."""
    wanted = request.model_dump()
    fields = {name: value for name, value in wanted.items() if name in JobRequest.model_fields}
    job = JobRequest(type=JobType.SLOW_LOOP, robot_model=robot_model, **fields)
    creation.check_backend(job, settings().continuon_training_backends)
    if request.callback_url is not None:
        await check_callback(request.callback_url, user.uid)
    store = SlowLoopStore()
    record, snapshot = await store.read(user.uid, robot_model)
    known = record or SlowLoopRecord(owner_id=user.uid, robot_model=robot_model, **wanted)
    changed = known.model_copy(update=dict(request))
    if not await store.write(changed, snapshot, actor=user.uid, now=now):
        raise ProblemError(
            JOB_CHANGED, "The slow loop was changed at the same time.", retry_after_s=1
        )
    return changed.public()
