"""Query parameters of the REST API: ``mask.fieldPaths=a&mask.fieldPaths=b`` and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.firestore.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

__all__ = ["with_parameters"]

_SYSTEM = frozenset(
    {
        "access_token",
        "alt",
        "callback",
        "fields",
        "key",
        "oauth_token",
        "prettyPrint",
        "quotaUser",
        "uploadType",
        "upload_protocol",
    }
)
"""Parameters that every Google API takes; they say nothing about the request itself."""

_BOOLEANS = {"true": True, "false": False}


def _field(descriptor: Descriptor, name: str, parameter: str) -> FieldDescriptor:
    for field in descriptor.fields:
        if name in {field.json_name, field.name}:
            return field
    raise invalid_argument(
        f'Invalid JSON payload received. Unknown name "{parameter}": Cannot bind query parameter.'
    )


def _put(descriptor: Descriptor, document: dict[str, Any], parameter: str, text: str) -> None:
    *above, last = parameter.split(".")
    for name in above:
        field = _field(descriptor, name, parameter)
        if field.message_type is None or field.is_repeated:
            raise invalid_argument(f'The query parameter "{parameter}" names no field.')
        descriptor = field.message_type
        inner = document.setdefault(field.json_name, {})
        if not isinstance(inner, dict):
            raise invalid_argument(f'"{field.json_name}" must be an object.')
        document = inner
    field = _field(descriptor, last, parameter)
    value: Any = text
    if field.type == field.TYPE_BOOL:
        value = _BOOLEANS.get(text, text)
    if field.is_repeated:
        document.setdefault(field.json_name, []).append(value)
    else:
        document[field.json_name] = value


def with_parameters(
    descriptor: Descriptor, document: Mapping[str, Any], parameters: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """Return a request in JSON completed by query parameters.

    Raises:
        StatusError: INVALID_ARGUMENT for a parameter that is no field of the request.
    """
    completed = dict(document)
    for name, text in parameters:
        if name not in _SYSTEM and not name.startswith("$"):
            _put(descriptor, completed, name, text)
    return completed
