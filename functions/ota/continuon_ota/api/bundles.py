"""What operators publish and roll out."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from continuon import limits
from continuon.contracts.ota import (
    BUNDLE_ID,
    Bundle,
    BundlePage,
    BundleUpload,
    CreateBundleRequest,
    CreatedBundle,
    ManifestSummary,
    RolloutReport,
    RolloutRequest,
)
from continuon.contracts.rollouts import EVERYONE, RolloutAction, RolloutPlan
from continuon.errors import ProblemError
from continuon.ota.manifest import ROBOT_MODEL, target_path
from continuon.paging import decode_cursor, encode_cursor
from continuon.platform.identity import Now
from continuon.platform.objects import ObjectStore
from continuon.platform.storage import url_signer
from continuon_ota import gates, metadata, rollout, service
from continuon_ota.api.operators import CurrentOperator
from continuon_ota.counts import count_fleet, count_rollout, count_stages
from continuon_ota.errors import BUNDLE_EXISTS, BUNDLE_NOT_SIGNED, BUNDLE_NOT_UPLOADED
from continuon_ota.live import forget
from continuon_ota.records import BundleRecord, RolloutRecord
from continuon_ota.settings import settings
from continuon_ota.store import BundleStore

__all__ = ["router"]

router = APIRouter(prefix="/api/ota/bundles", tags=["over the air: bundles"])

_BundleId = Annotated[str, Path(pattern=BUNDLE_ID)]
_FOLDER: Final = "bundles/ota"
_STARTS: Final = frozenset({RolloutAction.START, RolloutAction.RESUME})


@router.post("", status_code=201)
async def create_bundle(
    request: CreateBundleRequest, operator: CurrentOperator, now: Now, response: Response
) -> CreatedBundle:
    """Announce a bundle and get the right to upload its archive.

    A version of a robot model exists once and never changes. The same request again renews the
    upload; with other content it is refused.
    """
    store = BundleStore()
    wanted = _announced(request, operator.uid, now)
    record = wanted
    if not await store.create(wanted, now=now):
        record = await store.get(wanted.bundle_id)
        if (record.manifest, record.archive) != (wanted.manifest, wanted.archive):
            raise ProblemError(BUNDLE_EXISTS, f"{record.bundle_id} exists with other content.")
        response.status_code = 200
    upload = None if await _is_uploaded(record) else await _upload(record, now)
    return CreatedBundle(bundle=record.public(), upload=upload)


def _announced(request: CreateBundleRequest, uid: str, now: datetime) -> BundleRecord:
    manifest = request.manifest
    path = target_path(manifest.robot_model, manifest.version)
    return BundleRecord(
        bundle_id=f"{manifest.robot_model}-{manifest.version}",
        version=manifest.version,
        robot_model=manifest.robot_model,
        owner_id=uid,
        created_at=now,
        training_job_id=manifest.provenance.training_job_id,
        storage_ref=f"{_FOLDER}/{path}",
        target_path=path,
        manifest=ManifestSummary.of(manifest),
        archive=request.archive,
        rollout=service.staged(now),
    )


async def _is_uploaded(record: BundleRecord) -> bool:
    stored = await ObjectStore(settings().continuon_rlds_bucket).stat(record.storage_ref)
    return stored is not None and stored.size_bytes == record.archive.size_bytes


async def _upload(record: BundleRecord, now: datetime) -> BundleUpload:
    size = record.archive.size_bytes
    headers = {
        "content-type": "application/x-tar",
        "x-goog-content-length-range": f"{size},{size}",
        # Stored once, replaced never: what was signed stays what is there.
        "x-goog-if-generation-match": "0",
    }
    resumable = size >= limits.RESUMABLE_THRESHOLD_BYTES
    if resumable:
        headers["x-goog-resumable"] = "start"
    lifetime = timedelta(seconds=limits.UPLOAD_URL_TTL_S)
    url = await asyncio.to_thread(
        url_signer(settings().continuon_rlds_bucket).sign,
        record.storage_ref,
        method="POST" if resumable else "PUT",
        lifetime=lifetime,
        headers=headers,
    )
    return BundleUpload(
        url=url,
        method="POST" if resumable else "PUT",
        headers=headers,
        expires_at=now + lifetime,
    )


@router.get("")
async def list_bundles(
    _operator: CurrentOperator,
    robot_model: Annotated[str | None, Query(pattern=ROBOT_MODEL.pattern)] = None,
    page_size: Annotated[int, Query(ge=1, le=limits.MAX_PAGE_SIZE)] = limits.DEFAULT_PAGE_SIZE,
    page_token: Annotated[str | None, Query(max_length=512)] = None,
) -> BundlePage:
    """List bundles, newest first."""
    after = decode_cursor(page_token, re.compile(BUNDLE_ID)) if page_token else None
    records = await BundleStore().page(robot_model=robot_model, after=after, size=page_size)
    last = records[-1] if len(records) == page_size else None
    return BundlePage(
        bundles=[record.public() for record in records],
        next_page_token=encode_cursor(last.created_at, last.bundle_id) if last else None,
    )


@router.get("/{bundle_id}")
async def get_bundle(bundle_id: _BundleId, _operator: CurrentOperator) -> Bundle:
    """Get one bundle with its rollout."""
    return (await BundleStore().get(bundle_id)).public()


@router.get("/{bundle_id}/rollout")
async def get_rollout(bundle_id: _BundleId, _operator: CurrentOperator, now: Now) -> RolloutReport:
    """Get a rollout as it stands now: counts of each cohort, and what the gate would decide."""
    found = await BundleStore().get(bundle_id)
    bundle = await rollout.with_sizes(found, now, max_age=timedelta(0))
    counts, stages = await asyncio.gather(count_rollout(bundle, now), count_stages(bundle))
    is_live = bundle.rollout.status in service.LIVE
    decision = gates.decide(bundle.rollout, counts, now=now) if is_live else bundle.rollout.decision
    return RolloutReport(
        bundle_id=bundle.bundle_id,
        version=bundle.version,
        robot_model=bundle.robot_model,
        rollout=bundle.rollout.public(),
        counts=counts,
        stages=stages,
        decision=decision,
        read_at=now,
    )


@router.post("/{bundle_id}/rollout")
async def change_rollout(
    bundle_id: _BundleId, request: RolloutRequest, operator: CurrentOperator, now: Now
) -> Bundle:
    """Start, advance, pause, resume, halt or roll back.

    What cannot be done in the present state is refused with 409, which names the state, and is
    kept in the audit log like everything that is done.
    """
    store = BundleStore()
    action = f"ota.rollout.{request.action.value}"
    try:
        if request.action is RolloutAction.START:
            request = await _with_plan(await store.get(bundle_id), request)
        changed = await store.change(
            bundle_id,
            lambda bundle, others: _decide(bundle, others, request, now),
            actor=operator.uid,
            action=action,
            now=now,
        )
    except ProblemError as refusal:
        await store.record_refusal(
            bundle_id, actor=operator.uid, action=action, detail=str(refusal), now=now
        )
        raise
    forget(changed.robot_model)
    return changed.public()


async def _with_plan(record: BundleRecord, request: RolloutRequest) -> RolloutRequest:
    """Return the request to start with a plan in it: the default one fits the fleet's size."""
    if not await _is_uploaded(record):
        raise ProblemError(BUNDLE_NOT_UPLOADED)
    listed = await metadata.lists(record.robot_model, record.target_path, record.archive)
    if listed is False:
        raise ProblemError(BUNDLE_NOT_SIGNED)
    if request.plan is not None:
        return request
    sizes = await count_fleet(record.robot_model, [])
    return request.model_copy(update={"plan": service.default_plan(sizes[EVERYONE])})


def _decide(
    bundle: BundleRecord, others: list[BundleRecord], request: RolloutRequest, now: datetime
) -> RolloutRecord:
    """Return the state that ``request`` leads to. Pure."""
    service.check_request(bundle.rollout, request)
    plan = request.plan or bundle.rollout.plan or RolloutPlan()
    after = service.act(
        bundle.rollout,
        request.action,
        now=now,
        reason=request.reason or "",
        plan=plan,
        previous_bundle_id=service.previous_of(bundle, plan, others),
    )
    if request.action in _STARTS:
        service.check_start(bundle, plan, others)
    return after
