"""The functions host: every function of the project, each in a process of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpcore

from continuon_local.environment import function_environment
from continuon_local.functions._attribution import request_id
from continuon_local.functions.billing import BilledTime
from continuon_local.functions.forward import answer, forward, request
from continuon_local.functions.logs import FunctionLog
from continuon_local.functions.process import FunctionProcess, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from continuon_local.environment import Endpoints
    from continuon_local.events.manifest import FunctionSpec
    from continuon_local.functions.forward import Headers
    from continuon_local.service import ServiceContext

__all__ = ["FunctionsHost", "Reply"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a function answered; ``status`` 0 means that no answer came."""

    status: int
    body: bytes = b""
    error: str = ""

    @property
    def acknowledged(self) -> bool:
        """Whether a delivery counts as done: any 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of success


class FunctionsHost:
    """Starts functions at their first request and calls them.

    Args:
        endpoints: Says where the services listen; read when a process starts.
        log_dir: One file per function goes there.
        echo: Called with a function's name and a line of its output, for a console.
    """

    def __init__(
        self,
        context: ServiceContext,
        functions: Sequence[FunctionSpec],
        *,
        endpoints: Callable[[], Endpoints],
        log_dir: Path,
        echo: Callable[[str, str], None] | None = None,
    ) -> None:
        self._context = context
        self._specs = {(spec.region, spec.id): spec for spec in functions}
        self._endpoints = endpoints
        self._log_dir = log_dir
        self._echo = echo
        self._processes: dict[tuple[str, str], FunctionProcess] = {}
        self._billed: dict[tuple[str, str], BilledTime] = {}

    @property
    def functions(self) -> Sequence[FunctionSpec]:
        """Every function of the project."""
        return tuple(self._specs.values())

    def find(self, function_id: str, region: str | None = None) -> FunctionSpec | None:
        """Return the function deployed under ``function_id`` (in ``region``, when given)."""
        for spec in self._specs.values():
            if spec.id == function_id and region in {None, spec.region}:
                return spec
        return None

    def process(self, spec: FunctionSpec) -> FunctionProcess:
        """Return the process of a function, started or not."""
        key = (spec.region, spec.id)
        if key not in self._processes:
            self._processes[key] = FunctionProcess(
                spec, lambda: function_environment(spec, self._endpoints()), self._log(spec)
            )
        return self._processes[key]

    async def forward(
        self,
        spec: FunctionSpec,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        path: bytes,
        headers: Headers,
        timeout_s: float | None = None,
    ) -> None:
        """Call a function with the request of ``scope`` and stream its answer.

        Args:
            spec: The function.
            scope: The ASGI request; method, query and framing are taken from it.
            receive: Its body.
            send: Takes the answer.
            path: The path the function sees, still percent-encoded; the query is that of the
                request. It is passed on byte for byte: signatures cover it.
            headers: The headers the function sees, without ``host``.
            timeout_s: A shorter limit than the function's own, in seconds.
        """
        limit = min(spec.timeout_s, timeout_s or spec.timeout_s)
        query: bytes = scope["query_string"]
        target = path + b"?" + query if query else path
        try:
            with self._billing(spec).request(request_id(headers)):
                await forward(
                    self.process(spec),
                    scope,
                    receive,
                    send,
                    target=target,
                    headers=[self._host_header(), *headers],
                    timeout_s=limit,
                )
        except StartError as error:
            await answer(send, 500, str(error))

    async def post(self, spec: FunctionSpec, headers: Headers, body: bytes) -> Reply:
        """POST ``body`` to a function, as Eventarc and Cloud Scheduler do; never raises."""
        with self._billing(spec).request(request_id(headers)):
            return await self._reply(spec, headers, body)

    async def _reply(self, spec: FunctionSpec, headers: Headers, body: bytes) -> Reply:
        process = self.process(spec)
        try:
            await process.connections()
            async with asyncio.timeout(spec.timeout_s):
                return await self._post(process, headers, body)
        except TimeoutError:
            return Reply(status=504, error=f"no answer within {spec.timeout_s} s")
        except StartError as error:
            return Reply(status=500, error=str(error))
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return Reply(status=0, error=f"the function ended before it answered: {error!r}")

    async def stop(self) -> None:
        """End every process. Safe to call twice."""
        await asyncio.gather(*(process.stop() for process in self._processes.values()))

    async def _post(self, process: FunctionProcess, headers: Headers, body: bytes) -> Reply:
        length = (b"content-length", str(len(body)).encode())
        response = await request(
            process, "POST", b"/", [self._host_header(), length, *headers], body
        )
        try:
            await response.aread()
        finally:
            await response.aclose()
        error = "" if response.status < 400 else response.content[:500].decode("utf-8", "replace")  # noqa: PLR2004 - HTTP
        return Reply(status=response.status, body=response.content, error=error)

    def _host_header(self) -> tuple[bytes, bytes]:
        # A function sees its own address; the one the client used is in X-Forwarded-Host.
        return b"host", self._endpoints().address("functions").encode()

    def _billing(self, spec: FunctionSpec) -> BilledTime:
        key = (spec.region, spec.id)
        if key not in self._billed:
            self._billed[key] = BilledTime(self._context.meter, spec)
        return self._billed[key]

    def _log(self, spec: FunctionSpec) -> FunctionLog:
        echo = self._echo
        return FunctionLog(
            self._log_dir / f"{spec.id}.log",
            None if echo is None else lambda line: echo(spec.id, line),
        )
