"""From an HTTP request to the API that answers it, and from a refusal to its shape."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from continuon_local.storage import json_api, json_uploads, xml_api
from continuon_local.storage.call import Call, decode_segment
from continuon_local.storage.errors import StorageError
from continuon_local.storage.transfer import drain

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from continuon_local.storage.call import Engine

__all__ = ["create_app"]

_LOG = logging.getLogger(__name__)

_JSON_PREFIXES = {
    "/storage/v1/": json_api.handle,
    "/download/storage/v1/": json_api.handle,
    "/upload/storage/v1/": json_uploads.handle,
    "/resumable/upload/storage/v1/": json_uploads.handle,
}

# Host names under which a bucket may stand in front: BUCKET.storage.googleapis.com.
_PUBLIC_HOST = "storage.googleapis.com"

_CLIENT_GONE = 499


def create_app(engine: Engine) -> ASGIApp:
    """Return the ASGI application."""
    app = Starlette()
    app.mount("/", _Dispatcher(engine))
    return app


class _Dispatcher:
    """Routes on the raw path: object names hold slashes, dots and percent signs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(Request(scope, receive), self._engine)
        response = await self._respond(call)
        await response(scope, receive, send)

    async def _respond(self, call: Call) -> Response:
        handler = next(
            (prefix for prefix in _JSON_PREFIXES if call.raw_path.startswith(prefix)), None
        )
        try:
            if handler is None:
                return await self._xml(call)
            return await self._json(call, handler)
        except StorageError as error:
            await _drain(call)
            return _refusal(error, json=handler is not None)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_GONE)
        except Exception:  # noqa: BLE001 - the log has the rest
            _LOG.exception("%s %s failed", call.method, call.raw_path)
            return _refusal(_internal_error(), json=handler is not None)

    async def _json(self, call: Call, prefix: str) -> Response:
        authorization = call.headers.get("authorization")
        if authorization not in {None, "Bearer owner"} and "upload_id" not in call.parameters:
            message = "Invalid Credentials"
            raise StorageError(401, "authError", "AuthenticationRequired", message)
        segments = call.raw_path.removeprefix(prefix).split("/")
        return await _JSON_PREFIXES[prefix](call, segments)

    async def _xml(self, call: Call) -> Response:
        bucket, name = _bucket_and_name(call)
        return await xml_api.handle(call, bucket, name)


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
