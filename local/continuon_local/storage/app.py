"""From an HTTP request to the API that answers it, and from a refusal to its shape."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from continuon_local.storage import batch, cors, firebase_api, json_api, json_uploads, xml_api
from continuon_local.storage.call import Call, decode_segment
from continuon_local.storage.errors import StorageError, not_implemented
from continuon_local.storage.transfer import drain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from continuon_local.storage.engine import Engine

__all__ = ["create_app"]

_LOG = logging.getLogger(__name__)

_BATCH_PATH = "/batch/storage/v1"

_HANDLERS: dict[str, Callable[[Call, Sequence[str]], Awaitable[Response]]] = {
    "/storage/v1/": json_api.handle,
    "/download/storage/v1/": json_api.handle,
    "/upload/storage/v1/": json_uploads.handle,
    "/resumable/upload/storage/v1/": json_uploads.handle,
}
_FIREBASE_PREFIX = "/v0/"
_JSON_PREFIXES = (*_HANDLERS, _BATCH_PATH)

# Host names under which a bucket may stand in front: BUCKET.storage.googleapis.com.
_PUBLIC_HOST = "storage.googleapis.com"

_CLIENT_GONE = 499


def create_app(engine: Engine) -> ASGIApp:
    """Return the ASGI application.

    It routes by itself, on the raw path: object names hold slashes, dots, percent signs and line
    breaks that a router over decoded paths would misread.
    """
    return _Dispatcher(engine)


class _Dispatcher:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(Request(scope, receive), self._engine)
        response = await self._respond(call)
        await response(scope, receive, send)

    async def _firebase(self, call: Call) -> Response:
        if call.method == "OPTIONS":
            return firebase_api.preflight(call)
        try:
            segments = call.raw_path.removeprefix(_FIREBASE_PREFIX).split("/")
            response = await firebase_api.handle(call, segments)
        except StorageError as error:
            await _drain(call)
            response = firebase_api.refusal(error)
        response.headers.update(firebase_api.CROSS_ORIGIN)
        return response

    async def _respond(self, call: Call) -> Response:
        is_json = call.raw_path.startswith(_JSON_PREFIXES)
        try:
            if call.raw_path.startswith(_FIREBASE_PREFIX):
                return await self._firebase(call)
            response = await (self._json(call) if is_json else self._xml(call))
        except StorageError as error:
            await _drain(call)
            response = _refusal(error, json=is_json)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_GONE)
        except Exception:  # noqa: BLE001 - the client gets the API's shape, the log the rest
            _LOG.exception("%s %s failed", call.method, call.raw_path)
            shape_is_json = is_json or call.raw_path.startswith(_FIREBASE_PREFIX)
            response = _refusal(_internal_error(), json=shape_is_json)
        if not is_json:
            response.headers.update(_cross_origin(call))
        return response

    async def _json(self, call: Call) -> Response:
        _check_administrator(call)
        _refuse_unenforced(call)
        if call.raw_path == _BATCH_PATH:
            return await batch.handle(call, self._respond)
        prefix = next(prefix for prefix in _JSON_PREFIXES if call.raw_path.startswith(prefix))
        segments = call.raw_path.removeprefix(prefix).split("/")
        handler = _HANDLERS.get(prefix)
        if handler is None:
            raise StorageError(404, "notFound", "NotFound", "Not Found")
        return await handler(call, segments)

    async def _xml(self, call: Call) -> Response:
        bucket, name = _bucket_and_name(call)
        if call.method == "OPTIONS":
            return _preflight(call, bucket)
        _refuse_unenforced(call)
        return await xml_api.handle(call, bucket, name)


def _check_administrator(call: Call) -> None:
    """Accept what the clients send in emulator mode: no credentials, or the token ``owner``."""
    if "/upload/" in call.raw_path and "upload_id" in call.parameters:
        return  # the session's address is the permission
    if call.headers.get("authorization") not in {None, "Bearer owner"}:
        raise StorageError(401, "authError", "AuthenticationRequired", "Invalid Credentials")


def _refuse_unenforced(call: Call) -> None:
    """Say so where a request asks for a protection that would not be there."""
    if call.parameters.get("kmsKeyName") or call.parameters.get("destinationKmsKeyName"):
        raise not_implemented("The parameter kmsKeyName")


def _cors_rules(call: Call, bucket: str) -> list[dict[str, Any]]:
    record = call.engine.store.bucket(bucket)
    return [] if record is None else list(record.fields.get("cors") or [])


def _cross_origin(call: Call) -> dict[str, str]:
    """Return what lets a web page read this answer of the XML API."""
    origin = call.headers.get("origin")
    if origin is None or call.method == "OPTIONS":
        return {}
    try:
        bucket, _ = _bucket_and_name(call)
    except StorageError:
        return {}  # the name that is refused names no bucket
    return cors.allowed(_cors_rules(call, bucket), origin, call.method)


def _preflight(call: Call, bucket: str) -> Response:
    headers = cors.preflight(
        _cors_rules(call, bucket),
        call.headers.get("origin", ""),
        call.headers.get("access-control-request-method", ""),
        call.headers.get("access-control-request-headers", ""),
    )
    return Response(status_code=200, headers=headers)


def _bucket_and_name(call: Call) -> tuple[str, str]:
    host = call.headers.get("host", "").partition(":")[0]
    path = call.raw_path.removeprefix("/")
    if host.endswith("." + _PUBLIC_HOST):
        return host.removesuffix("." + _PUBLIC_HOST), decode_segment(path)
    bucket, _, name = path.partition("/")
    return decode_segment(bucket), decode_segment(name)


async def _drain(call: Call) -> None:
    try:
        await drain(call)
    except (ClientDisconnect, RuntimeError):
        return  # gone, or read to the end already


def _internal_error() -> StorageError:
    return StorageError(500, "internalError", "InternalError", "We encountered an internal error.")


def _refusal(error: StorageError, *, json: bool) -> Response:
    if error.status == 304:  # noqa: PLR2004 - carries no body
        return Response(status_code=304)
    if json:
        return JSONResponse(error.as_json(), error.status, error.headers)
    return Response(error.as_xml(), error.status, error.headers, "application/xml; charset=UTF-8")
