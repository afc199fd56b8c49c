"""Resource names: ``projects/P/topics/T`` and ``projects/P/subscriptions/S``."""

from __future__ import annotations

import re

from continuon_local.pubsub.errors import invalid

__all__ = ["DELETED_TOPIC", "check_name", "check_project", "project_of", "short_name"]

DELETED_TOPIC = "_deleted-topic_"
"""What a subscription names as its topic once that topic was deleted."""

_PROJECT = re.compile(r"projects/[a-z0-9][a-z0-9:.-]*")
_NAME = re.compile(r"(projects/[a-z0-9][a-z0-9:.-]*)/([a-z]+)/([A-Za-z][A-Za-z0-9._~+%-]{2,254})")


def check_name(name: str, collection: str) -> str:
    """Return ``name`` when it is a well-formed name in ``collection``.

    Raises:
        PubSubError: INVALID_ARGUMENT.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[2] != collection or match[3].lower().startswith("goog"):
        raise invalid(f"Invalid [{collection}] name: (name={name})")
    return name


def check_project(name: str) -> str:
    """Return ``name`` when it is ``projects/P``.

    Raises:
        PubSubError: INVALID_ARGUMENT.
    """
    if not _PROJECT.fullmatch(name):
        raise invalid(f"Invalid [project] name: (name={name})")
    return name


def project_of(name: str) -> str:
    """Return the project id in a resource name."""
    return name.split("/")[1]


def short_name(name: str) -> str:
    """Return the last part of a resource name."""
    return name.rsplit("/", 1)[-1]
