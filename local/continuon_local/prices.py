"""What the metered operations cost at Google's list prices, with the free tier of a month.

List prices in US dollars for the US multi-regions (Firestore ``nam5``, Cloud Storage ``US``) and
for Cloud Run functions in a region of tier 1. They change: compare with the pages named here before
money depends on them. Not in the table, because nothing here measures them: data at rest, deletes
by TTL, egress of Firestore and of functions, Eventarc and Cloud Scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.meter import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AS_OF", "CHECKED_ON", "DAYS_PER_MONTH", "PRICES", "Line", "Price", "bill"]

AS_OF = "2025"
"""The year of the price lists that the table was copied from."""

CHECKED_ON = "2026-11-21"
"""When the table was last compared with copies of Google's pages; ``PRICES`` says what they say."""

DAYS_PER_MONTH = 30
"""Firestore's free tier is daily; a month of evenly spread load has this many."""

_GIB = 1024**3
_FIRESTORE = "https://cloud.google.com/firestore/pricing"
_STORAGE = "https://cloud.google.com/storage/pricing"
_PUBSUB = "https://cloud.google.com/pubsub/pricing"
_RUN = "https://cloud.google.com/run/pricing"


@dataclass(frozen=True, kw_only=True)
class Price:
    """The price of one operation.

    Attributes:
        dollars: For ``per`` units.
        per: How many metered units that buys.
        free_per_month: Metered units that cost nothing each month.
        free_inside: Whether it costs nothing when a function of the project is the caller.
        source: The page.
    """

    dollars: float
    per: int
    free_per_month: int = 0
    free_inside: bool = False
    source: str

    def cost(self, units: float) -> float:
        """Return dollars for ``units`` metered units."""
        return units * self.dollars / self.per


PRICES: Mapping[Operation, Price] = {
    # nam5, as the page's table of multi-regions; free on one database of a project: 50,000 reads,
    # 20,000 writes, 20,000 deletes a day.
    Operation.FIRESTORE_READ: Price(
        dollars=0.06, per=100_000, free_per_month=50_000 * DAYS_PER_MONTH, source=_FIRESTORE
    ),
    Operation.FIRESTORE_WRITE: Price(
        dollars=0.18, per=100_000, free_per_month=20_000 * DAYS_PER_MONTH, source=_FIRESTORE
    ),
    Operation.FIRESTORE_DELETE: Price(
        dollars=0.02, per=100_000, free_per_month=20_000 * DAYS_PER_MONTH, source=_FIRESTORE
    ),
    # Standard storage in a multi-region. cloud.google.com/storage/pricing-examples calculates with
    # $0.005 for class A in a region, $0.0004 for class B and $0.12 for a GiB to the internet; the
    # doubled class A of multi-regions was in no copy of the page that could be read. The free 5,000
    # class A and 50,000 class B are for us-central1, us-east1 and us-west1 only, so none are here.
    Operation.STORAGE_CLASS_A: Price(dollars=0.01, per=1000, source=_STORAGE),
    Operation.STORAGE_CLASS_B: Price(dollars=0.0004, per=1000, source=_STORAGE),
    # To the internet (Americas, EMEA), the first TiB of a month. Free from the US multi-region to
    # Google's services in the US.
    Operation.STORAGE_EGRESS_BYTES: Price(
        dollars=0.12, per=_GIB, free_inside=True, source=_STORAGE
    ),
    Operation.STORAGE_INGRESS_BYTES: Price(dollars=0.0, per=_GIB, source=_STORAGE),
    # Throughput of publishing and of delivering, at least 1,000 bytes a request; the page: $40 for
    # a TiB, the first 10 gigabytes free.
    Operation.PUBSUB_BYTES: Price(
        dollars=40.0, per=1024 * _GIB, free_per_month=10 * _GIB, source=_PUBSUB
    ),
    # Request-based billing, tier 1; the page: free are 180,000 vCPU-seconds, 360,000 GiB-seconds
    # and 2 million requests.
    Operation.FUNCTION_INVOCATION: Price(
        dollars=0.40, per=1_000_000, free_per_month=2_000_000, source=_RUN
    ),
    Operation.FUNCTION_MIB_MS: Price(
        dollars=0.0000025, per=1024 * 1000, free_per_month=360_000 * 1024 * 1000, source=_RUN
    ),
    Operation.FUNCTION_VCPU_US: Price(
        dollars=0.000024, per=1_000_000, free_per_month=180_000 * 1_000_000, source=_RUN
    ),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one operation comes to.

    Attributes:
        units: Metered, times the projection.
        free_units: Of these, those that cost nothing.
        dollars: For the rest.
    """

    operation: Operation
    units: int
    free_units: int
    dollars: float


def bill(
    counts: Mapping[tuple[Operation, str], int], *, times: int = 1, free_tier: bool = False
) -> list[Line]:
    """Return a line for each operation in ``counts``.

    Args:
        counts: By operation and function, as the meter gives them.
        times: How often all of it happens, for a projection.
        free_tier: Whether the free tier of one month is taken off.
    """
    lines = []
    for operation in Operation:
        price = PRICES[operation]
        units, inside = 0, 0
        for (counted, function), count in counts.items():
            if counted == operation:
                units += count * times
                inside += count * times if price.free_inside and function else 0
        if units:
            tier = price.free_per_month if free_tier else 0
            free = min(units, inside + tier)
            dollars = price.cost(units - free)
            lines.append(Line(operation=operation, units=units, free_units=free, dollars=dollars))
    return lines
