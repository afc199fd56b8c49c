"""`continuon train budget` and `slow-loop`: what outlasts a single job."""

from typing import Annotated, Any

import httpx
import typer
from pydantic import ValidationError

from continuon.contracts.training import Backend, Budget, SlowLoop, SlowLoopUpdate
from continuon_cloud.cli.job_options import LabelOption, ParamOption, hyperparams_of, wrong_usage
from continuon_cloud.cli.jobs_render import print_budget, print_slow_loop
from continuon_cloud.cli.state import JSON, CliState, state_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import ApiProblem

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to `continuon train`."""
    app.command()(budget)
    app.command("slow-loop")(slow_loop)


def budget(
    context: typer.Context,
    limit: Annotated[
        float | None, typer.Option(min=0, help="US dollars a month from now on.")
    ] = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show or set what training may cost in a calendar month.

    For example:

      continuon train budget --limit 20
    """
    state = state_of(context)

    async def work() -> Budget:
        async with ContinuonClient(state.settings()) as client:
            if limit is None:
                return await client.training.budget()
            return await client.training.set_budget(limit)

    found = state.run(work())
    state.show(found.model_dump(mode="json"), lambda out: print_budget(out, found))


def slow_loop(
    context: typer.Context,
    robot_model: Annotated[str, typer.Argument(help="As in the robots' RURIs.")],
    enabled: Annotated[
        bool | None, typer.Option("--on/--off", help="Train again by itself, or not.")
    ] = None,
    threshold: Annotated[int | None, typer.Option(help="New eligible episodes.")] = None,
    backend: Annotated[Backend | None, typer.Option(help="Where its jobs run.")] = None,
    *,
    label: LabelOption = None,
    min_quality: Annotated[float | None, typer.Option(help="Of the episodes.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="US dollars for each job.")] = None,
    param: ParamOption = None,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show or set when a robot model is trained again by itself. What is not given stays.

    For example:

      continuon train slow-loop companion-v1 --on --threshold 50 --backend pull --backend-label lab
      continuon train slow-loop companion-v1
    """
    state = state_of(context)
    changes = {
        "enabled": enabled,
        "threshold": threshold,
        "backend": backend,
        "backend_label": label,
        "min_quality": min_quality,
        "max_cost_usd": max_cost,
        "hyperparams": hyperparams_of(None, param) if param else None,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    found = state.run(_slow_loop(state, robot_model, given))
    state.show(found.model_dump(mode="json"), lambda out: print_slow_loop(out, found))


async def _slow_loop(state: CliState, robot_model: str, changes: dict[str, Any]) -> SlowLoop:
    async with ContinuonClient(state.settings()) as client:
        if not changes:
            return await client.training.slow_loop(robot_model)
        return await client.training.set_slow_loop(
            robot_model, await _merged(client, robot_model, changes)
        )


async def _merged(
    client: ContinuonClient, robot_model: str, changes: dict[str, Any]
) -> SlowLoopUpdate:
    present: dict[str, Any] = {}
    try:
        present = (await client.training.slow_loop(robot_model)).model_dump(mode="json")
    except ApiProblem as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
    try:
        return SlowLoopUpdate.model_validate({**present, **changes})
    except ValidationError as error:
        raise wrong_usage(error) from error
