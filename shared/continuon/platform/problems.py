"""Refusals that any route can answer with."""

from __future__ import annotations

from typing import Final

from continuon.errors import ProblemType

__all__ = [
    "BODY_TOO_LARGE",
    "INTERNAL",
    "RATE_LIMITED",
    "REQUEST_INVALID",
    "ROUTE_UNKNOWN",
    "SERVICE_UNAVAILABLE",
]

REQUEST_INVALID: Final = ProblemType(
    code="request.invalid",
    status=422,
    title="The request does not have the form this route expects.",
    remedy="`errors` names each field at fault; the API reference shows the form.",
)
BODY_TOO_LARGE: Final = ProblemType(
    code="request.too_large",
    status=413,
    title="The request body is larger than 1 MiB.",
    remedy="Upload data through signed URLs; list at most 1,000 files, or upload one archive.",
)
ROUTE_UNKNOWN: Final = ProblemType(
    code="request.route_unknown",
    status=404,
    title="There is no such route or method.",
    remedy="The API reference at `/docs` lists every route.",
)
RATE_LIMITED: Final = ProblemType(
    code="request.rate_limited",
    status=429,
    title="This caller has sent too many requests in a minute.",
    remedy="Wait for the seconds that `Retry-After` names. A client that asks in a loop should "
    "wait longer from answer to answer.",
)
SERVICE_UNAVAILABLE: Final = ProblemType(
    code="service.unavailable",
    status=503,
    title="A service behind this one did not answer.",
    remedy="Try again after the seconds that `Retry-After` names.",
)
INTERNAL: Final = ProblemType(
    code="service.internal",
    status=500,
    title="Something broke on our side.",
    remedy="Report it with the `trace_id`; the request may be repeated.",
)
