"""The baseline of every per-request figure: a function that does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

if TYPE_CHECKING:
    from flask import Request


@functions_framework.http
def nothing(_request: Request) -> str:
    """Answer at once."""
    return "ok"
