"""`continuon queue ...`."""

import dataclasses
import math
from typing import Annotated

import typer

from continuon_cloud.cli.state import JSON, state_of
from continuon_cloud.cli.upload import (
    RateOption,
    WaitOption,
    finish,
    item_document,
    options_of,
    print_items,
    run_items,
)
from continuon_cloud.queue import State, UploadQueue

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See and steer the upload queue of this machine.",
)


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[State | None, typer.Option(help="Only these.")] = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """List what was queued for this cloud, with state and reason.

    For example:

      continuon queue list --state set_aside
    """
    shared = state_of(context)
    with UploadQueue(shared.settings()) as queue:
        items = [item for item in queue.items() if state in {None, item.state}]
        document = {"items": [item_document(queue, item) for item in items]}
    shared.show(
        document,
        lambda out: print_items(out, items, set()) if items else out.print("The queue is empty."),
    )


@app.command()
def retry(
    context: typer.Context,
    item_ids: Annotated[list[str], typer.Argument(help="Items, as `queue list` shows them.")],
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Have items tried again that were set aside. Send them with `continuon queue run`.

    For example:

      continuon queue retry q_1f2e3d4c && continuon queue run
    """
    shared = state_of(context)
    with UploadQueue(shared.settings()) as queue:
        items = [queue.retry(item_id) for item_id in item_ids]
        document = {"items": [item_document(queue, item) for item in items]}
    shared.show(document, lambda out: print_items(out, items, set()))


@app.command()
def run(
    context: typer.Context,
    limit_rate: RateOption = None,
    *,
    keep_trying: Annotated[
        bool,
        typer.Option("--keep-trying", help="Stay until everything is through; for a robot."),
    ] = False,
    wait: WaitOption = True,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Upload everything that is not finished, from where it stopped.

    Without --keep-trying, what failed several times in a row is left for a later run (exit code 7).

    For example:

      continuon queue run --limit-rate 500k
    """
    shared = state_of(context)
    options = options_of(limit_rate, wait=wait)
    if keep_trying:
        options = dataclasses.replace(options, max_attempts=None, max_wait_s=math.inf)
    with UploadQueue(shared.settings()) as queue:
        waiting = [item.item_id for item in queue.items() if not item.state.is_final]
        items = run_items(shared, queue, waiting, options)
        finish(shared, queue, items, options, duplicates=set(), failed=[])


@app.command()
def forget(
    context: typer.Context,
    item_ids: Annotated[list[str] | None, typer.Argument(help="Items to remove.")] = None,
    *,
    finished: Annotated[
        bool, typer.Option("--finished", help="Every item that was validated or rejected.")
    ] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Remove items from the queue. What the cloud has stays there.

    For example:

      continuon queue forget q_1f2e3d4c
      continuon queue forget --finished
    """
    shared = state_of(context)
    chosen = list(item_ids or [])
    with UploadQueue(shared.settings()) as queue:
        if finished:
            done = {State.VALIDATED, State.REJECTED}
            chosen += [item.item_id for item in queue.items() if item.state in done]
        elif not chosen:
            raise typer.BadParameter("name items, or give --finished")
        for item_id in chosen:
            queue.forget(item_id)
    shared.show({"forgotten": chosen}, lambda out: out.print(f"Forgot {len(chosen)} items."))
