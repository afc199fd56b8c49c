"""The calls about bundles and rollouts, typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel

from continuon.contracts.ota import (
    Bundle,
    BundlePage,
    CreateBundleRequest,
    CreatedBundle,
    PublishedMetadata,
    PublishMetadataRequest,
    RobotMembership,
    RobotUpdates,
    RolloutReport,
    RolloutRequest,
)
from continuon_cloud.answers import read, segment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from continuon_cloud.transport import Transport

__all__ = ["RolloutClient"]

_ROOT: Final = "/api/ota"
_Body = TypeVar("_Body", bound=BaseModel)


class RolloutClient:
    """Bundles and rollouts, for operators; `ContinuonClient.rollouts` is one.

    Every method raises :class:`~continuon_cloud.errors.ApiProblem` when the service refuses and
    :class:`~continuon_cloud.errors.UnreachableError` when there is no answer.

    Args:
        transport: Of the client.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create_bundle(self, request: CreateBundleRequest) -> CreatedBundle:
        """Announce a bundle, or renew the right to upload its archive."""
        return await self._send("/bundles", request, CreatedBundle)

    async def publish_metadata(self, request: PublishMetadataRequest) -> PublishedMetadata:
        """Publish metadata that was signed offline."""
        return await self._send("/metadata", request, PublishedMetadata)

    async def bundles(self, *, robot_model: str | None = None) -> AsyncIterator[Bundle]:
        """Yield all bundles, newest first, a page at a time."""
        token: str | None = None
        while True:
            query: dict[str, str | int | None] = {
                "robot_model": robot_model,
                "page_size": 100,
                "page_token": token,
            }
            answer = await self._transport.call("GET", f"{_ROOT}/bundles", query=query)
            page = read(BundlePage, answer)
            for bundle in page.bundles:
                yield bundle
            token = page.next_page_token
            if token is None:
                return

    async def bundle(self, bundle_id: str) -> Bundle:
        """Return one bundle with the state of its rollout."""
        return await self._get(f"/bundles/{segment(bundle_id)}", Bundle)

    async def report(self, bundle_id: str) -> RolloutReport:
        """Return a rollout as it stands: counts of each cohort, and the gate's reasoning."""
        return await self._get(f"/bundles/{segment(bundle_id)}/rollout", RolloutReport)

    async def change(self, bundle_id: str, request: RolloutRequest) -> Bundle:
        """Start, advance, pause, resume, halt or roll back."""
        return await self._send(f"/bundles/{segment(bundle_id)}/rollout", request, Bundle)

    async def robot(self, robot_id: str) -> RobotUpdates:
        """Return which version a robot has, since when, and why not a newer one."""
        return await self._get(f"/robots/{segment(robot_id)}", RobotUpdates)

    async def set_membership(self, robot_id: str, membership: RobotMembership) -> RobotMembership:
        """Set a robot's groups and tags; both replace what was there."""
        path = f"{_ROOT}/robots/{segment(robot_id)}/membership"
        body = membership.model_dump(mode="json")
        return read(RobotMembership, await self._transport.call("PUT", path, body=body))

    async def _get(self, path: str, model: type[_Body]) -> _Body:
        return read(model, await self._transport.call("GET", _ROOT + path))

    async def _send(self, path: str, body: BaseModel, model: type[_Body]) -> _Body:
        sent = body.model_dump(mode="json", exclude_none=True)
        return read(model, await self._transport.call("POST", _ROOT + path, body=sent))
