"""Injected faults as Cloud Storage words them, in the shape of the API that was called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from continuon_local.fault_layers import FaultyApp
from continuon_local.storage.errors import StorageError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from continuon_local.service_faults import ServiceFaults

__all__ = ["faulty_app"]

_JSON_ROOT = "/storage/v1/"
_UPLOAD_ROOT = "/upload/storage/v1/"
_JSON_PREFIXES = (
    _JSON_ROOT,
    _UPLOAD_ROOT,
    "/download/storage/v1/",
    "/resumable/upload/storage/v1/",
    "/batch/storage/v1",
    "/v0/",
)
_VERBS = {"GET": "get", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
_LIST_VERBS = {"GET": "list", "POST": "insert"}
_OBJECT_CALLS = {
    "rewriteTo": "rewrite",
    "copyTo": "copy",
    "moveTo": "move",
    "compose": "compose",
    "restore": "restore",
}
_OBJECT_PARTS = 4  # b, BUCKET, o, OBJECT

_REASONS = {
    429: ("rateLimitExceeded", "SlowDown"),
    500: ("backendError", "InternalError"),
    503: ("backendError", "ServiceUnavailable"),
}
"""The reason in JSON and the code in XML, of Google's tables of status and error codes."""


def _name(method: str, path: str) -> str:
    """Name a call as the JSON API's reference does; every other has its HTTP method's name."""
    if "/upload/storage/v1/" in path:
        return "storage.objects.insert"
    if path.startswith("/download"):
        path = path.removeprefix("/download")
    if not path.startswith(_JSON_ROOT):
        return method
    parts = path.removeprefix(_JSON_ROOT).split("/")
    kind = "buckets" if len(parts) <= 2 else "objects"  # noqa: PLR2004 - b, BUCKET
    if parts[0] != "b" or (kind == "objects" and parts[2] != "o"):
        return method
    if len(parts) > _OBJECT_PARTS:
        verb = _OBJECT_CALLS.get(parts[_OBJECT_PARTS])
    else:
        verb = (_LIST_VERBS if len(parts) % 2 else _VERBS).get(method)
    return method if verb is None else f"storage.{kind}.{verb}"


def _refusal(request: Request, status: int, code: str, message: str) -> Response:
    words = code.replace("_", " ").title().replace(" ", "")
    reason, xml_code = _REASONS.get(status, (words[0].lower() + words[1:], words))
    error = StorageError(status, reason, xml_code, message)
    path = request.scope["raw_path"].decode("latin-1")
    if path.startswith(_JSON_PREFIXES):
        return JSONResponse(error.as_json(), status)
    return Response(error.as_xml(), status, None, "application/xml; charset=UTF-8")


def faulty_app(app: ASGIApp, faults: ServiceFaults) -> ASGIApp:
    """Wrap the application."""
    return FaultyApp(app, faults, "storage", name_of=_name, refusal=_refusal)
