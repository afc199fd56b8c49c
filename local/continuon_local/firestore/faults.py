"""Injected faults as Firestore's REST API words them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.fault_layers import FaultyApp
from continuon_local.firestore.rest import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from continuon_local.service_faults import ServiceFaults

__all__ = ["faulty_app"]

_DOCUMENT_CALLS = {
    "GET": "GetDocument",
    "POST": "CreateDocument",
    "PATCH": "UpdateDocument",
    "DELETE": "DeleteDocument",
}


def _name(method: str, path: str) -> str:
    """Name a call as its RPC is called; what is no call of the API has its HTTP method's name."""
    if not path.startswith("/v1/"):
        return method
    verb = path.rpartition("/")[2].partition(":")[2]
    if verb:
        return verb[0].upper() + verb[1:]
    return _DOCUMENT_CALLS.get(method, method)


def _refusal(_request: Request, status: int, code: str, message: str) -> Response:
    document = {"error": {"code": status, "message": message, "status": code}}
    return json_response(document, status)


def faulty_app(app: ASGIApp, faults: ServiceFaults) -> ASGIApp:
    """Wrap the application."""
    return FaultyApp(app, faults, "firestore", name_of=_name, refusal=_refusal)
