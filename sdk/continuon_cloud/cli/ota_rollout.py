"""`continuon ota rollout ...`."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live

from continuon.contracts.ota import Bundle, RobotMembership, RolloutReport, RolloutRequest
from continuon.contracts.rollouts import RolloutAction, RolloutPlan, RolloutStatus
from continuon_cloud.cli.exits import ExitCode
from continuon_cloud.cli.rollout_view import (
    ended,
    line,
    print_bundles,
    print_change,
    print_robot,
    view,
)
from continuon_cloud.cli.state import JSON, confirm, state_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import ApiProblem, SettingsError, UnreachableError

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Start, watch and stop rollouts; for operators.",
)

BundleArgument = Annotated[str, typer.Argument(help="Bundle id: MODEL-VERSION.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Kept in the audit log.")]
_PLAN_MAX_BYTES = 256 * 1024
_PERMANENT = frozenset({400, 401, 403, 404, 422})


@app.command()
def start(
    context: typer.Context,
    bundle: BundleArgument,
    plan: Annotated[Path | None, typer.Option(help="YAML or JSON; see docs/ota.md.")] = None,
    reason: ReasonOption = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Start the rollout of a staged bundle.

    Without a plan, the stages fit the size of the fleet: from 2,000 robots on 1, 10, 50 and 100 %,
    with an hour of soak and ten results each. For example:

      continuon ota rollout start companion-v1-1.4.0 --plan plan.yaml
    """
    _act(context, bundle, RolloutAction.START, reason, _plan(plan) if plan else None)


