"""Structured logs in Cloud Logging's field names, with the trace of the request.

Log the event as the message and its data as ``extra={"fields": {...}}``. Values that must never
reach a log (tokens, signatures, signed URLs) are not passed here; as a second line of defence,
anything that looks like one is masked.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from typing import Any

__all__ = ["JsonFormatter", "configure_logging", "current_trace_id", "trace_id_from_headers"]

current_trace_id: ContextVar[str | None] = ContextVar("current_trace_id", default=None)
"""The trace id of the request or event that is being handled."""

_SECRET = re.compile(
    r"(X-Goog-Signature=)[0-9a-f]+|(Bearer\s+)[a-z0-9._~+/=-]+|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|(upload_id=)[\w.-]+",
    re.IGNORECASE,
)
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_CLOUD_TRACE = re.compile(r"^([0-9a-f]{32})(?:/|$)")
_SEVERITY = {"WARNING": "WARNING", "ERROR": "ERROR", "CRITICAL": "CRITICAL", "DEBUG": "DEBUG"}


def _mask(text: str) -> str:
    return _SECRET.sub(lambda found: next((g for g in found.groups() if g), "") + "[masked]", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: severity, message, time, trace, and the record's own fields."""

    def __init__(self, project_id: str) -> None:
        super().__init__()
        self._project_id = project_id

    def format(self, record: logging.LogRecord) -> str:
        """Render ``record`` as Cloud Logging expects it."""
        entry: dict[str, Any] = {
            "severity": _SEVERITY.get(record.levelname, "INFO"),
            "message": record.getMessage(),
            "logger": record.name,
        }
        if trace_id := current_trace_id.get():
            entry["logging.googleapis.com/trace"] = f"projects/{self._project_id}/traces/{trace_id}"
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["stack_trace"] = self.formatException(record.exc_info)
        return _mask(json.dumps(entry, default=str, ensure_ascii=False))


def configure_logging(project_id: str) -> None:
    """Send this project's logs to standard error as JSON, once."""
    logger = logging.getLogger("continuon")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(project_id))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def trace_id_from_headers(traceparent: str | None, cloud_trace: str | None) -> str | None:
    """Return the trace id of W3C ``traceparent`` or Google's ``X-Cloud-Trace-Context``."""
    found = _TRACEPARENT.match(traceparent or "") or _CLOUD_TRACE.match(cloud_trace or "")
    return found[1] if found else None
