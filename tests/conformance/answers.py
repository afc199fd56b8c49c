"""Answers as JSON: every type told apart, and nothing in them that differs between two runs."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.cloud.firestore import DocumentReference, DocumentSnapshot, GeoPoint
from google.cloud.firestore_v1.vector import Vector

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attempt", "encode", "same", "same_words"]

_RECENT_S = 24 * 3600
_TIMES = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")


def attempt(run: Callable[[], Any]) -> Any:
    """Return what ``run`` returns, encoded, or the refusal that it meets."""
    try:
        return encode(run())
    except GoogleAPICallError as error:
        code = error.grpc_status_code.name if error.grpc_status_code else str(error.code)
        return {"refused": code, "class": type(error).__name__, "words": _words(error.message)}
    except RetryError as error:
        return {"refused": "RetryError", "class": "RetryError", "words": _words(str(error.cause))}
    except Exception as error:  # noqa: BLE001 - the client's own refusals have no common class
        return {"refused": "client", "class": type(error).__name__, "words": str(error)}


def encode(value: Any) -> Any:
    """Return ``value`` as JSON in which every Firestore type can be told apart."""
    for kind, encoder in _ENCODERS:
        if isinstance(value, kind):
            return encoder(value)
    raise TypeError(f"{type(value).__name__} has no form in an answer")


def same(ours: Any, theirs: Any) -> bool:
    """Tell whether two answers agree in everything but the words of refusals."""
    return bool(_without_words(ours) == _without_words(theirs))


def same_words(ours: Any, theirs: Any) -> bool:
    """Tell whether two answers agree to the letter."""
    return bool(ours == theirs)


def _without_words(answer: Any) -> Any:
    if isinstance(answer, dict):
        kept = {key: _without_words(item) for key, item in answer.items()}
        if "refused" in kept:
            kept.pop("words", None)
        return kept
    if isinstance(answer, list):
        return [_without_words(item) for item in answer]
    return answer


def _words(message: Any) -> str:
    return _TIMES.sub("TIME", str(message))


def _time(value: dt.datetime) -> dict[str, str]:
    aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    age = abs((dt.datetime.now(dt.UTC) - aware).total_seconds())
    if age < _RECENT_S:
        return {"time": "recent"}
    exact = getattr(value, "rfc3339", None)
    return {"time": exact() if exact else value.isoformat()}


def _snapshot(value: Any) -> dict[str, Any]:
    if not value.exists:
        return {"missing": value.reference.path}
    unchanged = value.create_time == value.update_time
    data = encode(value.to_dict())
    return {"document": value.reference.path, "data": data, "as_created": unchanged}


def _mapping(value: dict[str, Any]) -> dict[str, Any]:
    return {str(key): encode(item) for key, item in value.items()}


_ENCODERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (type(None), lambda value: value),
    (bool, lambda value: value),
    (int, lambda value: value),
    (str, lambda value: value),
    (float, lambda value: {"double": repr(value)}),
    (bytes, lambda value: {"bytes": value.hex()}),
    (dt.datetime, _time),
    (GeoPoint, lambda value: {"geo": [repr(value.latitude), repr(value.longitude)]}),
    (DocumentReference, lambda value: {"reference": value.path}),
    (DocumentSnapshot, _snapshot),
    (Vector, lambda value: {"vector": [repr(float(item)) for item in value]}),
    (dict, _mapping),
    ((list, tuple), lambda value: [encode(item) for item in value]),
)
