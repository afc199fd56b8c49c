"""The REST surface: which path is which call, and who may make it."""

from __future__ import annotations

import hmac
import logging
import sqlite3
import urllib.parse
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from continuon_local.auth.errors import AuthError
from continuon_local.auth.requests import Body, read_body, read_raw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from continuon_local.auth.admin import AdminCalls
    from continuon_local.auth.users import UserCalls

    _UserCall = Callable[[Body], Awaitable[dict[str, Any]]]
    _AdminCall = Callable[[str, Body], Awaitable[dict[str, Any]]]
    _Endpoint = Callable[[Request], Awaitable[Response]]

__all__ = ["create_app"]

_LOG = logging.getLogger(__name__)
_TOOLKIT = "/identitytoolkit.googleapis.com/v1"
_SECURE_TOKEN = "/securetoken.googleapis.com/v1/token"  # noqa: S105 - a path
_OWNER = b"Bearer owner"  # firebase-admin's fixed credential in emulator mode
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def create_app(users: UserCalls, admins: AdminCalls, project: str) -> Starlette:
    """Return the application; calls without a project in their path concern ``project``."""
    routes = [
        *_client_routes(users, admins, project),
        *_admin_routes(admins),
        Route(_SECURE_TOKEN, _refresh(users), methods=["POST"]),
        Route("/", _about, methods=["GET"]),
        Route("/{path:path}", _unimplemented, methods=_METHODS),
    ]
    # Browsers call from the hosting port; the API key, not the origin, is what Google checks.
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return Starlette(
        routes=routes,
        middleware=[cors],
        exception_handlers={AuthError: _answer_error, sqlite3.Error: _answer_broken_disk},
    )


def _client_routes(users: UserCalls, admins: AdminCalls, project: str) -> list[Route]:
    calls: list[tuple[str, _UserCall, _AdminCall | None]] = [
        ("signUp", users.sign_up, admins.create),
        ("signInWithPassword", users.sign_in_with_password, None),
        ("signInWithCustomToken", users.sign_in_with_custom_token, None),
        ("lookup", users.lookup, admins.lookup),
        ("update", users.update, admins.update),
        ("delete", users.delete, admins.delete),
    ]
    return [
        Route(
            f"{_TOOLKIT}/accounts:{name}",
            _client(user_call, admin_call, project),
            methods=["POST"],
        )
        for name, user_call, admin_call in calls
    ]


def _admin_routes(admins: AdminCalls) -> list[Route]:
    base = f"{_TOOLKIT}/projects/{{project}}/accounts"
    calls: list[tuple[str, _AdminCall]] = [
        ("", admins.create),
        (":lookup", admins.lookup),
        (":update", admins.update),
        (":delete", admins.delete),
        (":query", admins.query),
        (":batchDelete", admins.batch_delete),
        (":batchCreate", admins.batch_create),
    ]

    async def clear(project: str, _body: Body) -> dict[str, Any]:
        await admins.clear(project)
        return {}

    return [
        *(Route(base + suffix, _admin(call), methods=["POST"]) for suffix, call in calls),
        Route(f"{base}:batchGet", _admin(admins.batch_get), methods=["GET"]),
        # Firebase's emulator asks for no credential here: only a test bench has this path.
        Route("/emulator/v1/projects/{project}/accounts", _open(clear), methods=["DELETE"]),
    ]


def _client(user_call: _UserCall, admin_call: _AdminCall | None, project: str) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        if admin_call is not None and _is_owner(request):
            return JSONResponse(await admin_call(project, await read_body(request)))
        _require_key(request)
        return JSONResponse(await user_call(await read_body(request)))

    return endpoint


def _admin(call: _AdminCall) -> _Endpoint:
    answer = _open(call)

    async def endpoint(request: Request) -> Response:
        if not _is_owner(request):
            raise AuthError(
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials.",
                status=401,
                grpc_status="UNAUTHENTICATED",
            )
        return await answer(request)

    return endpoint


def _open(call: _AdminCall) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        if request.method == "POST":
            body = await read_body(request)
        else:
            body = Body(dict(request.query_params))
        return JSONResponse(await call(request.path_params["project"], body))

    return endpoint


def _refresh(users: UserCalls) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        _require_key(request)
        if "json" in request.headers.get("content-type", ""):
            body = await read_body(request)
            form = {name: body.text(name) or "" for name in ("grant_type", "refresh_token")}
        else:
            raw = (await read_raw(request)).decode("utf-8", "replace")
            form = dict(urllib.parse.parse_qsl(raw))
        return JSONResponse(await users.refresh(form))

    return endpoint


async def _about(_request: Request) -> Response:
    return JSONResponse({"authEmulator": {"ready": True, "docs": "docs/architecture.md"}})


async def _unimplemented(request: Request) -> Response:
    raise AuthError(
        "UNIMPLEMENTED",
        f"{request.method} {request.url.path} is not implemented by the local cloud",
        status=501,
        grpc_status="UNIMPLEMENTED",
    )


async def _answer_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, AuthError):
        raise error
    return JSONResponse(error.body(), status_code=error.status)


async def _answer_broken_disk(request: Request, error: Exception) -> Response:
    _LOG.error("the database failed in %s", request.url.path, exc_info=error)
    refusal = AuthError("BACKEND_ERROR", str(error), status=503, grpc_status="UNAVAILABLE")
    return JSONResponse(refusal.body(), status_code=refusal.status)


def _is_owner(request: Request) -> bool:
    given = request.headers.get("authorization", "").encode("latin-1", "replace")
    return hmac.compare_digest(given, _OWNER)


def _require_key(request: Request) -> None:
    if not (request.query_params.get("key") or request.headers.get("x-goog-api-key")):
        raise AuthError(
            "PERMISSION_DENIED",
            "The request is missing a valid API key.",
            status=403,
            grpc_status="PERMISSION_DENIED",
        )
