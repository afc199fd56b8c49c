"""Push: messages are sent to an HTTP endpoint, whose success is the acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from continuon_local.auth.tokens import encode_unsigned
from continuon_local.pubsub import limits, policy
from continuon_local.pubsub.envelope import push_body
from continuon_local.pubsub.errors import PubSubError

if TYPE_CHECKING:
    import httpx

    from continuon_local.clock import Clock
    from continuon_local.pubsub.broker import Broker, Lease
    from continuon_local.pubsub.store import PubSubStore, StoredSubscription

__all__ = ["PushDispatcher"]

ACKNOWLEDGING_STATUS = frozenset({102, 200, 201, 202, 204})
"""The answers that Pub/Sub takes as an acknowledgement (docs/push, "Receive messages")."""

_TOKEN_LIFETIME_S = 3600
_LOG = logging.getLogger(__name__)


class PushDispatcher:
    """Runs one task for each subscription that has a push endpoint."""

    def __init__(self, broker: Broker, store: PubSubStore, clock: Clock) -> None:
        self._broker = broker
        self._store = store
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._client: httpx.AsyncClient | None = None

    def refresh(self) -> None:
        """Start tasks for the subscriptions that have an endpoint and no task."""
        for name, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[name]
                _log_failure(name, task)
        for stored in self._store.all_subscriptions():
            name = stored.config.name
            if stored.config.push_config.push_endpoint and name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self._run(name), name=f"push {name}")

    async def stop(self) -> None:
        """End every task; requests under way are cut off and their messages come again."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._client is not None:
            await self._client.aclose()

    async def _run(self, name: str) -> None:
        """Deliver until the subscription is gone or no longer pushes."""
        async with asyncio.TaskGroup() as group:
            running: set[asyncio.Task[None]] = set()
            while (stored := self._pushing(name)) is not None:
                free = limits.PUSH_CONCURRENCY - len(running)
                for lease in self._broker.lease(stored, limit=free) if free else []:
                    task = group.create_task(self._deliver(stored, lease))
                    running.add(task)
                    task.add_done_callback(running.discard)
                if len(running) < limits.PUSH_CONCURRENCY:
                    await self._broker.wait(stored, limits.MAX_IDLE_S)
                else:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    def _pushing(self, name: str) -> StoredSubscription | None:
        stored = self._store.subscription(name)
        if stored is None or not stored.config.push_config.push_endpoint:
            return None
        return stored

    async def _deliver(self, stored: StoredSubscription, lease: Lease) -> None:
        if await self._post(stored, lease):
            self._broker.acknowledge(stored, [lease.ack_id])
            return
        # The subscription may have been deleted meanwhile; then there is nothing to give back.
        with contextlib.suppress(PubSubError):
            self._broker.extend(stored, [lease.ack_id], 0)

    def _opened(self) -> httpx.AsyncClient:
        """Return the client, made for the first push: it costs 10 MB that few need."""
        if self._client is None:
            import httpx  # noqa: PLC0415 - see above

            # An endpoint is on this machine; a proxy from the environment has no part in it.
            self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False)
        return self._client

    async def _post(self, stored: StoredSubscription, lease: Lease) -> bool:
        import httpx  # noqa: PLC0415 - loaded with the client

        config = stored.config
        counted = policy.max_attempts(config) is not None
        attempt = lease.received.delivery_attempt if counted else None
        try:
            answer = await self._opened().post(
                config.push_config.push_endpoint,
                content=push_body(lease.received.message, config.name, attempt),
                headers=self._headers(stored),
                timeout=config.ack_deadline_seconds,
            )
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return answer.status_code in ACKNOWLEDGING_STATUS

    def _headers(self, stored: StoredSubscription) -> dict[str, str]:
        headers = {"content-type": "application/json", "user-agent": "APIs-Google"}
        config = stored.config.push_config
        if config.HasField("oidc_token"):
            now_s = int(self._clock.now().timestamp())
            account = config.oidc_token.service_account_email
            claims = {
                "iss": "https://accounts.google.com",
                "aud": config.oidc_token.audience or config.push_endpoint,
                "azp": account,
                "sub": account,
                "email": account,
                "email_verified": True,
                "iat": now_s,
                "exp": now_s + _TOKEN_LIFETIME_S,
            }
            headers["authorization"] = f"Bearer {encode_unsigned(claims)}"
        return headers


def _log_failure(name: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        _LOG.error("push for %s stopped and starts again", name, exc_info=failure)