@app.command()
def advance(
    context: typer.Context,
    bundle: BundleArgument,
    reason: ReasonOption = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Go to the next stage now, whatever the gate waits for."""
    _act(context, bundle, RolloutAction.ADVANCE, reason)


@app.command()
def pause(
    context: typer.Context,
    bundle: BundleArgument,
    reason: ReasonOption = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Offer the bundle to nobody new; robots that took it keep it."""
    _act(context, bundle, RolloutAction.PAUSE, reason)


@app.command()
def resume(
    context: typer.Context,
    bundle: BundleArgument,
    reason: ReasonOption = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Go on with a paused rollout; its stage soaks again from now on."""
    _act(context, bundle, RolloutAction.RESUME, reason)


@app.command()
def halt(
    context: typer.Context,
    bundle: BundleArgument,
    reason: ReasonOption = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Stop for good: nobody new, and robots that took it are offered the previous bundle."""
    _act(context, bundle, RolloutAction.HALT, reason)


@app.command()
def rollback(
    context: typer.Context,
    bundle: BundleArgument,
    reason: ReasonOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Take a bundle back from every robot, also from production.

    For example:

      continuon ota rollout rollback companion-v1-1.4.0 --reason "drops cups" --yes
    """
    if not yes:
        confirm(f"Take {bundle} back from every robot that has it?")
    _act(context, bundle, RolloutAction.ROLLBACK, reason)


@app.command()
def status(
    context: typer.Context,
    bundle: BundleArgument,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow it until it is over.")
    ] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=1.0)] = 5.0,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show stages, successes, failures, and what the gate says.

    With --watch, the exit code is 11 when the rollout was halted or rolled back. For example:

      continuon ota rollout status companion-v1-1.4.0 --watch
    """
    state = state_of(context)

    async def look() -> RolloutReport:
        async with ContinuonClient(state.settings()) as client:
            if not watch:
                return await client.rollouts.report(bundle)
            return await _follow(client, bundle, state.err, every, quiet=state.as_json)

    report = state.run(look())
    # Whoever watched has seen the last picture already.
    shown = watch and state.err.is_terminal
    state.show(
        report.model_dump(mode="json"), lambda out: None if shown else out.print(view(report))
    )
    if watch and report.rollout.status in {RolloutStatus.HALTED, RolloutStatus.ROLLED_BACK}:
        raise typer.Exit(ExitCode.ROLLOUT_STOPPED)


@app.command("list")
def list_(
    context: typer.Context,
    robot_model: Annotated[str | None, typer.Option(help="Of this model only.")] = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """List bundles and how far they have come."""
    state = state_of(context)

    async def collect() -> list[Bundle]:
        async with ContinuonClient(state.settings()) as client:
            return [one async for one in client.rollouts.bundles(robot_model=robot_model)]

    bundles = state.run(collect())
    document = {"bundles": [bundle.model_dump(mode="json") for bundle in bundles]}
    state.show(document, lambda out: print_bundles(out, bundles))


@app.command()
def robot(
    context: typer.Context,
    robot_id: Annotated[str, typer.Argument(help="Which robot; its owner may ask as well.")],
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show which version a robot has, since when, and why not a newer one."""
    state = state_of(context)

    async def get() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await client.rollouts.robot(robot_id)

    found = state.run(get())
    state.show(found.model_dump(mode="json"), lambda out: print_robot(out, found))


@app.command()
def assign(
    context: typer.Context,
    robot_id: Annotated[str, typer.Argument(help="Which robot.")],
    group: Annotated[list[str] | None, typer.Option("--group", help="May be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="May be repeated.")] = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Set the groups and tags by which plans select a robot; what is not named is removed.

    For example:

      continuon ota rollout assign 14d4b680 --group warehouse-a --tag gripper-2
    """
    state = state_of(context)
    try:
        wanted = RobotMembership(groups=group or [], tags=tag or [])
    except ValidationError as error:
        raise SettingsError(error.errors()[0]["msg"], code="usage") from error

    async def put() -> RobotMembership:
        async with ContinuonClient(state.settings()) as client:
            return await client.rollouts.set_membership(robot_id, wanted)

    found = state.run(put())
    groups, tags = ", ".join(found.groups) or "no group", ", ".join(found.tags) or "no tag"
    state.show(
        found.model_dump(mode="json"),
        lambda out: out.print(f"{robot_id} is in {groups} and has {tags}.", markup=False),
    )


def _act(
    context: typer.Context,
    bundle: str,
    action: RolloutAction,
    reason: str | None,
    plan: RolloutPlan | None = None,
) -> None:
    state = state_of(context)
    request = RolloutRequest(action=action, plan=plan, reason=reason)

    async def change() -> Bundle:
        async with ContinuonClient(state.settings()) as client:
            return await client.rollouts.change(bundle, request)

    changed = state.run(change())
    state.show(changed.model_dump(mode="json"), lambda out: print_change(out, changed))


def _plan(path: Path) -> RolloutPlan:
    """Read a plan file.

    Raises:
        SettingsError: It is no YAML, or no plan; every field at fault is named.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_PLAN_MAX_BYTES + 1)
        if len(data) > _PLAN_MAX_BYTES:
            raise SettingsError(f"{path}: a plan is at most {_PLAN_MAX_BYTES} bytes", code="usage")
        document = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise SettingsError(f"{path}: {error}", code="usage") from error
    try:
        return RolloutPlan.model_validate({} if document is None else document)
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, found['loc'])) or 'plan'}: {found['msg']}"
            for found in error.errors()
        ]
        hint = "`docs/ota.md` shows every field of a plan."
        raise SettingsError(f"{path}: {'; '.join(places)}", code="usage", hint=hint) from error


async def _follow(
    client: ContinuonClient, bundle: str, err: Console, every: float, *, quiet: bool
) -> RolloutReport:
    """Look again and again until the rollout is over; trouble with the network is waited out."""
    report = await client.rollouts.report(bundle)
    if quiet or not err.is_terminal:
        shown = ""
        while True:
            if not quiet and line(report) != shown:
                shown = line(report)
                err.print(shown, markup=False, soft_wrap=True)
            if ended(report):
                return report
            report = await _again(client, report, every)
    with Live(view(report), console=err, refresh_per_second=4) as live:
        while not ended(report):
            report = await _again(client, report, every)
            live.update(view(report))
    return report


async def _again(client: ContinuonClient, last: RolloutReport, every: float) -> RolloutReport:
    await asyncio.sleep(every)
    try:
        return await client.rollouts.report(last.bundle_id)
    except UnreachableError:
        return last
    except ApiProblem as problem:
        if problem.status in _PERMANENT:
            raise
        return last
