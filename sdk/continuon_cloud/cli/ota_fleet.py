"""A simulated fleet on the screen."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from rich.live import Live

from continuon_cloud.cli.render import columns
from continuon_cloud.ota.simulation import Fleet, FleetOptions, FleetState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from continuon_cloud.cli.state import CliState

__all__ = ["run_fleet"]

_REDRAW_S: Final = 0.5


def run_fleet(state: CliState, options: FleetOptions, root: bytes) -> None:
    """Run ``options.robots`` robots until they are done, and show the end."""
    # A thousand robots would say in a thousand lines what the table says in one.
    logging.getLogger("continuon_cloud.ota").setLevel(logging.ERROR)
    fleet = Fleet(state.settings(), options, root)
    if state.as_json or not state.err.is_terminal:
        final = state.run(fleet.run(lambda _: None))
    else:
        final = state.run(_watched(fleet, state.err))
    state.show(_document(final), lambda out: out.print(_table(final)))


async def _watched(fleet: Fleet, out: Console) -> FleetState:
    with Live(_table(fleet.state()), console=out, auto_refresh=False) as live:
        drawn = [0.0]

        def draw(now: FleetState) -> None:
            if time.monotonic() - drawn[0] > _REDRAW_S:
                drawn[0] = time.monotonic()
                live.update(_table(now), refresh=True)

        await asyncio.sleep(0)
        return await fleet.run(draw)


def _document(state: FleetState) -> dict[str, Any]:
    return {
        "rounds": state.rounds,
        "versions": {version or "none": count for version, count in state.versions.items()},
        "outcomes": dict(state.outcomes),
    }


def _table(state: FleetState) -> Table:
    table = columns("robots", "what")
    for version, count in sorted(state.versions.items(), key=lambda pair: str(pair[0])):
        table.add_row(str(count), f"run {version or 'no bundle'}")
    for outcome, count in sorted(state.outcomes.items()):
        table.add_row(str(count), f"last said: {outcome.replace('_', ' ')}")
    return table
