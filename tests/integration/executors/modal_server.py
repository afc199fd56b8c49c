"""Modal's control plane over gRPC, as far as calls of a deployed function and a Dict go.

Messages and method names are those of the client's own ``modal_proto``; what it does not implement
answers UNIMPLEMENTED.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpclib
import grpclib.server
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from grpclib.const import Cardinality, Handler, Status
from modal_proto import api_pb2 as api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = ("ak-test", "as-test")
APP = "continuon-training"
_GENERIC = api.GenericResult
_METHODS = {
    "ClientHello": (Empty, api.ClientHelloResponse),
    "FunctionGet": (api.FunctionGetRequest, api.FunctionGetResponse),
    "FunctionBindParams": (api.FunctionBindParamsRequest, api.FunctionBindParamsResponse),
    "FunctionMap": (api.FunctionMapRequest, api.FunctionMapResponse),
    "FunctionGetOutputs": (api.FunctionGetOutputsRequest, api.FunctionGetOutputsResponse),
    "FunctionCallCancel": (api.FunctionCallCancelRequest, Empty),
    "FunctionCallFromId": (api.FunctionCallFromIdRequest, api.FunctionCallFromIdResponse),
    "DictGetOrCreate": (api.DictGetOrCreateRequest, api.DictGetOrCreateResponse),
    "DictGet": (api.DictGetRequest, api.DictGetResponse),
    "DictContains": (api.DictContainsRequest, api.DictContainsResponse),
    "DictUpdate": (api.DictUpdateRequest, api.DictUpdateResponse),
    "AppCountLogs": (api.AppCountLogsRequest, api.AppCountLogsResponse),
    "AppFetchLogs": (api.AppFetchLogsRequest, api.AppFetchLogsResponse),
}


@dataclass
class Call:
    """One call of the function."""

    order: dict[str, Any]
    options: api.FunctionOptions
    result: api.GenericResult | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)
    expired: bool = False


class Modal:
    """A workspace with one deployed function, and what Modal does with its calls."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.dict: dict[bytes, bytes] = {}
        self.deployed = True
        self.requests: list[str] = []
        self.failures: dict[str, list[tuple[Status, str]]] = {}
        """By method: answered instead of doing anything, each once."""
        self.lost_answers: dict[str, int] = {}
        """By method: so many are done and answered with UNAVAILABLE."""
        self.answering = asyncio.Event()
        """While it is not set, nothing is answered."""
        self.answering.set()
        self._options: dict[str, api.FunctionOptions] = {}
        self._done: dict[str, Any] = {}

    # --- What Modal does ------------------------------------------------------------------------

    def finish(self, call_id: str, value: Any) -> None:
        """The function returns."""
        data = pickle.dumps(value)
        self.calls[call_id].result = _GENERIC(status=_GENERIC.GENERIC_STATUS_SUCCESS, data=data)

    def end(self, call_id: str, status: Any, text: str = "", error: Any = None) -> None:
        """The call ends in another way."""
        data = pickle.dumps(error) if error is not None else b""
        self.calls[call_id].result = _GENERIC(status=status, exception=text, data=data)

    # --- Requests -------------------------------------------------------------------------------

    async def client_hello(self, _request: Empty) -> api.ClientHelloResponse:
        return api.ClientHelloResponse()

    async def function_get(self, request: api.FunctionGetRequest) -> api.FunctionGetResponse:
        if not self.deployed or (request.app_name, request.object_tag) != (APP, "train"):
            raise grpclib.GRPCError(Status.NOT_FOUND, f"No function {request.object_tag}")
        ranked = api.FunctionData.RankedFunction(rank=0, function=api.Function())
        return api.FunctionGetResponse(
            function_id="fu-base",
            handle_metadata=_metadata(),
            function=api.FunctionData(ranked_functions=[ranked]),
        )

    async def function_bind_params(
        self, request: api.FunctionBindParamsRequest
    ) -> api.FunctionBindParamsResponse:
        bound = f"fu-bound-{len(self._options)}"
        self._options[bound] = request.function_options
        return api.FunctionBindParamsResponse(bound_function_id=bound, handle_metadata=_metadata())

    async def function_map(self, request: api.FunctionMapRequest) -> api.FunctionMapResponse:
        assert request.function_call_invocation_type == api.FUNCTION_CALL_INVOCATION_TYPE_ASYNC
        (item,) = request.pipelined_inputs
        assert item.input.data_format == api.DATA_FORMAT_PICKLE
        (order,), _ = pickle.loads(item.input.args)  # noqa: S301 - of the client in this process
        call_id = f"fc-{len(self.calls) + 1}"
        self.calls[call_id] = Call(order, self._options[request.function_id])
        answer = api.FunctionPutInputsResponseItem(idx=0, input_id=f"in-{call_id}")
        return api.FunctionMapResponse(function_call_id=call_id, pipelined_inputs=[answer])

    async def function_get_outputs(
        self, request: api.FunctionGetOutputsRequest
    ) -> api.FunctionGetOutputsResponse:
        call = self._call(request.function_call_id)
        if call.result is None or call.expired:
            return api.FunctionGetOutputsResponse(num_unfinished_inputs=0 if call.expired else 1)
        item = api.FunctionGetOutputsItem(
            result=call.result, idx=0, data_format=api.DATA_FORMAT_PICKLE
        )
        return api.FunctionGetOutputsResponse(idxs=[0], outputs=[item])

    async def function_call_cancel(self, request: api.FunctionCallCancelRequest) -> Empty:
        call = self._call(request.function_call_id)
        if call.result is None:
            status = _GENERIC.GENERIC_STATUS_TERMINATED
            self.end(request.function_call_id, status, "Function call was cancelled by user")
        return Empty()

    async def function_call_from_id(
        self, request: api.FunctionCallFromIdRequest
    ) -> api.FunctionCallFromIdResponse:
        self._call(request.function_call_id)
        metadata = api.FunctionCallHandleMetadata(app_id="ap-1", function_id="fu-base")
        return api.FunctionCallFromIdResponse(
            function_call_id=request.function_call_id, num_inputs=1, metadata=metadata
        )

    async def dict_get_or_create(
        self, request: api.DictGetOrCreateRequest
    ) -> api.DictGetOrCreateResponse:
        assert request.deployment_name == "continuon-works"
        return api.DictGetOrCreateResponse(dict_id="di-1")

    async def dict_get(self, request: api.DictGetRequest) -> api.DictGetResponse:
        value = self.dict.get(request.key)
        return api.DictGetResponse(found=value is not None, value=value)

    async def dict_contains(self, request: api.DictContainsRequest) -> api.DictContainsResponse:
        return api.DictContainsResponse(found=request.key in self.dict)

    async def dict_update(self, request: api.DictUpdateRequest) -> api.DictUpdateResponse:
        (entry,) = request.updates
        created = not (request.if_not_exists and entry.key in self.dict)
        if created:
            self.dict[entry.key] = entry.value
        return api.DictUpdateResponse(created=created)

    async def app_count_logs(self, request: api.AppCountLogsRequest) -> api.AppCountLogsResponse:
        counts = Counter(
            int(moment // request.bucket_secs) * request.bucket_secs
            for moment, _ in self._lines(request)
        )
        buckets = [
            api.AppCountLogsResponse.LogBucket(
                bucket_start_at=Timestamp(seconds=start), stdout_logs=count
            )
            for start, count in sorted(counts.items())
        ]
        return api.AppCountLogsResponse(buckets=buckets)

    async def app_fetch_logs(self, request: api.AppFetchLogsRequest) -> api.AppFetchLogsResponse:
        items = [
            api.TaskLogs(
                data=text,
                timestamp_ns=round(moment * 1e9),
                timestamp=moment,
                file_descriptor=api.FILE_DESCRIPTOR_STDOUT,
            )
            for moment, text in self._lines(request)
        ]
        return api.AppFetchLogsResponse(batches=[api.TaskLogsBatch(task_id="ta-1", items=items)])

    def _lines(self, request: Any) -> list[tuple[float, str]]:
        since, until = request.since.ToNanoseconds() / 1e9, request.until.ToNanoseconds() / 1e9
        call = self._call(request.function_call_id)
        return [line for line in call.lines if since <= line[0] < until]

    def _call(self, call_id: str) -> Call:
        if call_id not in self.calls:
            raise grpclib.GRPCError(Status.NOT_FOUND, f"No call {call_id}")
        return self.calls[call_id]

    # --- Serving --------------------------------------------------------------------------------

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/modal.client.ModalClient/{name}": Handler(
                self._handler(name), Cardinality.UNARY_UNARY, request, response
            )
            for name, (request, response) in _METHODS.items()
        }

    def _handler(self, name: str) -> Any:
        method = getattr(self, "".join("_" + c.lower() if c.isupper() else c for c in name)[1:])

        async def handle(stream: Any) -> None:
            request = await stream.recv_message()
            given = (
                stream.metadata.get("x-modal-token-id"),
                stream.metadata.get("x-modal-token-secret"),
            )
            if given != TOKEN:
                raise grpclib.GRPCError(Status.UNAUTHENTICATED, "Token ID or secret is invalid")
            self.requests.append(name)
            await self.answering.wait()
            if self.failures.get(name):
                raise grpclib.GRPCError(*self.failures[name].pop(0))
            # The client repeats a call under the same key, and Modal does it once.
            key = stream.metadata.get("x-idempotency-key")
            answer = self._done[key] if key in self._done else await method(request)
            self._done[key] = answer
            if self.lost_answers.get(name):
                self.lost_answers[name] -= 1
                raise grpclib.GRPCError(Status.UNAVAILABLE, "Connection lost")
            await stream.send_message(answer)

        return handle

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Serve in the running loop; yield the URL."""
        server = grpclib.server.Server([self])
        await server.start("127.0.0.1", 0)
        port = server._server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.close()
            await server.wait_closed()
            # The client leaves its connections open until its thread ends.
            transports = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
            for transport in list(transports.values()):
                transport.abort()
            await asyncio.sleep(0)


def _metadata() -> api.FunctionHandleMetadata:
    pickled = [api.DATA_FORMAT_PICKLE]
    return api.FunctionHandleMetadata(
        function_name="train",
        function_type=api.Function.FUNCTION_TYPE_FUNCTION,
        definition_id="de-1",
        app_id="ap-1",
        supported_input_formats=pickled,
        supported_output_formats=pickled,
    )


def seconds_ago(count: float) -> float:
    """A moment, as Modal's logs have it."""
    return time.time() - count
