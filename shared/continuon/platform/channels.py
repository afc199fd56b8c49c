"""How a gRPC channel comes back after its service was away."""

from __future__ import annotations

from typing import Final

__all__ = ["RECONNECT_SOON"]

RECONNECT_SOON: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Channels to one address otherwise share what they know of it, the waiting included.
    ("grpc.use_local_subchannel_pool", 1),
)
"""Options of every channel. gRPC's own back-off grows to two minutes: longer than a call is tried,
so that callers would still be refused when the service has long been back."""
