"""The administration surface of the local cloud, on loopback and for programs only.

It moves the clock and injects faults, so a web page must not reach it: requests whose ``Host`` is
not a loopback name (DNS rebinding) or that carry a foreign ``Origin`` are refused.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - Starlette's handlers are annotated with it
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from continuon_local.errors import ConfigurationError
from continuon_local.events.deliveries import DeliveryState
from continuon_local.faults import parse_plan
from continuon_local.http_server import HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from continuon_local.environment import Endpoints
    from continuon_local.events.deliveries import Delivery
    from continuon_local.events.router import EventRouter
    from continuon_local.service import ServiceContext

__all__ = ["Hub"]

MAX_BODY_BYTES = 1024 * 1024
"""A fault plan is the largest thing anyone posts here, in bytes."""

MAX_ADVANCE_S = 10 * 366 * 24 * 3600
"""The clock moves at most ten years at once, in seconds: further is a mistake in units."""

MAX_LISTED = 10_000
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


class _BadRequestError(Exception):
    """The request's body or query is wrong."""


class Hub:
    """Serves the hub's port.

    Args:
        endpoints: Says where the other services listen.
        router: Whose deliveries are listed and whose faults are set.
    """

    name = "hub"

    def __init__(
        self,
        context: ServiceContext,
        *,
        port: int,
        endpoints: Callable[[], Endpoints],
        router: EventRouter,
    ) -> None:
        self._context = context
        self._endpoints = endpoints
        self._router = router
        self._app = Starlette(
            routes=[
                Route("/health", self._health, methods=["GET"]),
                Route("/emulators", self._emulators, methods=["GET"]),
                Route("/meter", self._meter, methods=["GET"]),
                Route("/meter/reset", self._reset_meter, methods=["POST"]),
                Route("/deliveries", self._deliveries, methods=["GET"]),
                Route("/clock", self._clock, methods=["GET"]),
                Route("/clock/advance", self._advance, methods=["POST"]),
                Route("/faults", self._faults, methods=["GET"]),
                Route("/faults", self._set_faults, methods=["POST"]),
            ],
            exception_handlers={_BadRequestError: _bad_request},
        )
        self._server = HttpServer(self._serve, host=context.host, port=port)

    @property
    def port(self) -> int:
        """The bound port."""
        return self._server.port

    async def start(self) -> None:
        """Bind the port and begin to serve."""
        await self._server.start()

    async def stop(self) -> None:
        """Close the port. Safe to call twice."""
        await self._server.stop()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _from_a_browser_elsewhere(dict(scope["headers"])):
            refusal = JSONResponse({"error": "the hub answers local programs only"}, 403)
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok", "deliveries": self._router.store.counts()})

    async def _emulators(self, _request: Request) -> Response:
        endpoints = self._endpoints()
        return JSONResponse(
            {
                name: {"name": name, "host": endpoints.host, "port": port}
                for name, port in endpoints.ports.items()
            }
        )

    async def _meter(self, _request: Request) -> Response:
        by_caller: dict[str, dict[str, int]] = {}
        for (operation, caller), count in sorted(self._context.meter.by_caller().items()):
            by_caller.setdefault(caller, {})[operation] = count
        requests = [
            {"function": function, "request": request, "operations": counts}
            for function, request, counts in self._context.meter.by_request()
        ]
        totals = self._context.meter.totals()
        return JSONResponse({"totals": totals, "by_caller": by_caller, "requests": requests})

    async def _reset_meter(self, _request: Request) -> Response:
        self._context.meter.reset()
        return JSONResponse({})

    async def _deliveries(self, request: Request) -> Response:
        state = request.query_params.get("state")
        if state is not None and state not in set(DeliveryState):
            raise _BadRequestError(f"state: one of {', '.join(DeliveryState)}")
        limit = request.query_params.get("limit", "1000")
        if not limit.isdecimal() or not 0 < int(limit) <= MAX_LISTED:
            raise _BadRequestError(f"limit: from 1 to {MAX_LISTED}")
        rows = self._router.store.list(state=state, limit=int(limit))
        counts = self._router.store.counts()
        return JSONResponse({"deliveries": [_described(row) for row in rows], "counts": counts})

    async def _clock(self, _request: Request) -> Response:
        return JSONResponse({"now": _rfc3339(self._context.clock.now())})

    async def _advance(self, request: Request) -> Response:
        document = await _json(request)
        seconds = document.get("seconds") if isinstance(document, dict) else None
        if not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_ADVANCE_S:
            raise _BadRequestError(f"seconds: a number from 0 to {MAX_ADVANCE_S}")
        now = self._context.clock.advance(timedelta(seconds=seconds))
        self._router.wake()
        return JSONResponse({"now": _rfc3339(now)})

    async def _faults(self, _request: Request) -> Response:
        return JSONResponse(msgspec.to_builtins(self._router.faults.plan))

    async def _set_faults(self, request: Request) -> Response:
        try:
            plan = parse_plan(await _json(request))
        except ConfigurationError as error:
            raise _BadRequestError(str(error)) from error
        self._router.faults.replace(plan)
        self._context.faults.replace(plan.seed, plan.service_rules)
        return await self._faults(request)


def _from_a_browser_elsewhere(headers: dict[bytes, bytes]) -> bool:
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if host.rpartition(":")[0] not in _LOOPBACK_NAMES and host not in _LOOPBACK_NAMES:
        return True
    origin = headers.get(b"origin")
    return origin is not None and origin.decode("latin-1").lower() != f"http://{host}"


async def _json(request: Request) -> Any:
    # A form can be posted across origins without asking; JSON cannot.
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise _BadRequestError("the body must be application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _BadRequestError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise _BadRequestError(f"the body is no JSON: {error}") from error


async def _bad_request(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


def _described(delivery: Delivery) -> dict[str, Any]:
    event = {
        name: value
        for name, value in asdict(delivery.event).items()
        if name not in {"data", "extensions", "data_schema"}
    }
    return {
        "id": delivery.id,
        "kind": delivery.kind,
        "function": delivery.function,
        "region": delivery.region,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "created": _rfc3339(datetime.fromtimestamp(delivery.created_s, UTC)),
        "next_attempt": _rfc3339(datetime.fromtimestamp(delivery.next_attempt_s, UTC)),
        "event": event,
    }


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
