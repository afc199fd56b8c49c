"""The functions emulator's port: direct calls, the list of triggers, and a door for events.

Paths and bodies are those of the Firebase CLI's functions emulator, so that an emulator of Google's
(Firestore, Storage) can be pointed at this port and deliver here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - Starlette's handlers are annotated with it
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from continuon_local.events.cloudevents import MalformedEventError, parse_event
from continuon_local.events.manifest import EventTrigger, HttpsTrigger
from continuon_local.functions.forward import answer
from continuon_local.http_server import HttpServer

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from continuon_local.events.manifest import FunctionSpec
    from continuon_local.events.outbox import OutboxEvent
    from continuon_local.functions.forward import Headers
    from continuon_local.functions.host import FunctionsHost, Reply
    from continuon_local.service import ServiceContext

__all__ = ["EventDoor", "FunctionsSurface"]


class EventDoor(Protocol):
    """What takes events that come from outside."""

    async def call(self, spec: FunctionSpec, event: OutboxEvent) -> Reply:
        """Deliver ``event`` to one function now and return its answer."""
        ...

    def submit(self, event: OutboxEvent) -> None:
        """Store ``event`` for every function whose trigger matches, to be delivered."""
        ...


class FunctionsSurface:
    """Serves the functions emulator's port."""

    name = "functions"

    def __init__(
        self, context: ServiceContext, *, port: int, functions: FunctionsHost, door: EventDoor
    ) -> None:
        self._context = context
        self._functions = functions
        self._door = door
        self._admin = Starlette(
            routes=[
                Route("/backends", self._backends, methods=["GET"]),
                Route(
                    "/functions/projects/{project}/triggers/{key}", self._trigger, methods=["POST"]
                ),
                Route(
                    "/functions/projects/{project}/trigger_multicast",
                    self._multicast,
                    methods=["POST"],
                ),
            ]
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
        """Close the port and end every function. Safe to call twice."""
        await self._server.stop()
        await self._functions.stop()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == "/backends" or path.startswith("/functions/projects/"):
            await self._admin(scope, receive, send)
        else:
            await self._call(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """``/PROJECT/REGION/FUNCTION/rest``: the function sees ``/rest``."""
        raw: bytes = scope["raw_path"]
        _, project, region, function_id = (raw + b"////").split(b"/", 4)[:4]
        spec = self._functions.find(function_id.decode("latin-1"), region.decode("latin-1"))
        if spec is None or project.decode("latin-1") != self._context.project_id:
            await answer(send, 404, f"no function under {scope['path']}")
        elif not isinstance(spec.trigger, HttpsTrigger):
            await answer(send, 403, f"function {spec.id!r} takes events, not requests")
        else:
            given = raw.split(b"/", 4)
            path = b"/" + given[4] if len(given) > 4 else b"/"  # noqa: PLR2004 - after the prefix
            await self._functions.forward(
                spec, scope, receive, send, path=path, headers=_headers(scope)
            )

    async def _backends(self, _request: Request) -> Response:
        codebases: dict[str, dict[str, Any]] = {}
        for spec in self._functions.functions:
            backend = codebases.setdefault(
                spec.codebase,
                {"directory": str(spec.source), "env": {}, "functionTriggers": []},
            )
            backend["functionTriggers"].append(self._describe(spec))
        return JSONResponse({"backends": list(codebases.values())})

    def _describe(self, spec: FunctionSpec) -> dict[str, Any]:
        described: dict[str, Any] = {
            "id": f"{spec.region}-{spec.id}",
            "name": spec.id,
            "entryPoint": spec.entry_point,
            "platform": "gcfv2",
            "region": spec.region,
            "timeoutSeconds": spec.timeout_s,
            "availableMemoryMb": spec.memory_mb,
        }
        if isinstance(spec.trigger, EventTrigger):
            described["eventTrigger"] = {
                "eventType": spec.trigger.event_type,
                "eventFilters": dict(spec.trigger.event_filters),
                "eventFilterPathPatterns": dict(spec.trigger.event_filter_path_patterns),
                "retry": spec.trigger.retry,
            }
        elif isinstance(spec.trigger, HttpsTrigger):
            described["httpsTrigger"] = {}
            described["url"] = (
                f"http://{self._context.host}:{self.port}/{self._context.project_id}"
                f"/{spec.region}/{spec.id}"
            )
        else:
            described["schedule"] = {"schedule": spec.trigger.schedule}
        return described

    async def _trigger(self, request: Request) -> Response:
        key = request.path_params["key"]
        spec = next((s for s in self._functions.functions if s.trigger_key == key), None)
        if spec is None or not isinstance(spec.trigger, EventTrigger):
            return PlainTextResponse(f"no background function {key!r}", 404)
        try:
            event = parse_event(request.headers, await request.body())
        except MalformedEventError as error:
            return PlainTextResponse(str(error), 400)
        reply = await self._door.call(spec, event)
        return PlainTextResponse(reply.error or reply.body, reply.status or 502)

    async def _multicast(self, request: Request) -> Response:
        try:
            self._door.submit(parse_event(request.headers, await request.body()))
        except MalformedEventError as error:
            return PlainTextResponse(str(error), 400)
        return JSONResponse({"status": "multicast_acknowledged"})


def _headers(scope: Scope) -> Headers:
    return [(name, value) for name, value in scope["headers"] if name != b"host"]
