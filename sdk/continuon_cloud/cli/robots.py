"""`continuon robot ...`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from continuon.auth.ruri import InvalidRuriError, Ruri
from continuon.contracts.robots import ClaimRequest, Robot
from continuon_cloud.cli.render import columns
from continuon_cloud.cli.state import JSON, confirm, state_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import IdentityError
from continuon_cloud.identity import RobotHome

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a robot's identity, claim it, see and revoke robots.",
)

RobotOption = Annotated[
    str | None, typer.Option("--robot", help="Robot id; may be left out when there is one.")
]


@app.command()
def init(
    context: typer.Context,
    ruri: Annotated[
        str | None, typer.Option(help="rcan://registry/manufacturer/model/device_id")
    ] = None,
    registry: Annotated[str, typer.Option(help="Instead of --ruri.")] = "continuon.cloud",
    manufacturer: Annotated[str | None, typer.Option(help="Instead of --ruri.")] = None,
    *,
    model: Annotated[str | None, typer.Option(help="Instead of --ruri.")] = None,
    device_id: Annotated[str | None, typer.Option(help="Instead of --ruri.")] = None,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Replace the key; the old one is gone for good.")
    ] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Make a robot's device key on this machine. The private key never leaves it.

    For example:

      continuon robot init --ruri rcan://continuon.cloud/acme/companion-v1/14d4b680
      continuon robot init --manufacturer acme --model companion-v1 --device-id 14d4b680
    """
    state = state_of(context)
    parsed = _ruri(ruri, registry, manufacturer, model, device_id)
    robot = RobotHome(state.settings().home).create(parsed, rotate=rotate)
    document = {
        "robot_id": robot.robot_id,
        "ruri": str(robot.ruri),
        "key_thumbprint": robot.key_thumbprint,
    }

    def human(out: Console) -> None:
        out.print(f"Robot [bold]{robot.robot_id}[/] has a device key.")
        out.print(f"  {robot.ruri}\n  key {robot.key_thumbprint}")
        out.print(f"Next: continuon robot claim --robot {robot.robot_id}")

    state.show(document, human)


@app.command()
def claim(
    context: typer.Context,
    robot: RobotOption = None,
    name: Annotated[str | None, typer.Option(help="What you call it.")] = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Bind a robot whose key is on this machine to your account.

    The robot signs that you may own it; being on the machine is the permission.

    For example:

      continuon robot claim --name "Lab companion"
    """
    state = state_of(context)

    async def bind() -> Robot:
        settings = state.settings()
        identity = RobotHome(settings.home).load(robot)
        async with ContinuonClient(settings) as client:
            session = await client.accounts.current()
            proof = identity.claim_proof(session.uid, now=datetime.now(UTC))
            return await client.claim(ClaimRequest(proof=proof, name=name))

    claimed = state.run(bind())
    state.show(
        claimed.model_dump(mode="json"),
        lambda out: out.print(
            f"[bold]{escape(claimed.name)}[/] ({claimed.robot_id}) is yours. "
            f"Next: continuon episode upload PATH"
        ),
    )


@app.command("list")
def list_(context: typer.Context, *, _json: Annotated[bool, JSON] = False) -> None:
    """List your robots, and which of them have their key on this machine."""
    state = state_of(context)
    here = RobotHome(state.settings().home).ids()

    async def collect() -> list[Robot]:
        async with ContinuonClient(state.settings()) as client:
            return [robot async for robot in client.robots()]

    robots = state.run(collect())
    document = {
        "robots": [
            {**robot.model_dump(mode="json"), "key_here": robot.robot_id in here}
            for robot in robots
        ]
    }
    state.show(document, lambda out: _print_robots(out, robots, here))


@app.command()
def show(
    context: typer.Context,
    robot_id: Annotated[str, typer.Argument(help="Which robot.")],
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show one of your robots."""
    state = state_of(context)

    async def get() -> Robot:
        async with ContinuonClient(state.settings()) as client:
            return await client.get_robot(robot_id)

    document = state.run(get()).model_dump(mode="json")
    state.show(document, lambda out: _print_fields(out, document))


@app.command()
def revoke(
    context: typer.Context,
    robot_id: Annotated[str, typer.Argument(help="Which robot.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """End a robot's access at once. Its key never works again; episodes stay.

    For example:

      continuon robot revoke 14d4b680 --yes
    """
    state = state_of(context)
    if not yes:
        confirm(f"Revoke {robot_id}?")

    async def end() -> Robot:
        async with ContinuonClient(state.settings()) as client:
            return await client.revoke(robot_id)

    robot = state.run(end())
    state.show(
        robot.model_dump(mode="json"), lambda out: out.print(f"{robot.robot_id} is {robot.status}.")
    )


def _ruri(
    ruri: str | None,
    registry: str,
    manufacturer: str | None,
    model: str | None,
    device_id: str | None,
) -> Ruri:
    text = ruri or f"rcan://{registry}/{manufacturer or ''}/{model or ''}/{device_id or ''}"
    try:
        return Ruri.parse(text)
    except InvalidRuriError as error:
        raise IdentityError(
            f"{text!r} is not a robot URI",
            code="usage",
            hint=f"{error}. Give --ruri, or --manufacturer, --model and --device-id.",
        ) from error


def _print_robots(out: Console, robots: list[Robot], here: list[str]) -> None:
    if not robots:
        out.print("You have no robots yet. Make one: continuon robot init --ruri rcan://...")
        return
    table = columns("robot", "name", "model", "status", "key", "last seen")
    for robot in robots:
        table.add_row(
            robot.robot_id,
            escape(robot.name),
            escape(robot.model),
            robot.status.value,
            "here" if robot.robot_id in here else "",
            f"{robot.last_seen:%Y-%m-%d %H:%M}" if robot.last_seen else "never",
        )
    out.print(table)


def _print_fields(out: Console, document: dict[str, Any]) -> None:
    for name, value in document.items():
        if value is not None:
            out.print(f"  {name:16} {escape(str(value))}")
