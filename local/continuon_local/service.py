"""What the services of the local cloud have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from continuon_local.clock import MovableClock
from continuon_local.meter import Meter
from continuon_local.service_faults import ServiceFaults

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_local.events.outbox import Outbox

__all__ = ["EventSource", "Service", "ServiceContext"]


@dataclass(frozen=True, kw_only=True)
class ServiceContext:
    """What a service is given: where it may keep data, what time it is, who counts.

    Attributes:
        data_dir: The folder of the local cloud's data, or None to keep nothing after the process
            (an in-memory database; object bodies in a temporary folder).
        project_id: The default project; services still accept any project named in a request.
        host: The loopback address to bind.
        faults: What the services do wrong on purpose.
    """

    data_dir: Path | None
    clock: MovableClock = field(default_factory=MovableClock)
    meter: Meter = field(default_factory=Meter)
    faults: ServiceFaults = field(default_factory=ServiceFaults)
    project_id: str = "demo-continuon"
    host: str = "127.0.0.1"


class Service(Protocol):
    """One emulated Google service on one loopback port."""

    @property
    def name(self) -> str:
        """The short name, as in ``continuon-local serve NAME``."""
        ...

    @property
    def port(self) -> int:
        """The bound port; known once :meth:`start` has returned."""
        ...

    async def start(self) -> None:
        """Open the data, bind the port, begin to serve."""
        ...

    async def stop(self) -> None:
        """Finish what is under way, close the port and the data. Safe to call twice."""
        ...


class EventSource(Protocol):
    """A service whose changes raise events."""

    @property
    def outbox(self) -> Outbox:
        """Where the service records events, in the transaction of the change itself."""
        ...
