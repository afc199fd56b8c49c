"""The typed client of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel

from continuon.contracts.episodes import (
    DownloadResponse,
    Episode,
    EpisodePage,
    EpisodeStatus,
    IngestRequest,
    IngestResponse,
    SignedUrlRequest,
    SignedUrlResponse,
)
from continuon.contracts.ota import (
    CheckRequest,
    CheckResponse,
    ReportRequest,
    ReportResponse,
)
from continuon.contracts.robots import ClaimRequest, Robot, RobotPage, UserProfile
from continuon_cloud.accounts import Accounts
from continuon_cloud.answers import malformed, read, segment
from continuon_cloud.model_client import ModelClient
from continuon_cloud.rollout_client import RolloutClient
from continuon_cloud.training.client import TrainingClient
from continuon_cloud.transport import RobotProver, Transport, new_http, user_prover
from continuon_cloud.webhooks import WebhookClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    import httpx

    from continuon_cloud.identity import RobotIdentity
    from continuon_cloud.settings import Settings

__all__ = ["ContinuonClient"]

_Model = TypeVar("_Model", bound=BaseModel)


class ContinuonClient:
    """Calls the API as one principal: a robot with its key, or the signed-in person.

    Use it as an asynchronous context manager. Every method raises
    :class:`~continuon_cloud.errors.ApiProblem` when the service refuses and
    :class:`~continuon_cloud.errors.UnreachableError` when there is no answer.

    Attributes:
        models: The calls about models, their versions and aliases.
        training: The calls about training jobs.
        webhooks: The calls about callbacks of training jobs.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        robot: RobotIdentity | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Act as ``robot``, or as the person signed in under ``settings`` when it is None."""
        self._owned = None if http else new_http()
        self.http = http or self._owned or new_http()
        self.settings = settings
        self.robot = robot
        self.accounts = Accounts(settings, self.http)
        prove = RobotProver(robot) if robot else user_prover(self.accounts)
        self._transport = Transport(self.http, settings.base_url, prove)
        self.models = ModelClient(self._transport)
        self.rollouts = RolloutClient(self._transport)
        self.training = TrainingClient(self._transport)
        self.webhooks = WebhookClient(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections this client opened."""
        if self._owned is not None:
            await self._owned.aclose()

    # --- Uploads ---------------------------------------------------------------------------------

    async def signed_url(self, request: SignedUrlRequest) -> SignedUrlResponse:
        """Ask for the right to upload an episode, or renew it."""
        return await self._post("/api/rlds/signed-url", request, SignedUrlResponse)

    async def ingest(self, request: IngestRequest) -> IngestResponse:
        """Have an uploaded episode validated now."""
        return await self._post("/api/rlds/ingest", request, IngestResponse)

    # --- Episodes --------------------------------------------------------------------------------

    async def episodes_page(
        self,
        *,
        status: EpisodeStatus | None = None,
        robot_id: str | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> EpisodePage:
        """Return one page of the caller's episodes, newest first."""
        query: dict[str, str | int | None] = {
            "page_size": page_size,
            "page_token": page_token,
            "status": status.value if status else None,
            "robot_id": robot_id,
        }
        return read(EpisodePage, await self._transport.call("GET", "/api/v1/episodes", query=query))

    async def episodes(
        self, *, status: EpisodeStatus | None = None, robot_id: str | None = None
    ) -> AsyncIterator[Episode]:
        """Yield all of the caller's episodes, newest first, a page at a time."""
        token: str | None = None
        while True:
            page = await self.episodes_page(
                status=status, robot_id=robot_id, page_size=100, page_token=token
            )
            for episode in page.episodes:
                yield episode
            token = page.next_page_token
            if token is None:
                return

    async def episode(self, episode_id: str) -> Episode:
        """Return one episode; a robot may ask for its own."""
        return await self._get(f"/api/v1/episodes/{segment(episode_id)}", Episode)

    async def report(self, episode_id: str) -> dict[str, Any]:
        """Return the validation report of one episode, as ``episode validate --json`` prints it."""
        answer = await self._transport.call("GET", f"/api/v1/episodes/{segment(episode_id)}/report")
        if not isinstance(answer, dict):
            raise malformed()
        return answer

    async def download_urls(self, episode_id: str) -> DownloadResponse:
        """Return the files of one episode with URLs that read them for some minutes."""
        return await self._get(f"/api/v1/episodes/{segment(episode_id)}/download", DownloadResponse)

    async def delete_episode(self, episode_id: str) -> None:
        """Delete one episode with its files."""
        await self._transport.call("DELETE", f"/api/v1/episodes/{segment(episode_id)}")

    # --- Robots and people -----------------------------------------------------------------------

    async def claim(self, request: ClaimRequest) -> Robot:
        """Bind a robot to the signed-in person. A proof is spent by its first use."""
        return await self._post("/api/v1/robots/claim", request, Robot)

    async def robots(self) -> AsyncIterator[Robot]:
        """Yield all of the caller's robots, newest first, a page at a time."""
        token: str | None = None
        while True:
            query: dict[str, str | int | None] = {"page_size": 100, "page_token": token}
            answer = await self._transport.call("GET", "/api/v1/robots", query=query)
            page = read(RobotPage, answer)
            for robot in page.robots:
                yield robot
            token = page.next_page_token
            if token is None:
                return

    async def get_robot(self, robot_id: str) -> Robot:
        """Return one robot."""
        return await self._get(f"/api/v1/robots/{segment(robot_id)}", Robot)

    async def revoke(self, robot_id: str) -> Robot:
        """End a robot's access at once; its key never works again."""
        answer = await self._transport.call("POST", f"/api/v1/robots/{segment(robot_id)}/revoke")
        return read(Robot, answer)

    async def me(self) -> UserProfile:
        """Return the signed-in person's profile, plan and quota."""
        return await self._get("/api/v1/auth/me", UserProfile)

    # --- Updates ---------------------------------------------------------------------------------

    async def check_update(self, request: CheckRequest) -> CheckResponse:
        """Ask, as a robot, whether there is a bundle to install."""
        return await self._post("/api/ota/check", request, CheckResponse)

    async def report_update(self, request: ReportRequest) -> ReportResponse:
        """Say, as a robot, how an installation goes."""
        return await self._post("/api/ota/report", request, ReportResponse)

    # ---------------------------------------------------------------------------------------------

    async def _get(self, path: str, model: type[_Model]) -> _Model:
        return read(model, await self._transport.call("GET", path))

    async def _post(self, path: str, body: BaseModel, model: type[_Model]) -> _Model:
        sent = body.model_dump(mode="json", exclude_none=True)
        return read(model, await self._transport.call("POST", path, body=sent))
