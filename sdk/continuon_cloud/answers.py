"""What every part of the client does with paths and answers."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from continuon_cloud.errors import UnreachableError

__all__ = ["malformed", "read", "segment"]

_Model = TypeVar("_Model", bound=BaseModel)


def segment(identifier: str) -> str:
    """Return an identifier as one segment of a path, whatever characters it has."""
    # A dot segment would be resolved away by the HTTP library and name another resource.
    return quote(identifier, safe="").replace(".", "%2E")


def read(model: type[_Model], answer: Any) -> _Model:
    """Return an answer as the contract that was promised.

    Raises:
        UnreachableError: ``api.malformed``: something else answers there.
    """
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        raise malformed() from error


def malformed() -> UnreachableError:
    """Return the error of an answer that is not what was promised."""
    return UnreachableError(
        "the answer has not the promised form",
        code="api.malformed",
        hint="Is --url right, and is this client recent enough?",
    )
