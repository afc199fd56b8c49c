"""Firestore's REST API: which request is which call, in proto3 JSON."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from google.protobuf import json_format
from starlette.responses import Response, StreamingResponse

from continuon_local.firestore.access import caller_of
from continuon_local.firestore.calls import status_of
from continuon_local.firestore.errors import invalid_argument, not_found
from continuon_local.firestore.json_errors import error_document, http_status
from continuon_local.firestore.limits import MAX_MESSAGE_BYTES
from continuon_local.firestore.rest_parameters import with_parameters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request

    from continuon_local.firestore.access import Caller
    from continuon_local.firestore.calls import Calls, Method
    from continuon_local.firestore.messages import Message

__all__ = ["RestApi", "json_response", "read_json"]

_JSON = "application/json; charset=UTF-8"
_ROOT_SEGMENTS = 5  # projects, P, databases, D, documents

_DATABASE_VERBS = {
    "batchGet": "BatchGetDocuments",
    "batchWrite": "BatchWrite",
    "commit": "Commit",
    "beginTransaction": "BeginTransaction",
    "rollback": "Rollback",
    "listen": "Listen",
    "write": "Write",
}
"""Called on ``documents`` of a database."""

_PARENT_VERBS = {
    "runQuery": "RunQuery",
    "runAggregationQuery": "RunAggregationQuery",
    "listCollectionIds": "ListCollectionIds",
    "partitionQuery": "PartitionQuery",
    "executePipeline": "ExecutePipeline",
}
"""Called on a document or on ``documents``."""

_Call = tuple[str, dict[str, Any]]
"""The RPC, and what the address says of its request."""


def json_response(document: Any, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(json.dumps(document), status_code=status, media_type=_JSON)


async def read_json(request: Request) -> dict[str, Any]:
    """Return a request's body, an empty object where there is none.

    Raises:
        StatusError: INVALID_ARGUMENT when it is too large or no JSON object.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_MESSAGE_BYTES:
            raise invalid_argument(f"Request payload size exceeds {MAX_MESSAGE_BYTES} bytes.")
    try:
        document = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise invalid_argument("Invalid JSON payload received. Parsing failed.") from error
    if not isinstance(document, dict):
        raise invalid_argument("Invalid JSON payload received. It must be an object.")
    return document


def _segments(path: str) -> list[str]:
    """Split an escaped path; an escaped slash would be part of an id, which none may have."""
    try:
        return [unquote(segment, errors="strict") for segment in path.split("/")]
    except UnicodeDecodeError as error:
        raise invalid_argument("The path is not UTF-8.") from error


def _verb_call(path: str) -> _Call | None:
    head, _, verb = path.rpartition(":")
    if verb in _PARENT_VERBS:
        return _PARENT_VERBS[verb], {"parent": "/".join(_segments(head))}
    segments = _segments(head)
    if verb in _DATABASE_VERBS and len(segments) == _ROOT_SEGMENTS:
        return _DATABASE_VERBS[verb], {"database": "/".join(segments[:4])}
    return None


def _document_call(http_method: str, path: str) -> _Call | None:
    segments = _segments(path)
    name = "/".join(segments)
    below = len(segments) - _ROOT_SEGMENTS
    if below <= 0:
        return None
    if below % 2:
        call = {"GET": "ListDocuments", "POST": "CreateDocument"}.get(http_method)
        target = {"parent": "/".join(segments[:-1]), "collectionId": segments[-1]}
        return None if call is None else (call, target)
    if http_method == "PATCH":
        return "UpdateDocument", {"document": {"name": name}}
    call = {"GET": "GetDocument", "DELETE": "DeleteDocument"}.get(http_method)
    return None if call is None else (call, {"name": name})


def _route(http_method: str, path: str) -> _Call:
    call = _verb_call(path) if http_method == "POST" else None
    call = call or _document_call(http_method, path)
    if call is None:
        raise not_found(f"There is no {http_method} of /v1/{path}.")
    return call


def _request_document(name: str, target: dict[str, Any], body: dict[str, Any]) -> Mapping[str, Any]:
    """Put together what the address and the body say."""
    if name in {"CreateDocument", "UpdateDocument"}:
        return {**target, "document": {**body, **target.get("document", {})}}
    return {**body, **target}


def _to_json(kind: Message, data: bytes) -> dict[str, Any]:
    return json_format.MessageToDict(kind.FromString(data))


class RestApi:
    """Answers everything below ``/v1/``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def answer(self, request: Request, path: str) -> Response:
        """Answer one request; ``path`` is the escaped rest of its path."""
        name = request.method
        streams = False
        try:
            name, target = _route(request.method, path)
            caller = caller_of(request.headers.items())
            method = self._method(name)
            streams = method.stream is not None
            body = await read_json(request)
            message = self._message(method.request, _request_document(name, target, body), request)
            if streams:
                return await self._streamed(name, message, caller)
            data = await self._calls.unary(name, message, caller)
            return json_response(_to_json(method.response, data))
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            status = status_of(error, name)
            document = error_document(status)
            return json_response([document] if streams else document, http_status(status))

    def _method(self, name: str) -> Method:
        method = self._calls.method(name)
        if method.bidi is not None:
            raise invalid_argument(f"{name} is a stream: it needs gRPC or WebChannel, not REST.")
        return method

    def _message(self, kind: Message, document: Mapping[str, Any], request: Request) -> Message:
        filled = with_parameters(kind.DESCRIPTOR, document, request.query_params.multi_items())
        try:
            return json_format.ParseDict(filled, kind())
        except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
            raise invalid_argument(f"Invalid JSON payload received. {error}") from error

    async def _streamed(self, name: str, message: Message, caller: Caller) -> Response:
        """Answer with an array, sent as it is found; an error before the first is the status."""
        answers = self._calls.stream(name, message, caller)
        first = await anext(answers, None)
        kind = self._calls.method(name).response

        async def chunks() -> AsyncIterator[str]:
            yield "["
            async with aclosing(answers):
                if first is not None:
                    yield json.dumps(_to_json(kind, first))
                try:
                    async for answer in answers:
                        yield ",\n" + json.dumps(_to_json(kind, answer))
                except Exception as error:  # noqa: BLE001 - every error becomes a status
                    yield ",\n" + json.dumps(error_document(status_of(error, name)))
            yield "]"

        return StreamingResponse(chunks(), media_type=_JSON)
