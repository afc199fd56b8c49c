"""What running a job costs: a dated price table, and arithmetic over it. Pure."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field

from continuon.contracts.base import Contract

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.contracts.training import Backend, Resources

__all__ = ["BackendPrices", "PriceTable", "month_of", "price_table", "usd_per_hour"]

_SHIPPED: Final = Path(__file__).with_name("prices.toml")
_MIB_PER_GIB: Final = 1024


class BackendPrices(Contract):
    """What one backend charges, in US dollars an hour.

    Attributes:
        vcpu: For one vCPU.
        memory_gib: For one GiB of memory.
        gpu: For one accelerator, by the backend's name of it.
        other_gpu: For an accelerator that is not in the table: high, so that a limit holds.
        source: Where the figures are from.
    """

    vcpu: float = Field(ge=0)
    memory_gib: float = Field(ge=0)
    gpu: dict[str, float] = Field(default_factory=dict)
    other_gpu: float = Field(default=0.0, ge=0)
    source: str


class PriceTable(Contract):
    """Prices of every backend as of ``date``."""

    date: str
    backends: dict[str, BackendPrices]


@cache
def price_table(path: Path | None = None) -> PriceTable:
    """Return the price table at ``path``, or the one that is shipped."""
    text = (path or _SHIPPED).read_text(encoding="utf-8")
    return PriceTable.model_validate(tomllib.loads(text))


def usd_per_hour(table: PriceTable, backend: Backend, resources: Resources) -> float:
    """Return what an hour of a job costs there; a backend without prices costs nothing."""
    prices = table.backends.get(backend.value)
    if prices is None:
        return 0.0
    gpu = prices.gpu.get(resources.gpu_type or "", prices.other_gpu)
    return (
        prices.vcpu * resources.cpu
        + prices.memory_gib * resources.memory_mib / _MIB_PER_GIB
        + gpu * resources.gpu_count
    )


def month_of(moment: datetime) -> str:
    """Return the calendar month, in UTC, whose budget pays for a job made at ``moment``."""
    return f"{moment:%Y-%m}"
