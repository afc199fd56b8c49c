"""One FastAPI application a function: problem details, traces, body limits, health."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from continuon import limits
from continuon.contracts.problems import Problem, ProblemField
from continuon.errors import ProblemError, ProblemType, UnavailableError
from continuon.platform.logging import (
    configure_logging,
    current_trace_id,
    trace_id_from_headers,
)
from continuon.platform.problems import (
    BODY_TOO_LARGE,
    INTERNAL,
    REQUEST_INVALID,
    ROUTE_UNKNOWN,
    SERVICE_UNAVAILABLE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import APIRouter
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["PROBLEM_MEDIA_TYPE", "create_app", "problem_response"]

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_LOGGER = logging.getLogger("continuon.http")


def problem_response(
    problem_type: ProblemType,
    detail: str = "",
    *,
    errors: Sequence[ProblemField] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Answer with problem details (RFC 9457)."""
    problem = Problem(
        type=f"/docs/problems#{problem_type.code}",
        title=problem_type.title,
        status=problem_type.status,
        detail=detail or problem_type.title,
        code=problem_type.code,
        errors=list(errors),
        trace_id=current_trace_id.get(),
    )
    answer_headers = dict(headers or {})
    if problem_type.status == 401:  # noqa: PLR2004 - RFC 9110 section 11.6.1 asks for a challenge
        answer_headers["WWW-Authenticate"] = 'Bearer realm="continuon", Signature'
    return JSONResponse(
        problem.model_dump(mode="json"),
        status_code=problem_type.status,
        headers=answer_headers,
        media_type=PROBLEM_MEDIA_TYPE,
    )


async def _on_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for this type only
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    errors = [ProblemField(code=e.code, path=e.path, message=e.message) for e in error.errors]
    return problem_response(error.type, error.detail, errors=errors, headers=headers)


async def _on_unavailable(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UnavailableError)  # noqa: S101 - registered for this type only
    # The class only: what a client library puts into its text is not ours to log.
    cause = type(error.__cause__).__name__ if error.__cause__ else None
    fields = {"service": error.service, "cause": cause}
    _LOGGER.warning("service unavailable", extra={"fields": fields})
    headers = {"Retry-After": str(error.retry_after_s)}
    return problem_response(SERVICE_UNAVAILABLE, f"{error}.", headers=headers)


def _json_path(location: Sequence[int | str]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _field_at_fault(item: Mapping[str, Any]) -> ProblemField:
    code, message = f"request.{item['type']}", str(item["msg"])
    # The first part says body, query or path; the field follows.
    path = _json_path(item["loc"][1:] or item["loc"])
    if item["type"] == "json_invalid":
        # Here the second part is a position in a text that has no fields.
        path, message = "", f"{message} at character {item['loc'][-1]}"
    return ProblemField(code=code, path=path, message=message)


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    errors = [_field_at_fault(item) for item in error.errors()]
    first = errors[0]
    detail = f"{first.path}: {first.message}" if first.path else first.message
    return problem_response(REQUEST_INVALID, detail, errors=errors)


async def _on_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    if error.status_code == BODY_TOO_LARGE.status:
        return problem_response(BODY_TOO_LARGE)
    if error.status_code == 400:  # noqa: PLR2004 - the framework's word for an unreadable body
        return problem_response(REQUEST_INVALID, str(error.detail))
    problem_type = ProblemType(
        ROUTE_UNKNOWN.code, error.status_code, ROUTE_UNKNOWN.title, ROUTE_UNKNOWN.remedy
    )
    return problem_response(problem_type, str(error.detail), headers=error.headers)


def _limited(receive: Receive, announced: bytes) -> Receive:
    """Return ``receive`` for a body of at most ``MAX_REQUEST_BYTES``.

    The framework's own limit answers in plain text where a length is announced. What is raised
    here is answered as a problem, by :func:`_on_http`.
    """
    too_large = announced.isdigit() and int(announced) > limits.MAX_REQUEST_BYTES
    received = 0

    async def limited() -> Message:
        nonlocal received
        if too_large:
            raise HTTPException(BODY_TOO_LARGE.status)
        message = await receive()
        received += len(message.get("body", b""))
        if received > limits.MAX_REQUEST_BYTES:
            raise HTTPException(BODY_TOO_LARGE.status)
        return message

    return limited


class _Envelope:
    """Limits the body, sets the trace id, and answers for what nobody else answered for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        trace_id = trace_id_from_headers(
            headers.get(b"traceparent", b"").decode("latin-1"),
            headers.get(b"x-cloud-trace-context", b"").decode("latin-1"),
        )
        token = current_trace_id.set(trace_id or uuid4().hex)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            body = _limited(receive, headers.get(b"content-length", b""))
            await self._app(scope, body, watched)
        except Exception:
            # Logged here, with its trace and masked, and not raised further: the framework around
            # us would print the traceback again, unmasked and in plain text.
            fields = {"method": scope["method"], "path": scope["path"]}
            _LOGGER.exception("unhandled error", extra={"fields": fields})
            if not started:
                await problem_response(INTERNAL)(scope, receive, send)
        finally:
            current_trace_id.reset(token)


_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "Refused; see `code`."},
    "5XX": {"model": Problem, "description": "Failed; 503 carries `Retry-After`."},
}


def create_app(title: str, *routers: APIRouter, project_id: str) -> FastAPI:
    """Build the application of one HTTP function.

    The interactive pages are left out: ``/docs`` is served by Hosting for the whole surface.
    """
    configure_logging(project_id)
    app = FastAPI(
        title=title,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Cloud Trace reads the trace id of our own logs; spans would cost CPU on every request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.add_middleware(_Envelope)
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(UnavailableError, _on_unavailable)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    for router in routers:
        app.include_router(router, responses=_RESPONSES)
    return app
