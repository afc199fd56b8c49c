"""Injected faults as Identity Toolkit words them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from continuon_local.auth.errors import AuthError
from continuon_local.fault_layers import FaultyApp

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from continuon_local.service_faults import ServiceFaults

__all__ = ["faulty_app"]


def _name(method: str, path: str) -> str:
    """Name a call: ``accounts.signUp``, ``accounts.lookup``, ``token``, or its HTTP method."""
    last = path.rpartition("/")[2]
    if last == "token":
        return last
    resource, _, verb = last.partition(":")
    if resource != "accounts":
        return method
    return f"accounts.{verb or 'create'}"


def _refusal(_request: Request, status: int, code: str, message: str) -> Response:
    error = AuthError(code, message, status=status, grpc_status=code)
    # A page on another origin has to be able to read the status.
    headers = {"access-control-allow-origin": "*"}
    return JSONResponse(error.body(), status_code=status, headers=headers)


def faulty_app(app: ASGIApp, faults: ServiceFaults) -> ASGIApp:
    """Wrap the application."""
    return FaultyApp(app, faults, "auth", name_of=_name, refusal=_refusal)
