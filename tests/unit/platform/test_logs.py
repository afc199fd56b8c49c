"""Logs: Cloud Logging's fields, the trace of the request, and no secret."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from continuon.platform.logging import JsonFormatter, current_trace_id, trace_id_from_headers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_ID_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"


def formatted(message: str, *, level: int = logging.INFO, **fields: Any) -> dict[str, Any]:
    record = logging.LogRecord("continuon.test", level, __file__, 1, message, (), None)
    record.fields = fields
    entry: dict[str, Any] = json.loads(JsonFormatter("demo-continuon").format(record))
    return entry


def test_an_entry_has_the_field_names_of_cloud_logging() -> None:
    token = current_trace_id.set(TRACE)
    try:
        entry = formatted("episode validated", level=logging.WARNING, episode_id="ep_1")
    finally:
        current_trace_id.reset(token)
    assert entry == {
        "severity": "WARNING",
        "message": "episode validated",
        "logger": "continuon.test",
        "logging.googleapis.com/trace": f"projects/demo-continuon/traces/{TRACE}",
        "episode_id": "ep_1",
    }


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"Authorization: Bearer {_ID_TOKEN}", _ID_TOKEN),
        (f"authorization: bearer {_ID_TOKEN}", "c2lnbmF0dXJl"),
        ("Authorization: bearer opaque-token-1", "opaque-token-1"),
        (f"proof={_ID_TOKEN}", "eyJzdWIiOiJ1c2VyIn0"),
        ("https://s/o?X-Goog-Algorithm=A&X-Goog-Signature=0a1B2c&x=1", "0a1B2c"),
        ("https://s/o?x-goog-signature=0a1b2c", "0a1b2c"),
        ("https://s/o?uploadType=resumable&upload_id=AbC-_.9&x=1", "AbC-_.9"),
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(text: str, secret: str) -> None:
    for entry in (formatted(text), formatted("call failed", url=text)):
        assert secret not in json.dumps(entry)
        assert "[masked]" in json.dumps(entry)


def test_a_masked_text_keeps_what_is_no_secret() -> None:
    url = "https://s/o?X-Goog-Date=20260104T120000Z&X-Goog-Signature=0a1b&upload_id=AbC&name=ep_1"
    masked = formatted(url)["message"]
    assert masked == (
        "https://s/o?X-Goog-Date=20260104T120000Z&X-Goog-Signature=[masked]"
        "&upload_id=[masked]&name=ep_1"
    )


def test_a_secret_in_a_traceback_is_masked() -> None:
    error = RuntimeError(f"cannot send Bearer {_ID_TOKEN}")
    raised = (RuntimeError, error, None)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), raised)
    text = JsonFormatter("demo-continuon").format(record)
    assert "RuntimeError" in json.loads(text)["stack_trace"]
    assert _ID_TOKEN not in text


def test_an_entry_is_one_line_whatever_it_says() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "a\nb\r\u2028", (), None)
    text = JsonFormatter("demo-continuon").format(record)
    assert "\n" not in text
    assert json.loads(text)["message"] == "a\nb\r\u2028"


@pytest.mark.parametrize(
    ("traceparent", "cloud_trace", "trace_id"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", None, TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-01", "f" * 32 + "/1;o=1", TRACE),
        (None, f"{TRACE}/123;o=1", TRACE),
        (None, TRACE, TRACE),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None, None),
        (f"00-{TRACE}-00f067aa0ba902b7-01\nx", None, None),
        (f"00-{TRACE[:-1]}-00f067aa0ba902b7-01", None, None),
        ("", "", None),
        (None, "../../etc", None),
        (None, f"{TRACE}x", None),
        (None, None, None),
    ],
)
def test_the_trace_id_is_read_from_either_header(
    traceparent: str | None, cloud_trace: str | None, trace_id: str | None
) -> None:
    assert trace_id_from_headers(traceparent, cloud_trace) == trace_id
