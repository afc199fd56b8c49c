"""The raw protobuf classes behind google-cloud-pubsub's types, as grpc needs them."""

from __future__ import annotations

from typing import Any, TypeAlias

from google.pubsub_v1 import types

__all__ = ["Message", "new", "parse"]

Message: TypeAlias = Any
"""A raw protobuf message; protobuf's generated classes carry no types of their own here."""


def new(name: str, /, **fields: Any) -> Message:
    """Return a new raw message of the type ``name`` of ``google.pubsub.v1``."""
    return getattr(types, name).pb()(**fields)


def parse(name: str, raw: bytes) -> Message:
    """Return the message of the type ``name`` that ``raw`` encodes."""
    return getattr(types, name).pb().FromString(raw)
