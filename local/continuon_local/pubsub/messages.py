"""The raw protobuf classes behind google-cloud-pubsub's types, as gRPC needs them."""

from __future__ import annotations

from typing import Any, TypeAlias

from continuon_local.protos import message_class

__all__ = ["Message", "new", "parse"]

Message: TypeAlias = Any
"""A raw protobuf message; protobuf's generated classes carry no types of their own here."""


def _class(name: str) -> Any:
    return message_class(f"google.pubsub.v1.{name}")


def new(name: str, /, **fields: Any) -> Message:
    """Return a new raw message of the type ``name`` of ``google.pubsub.v1``."""
    return _class(name)(**fields)


def parse(name: str, raw: bytes) -> Message:
    """Return the message of the type ``name`` that ``raw`` encodes."""
    return _class(name).FromString(raw)
