"""`continuon ota agent`, `recover`, `installed` and `trust`: on the robot."""

import contextlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from continuon_cloud.cli.ota_library import refusals
from continuon_cloud.cli.robots import RobotOption
from continuon_cloud.cli.state import JSON, CliState, state_of
from continuon_cloud.cli.upload import RateOption, options_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import SettingsError
from continuon_cloud.files import private_folder, replace_private
from continuon_cloud.identity import RobotHome, RobotIdentity
from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.queue.lock import Lock, QueueBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from continuon_cloud.ota.agent import AgentOptions, Round

__all__ = ["register"]

_FAILED_CODE = 8
SoftwareOption = Annotated[
    str | None,
    typer.Option(
        "--software-version",
        envvar="CONTINUON_SOFTWARE_VERSION",
        help="Of the robot's own software (PEP 440); held against a bundle's requirement.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (agent, recover, installed, trust):
        app.command()(command)


def agent(
    context: typer.Context,
    robot: RobotOption = None,
    *,
    software_version: SoftwareOption = None,
    health: Annotated[
        str | None, typer.Option(help="Command that says whether a bundle works (exit code 0).")
    ] = None,
    health_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds.")] = 120.0,
    activate: Annotated[
        str | None, typer.Option(help="Command that makes the robot use what `current` names.")
    ] = None,
    limit_rate: RateOption = None,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between checks.")] = 900.0,
    state_file: Annotated[
        Path | None, typer.Option(help="JSON: idle, docked, battery_percent, in_remote_session.")
    ] = None,
    tasks_file: Annotated[
        Path | None, typer.Option(help="JSON: bundle_id, successes, trials since it runs.")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA name, for windows.")] = None,
    assume_ready: Annotated[
        bool, typer.Option("--assume-ready", help="Update at any time; for mains power.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="One round, then end.")] = False,
    simulate: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Run so many robots in this process.")
    ] = None,
    robot_model: Annotated[str, typer.Option(help="With --simulate.")] = "companion-v1",
    fail_rate: Annotated[float, typer.Option(min=0, max=1, help="With --simulate.")] = 0.0,
    rounds: Annotated[int | None, typer.Option(min=1, help="With --simulate.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="With --simulate.")] = 32,
    seed: Annotated[int, typer.Option(help="With --simulate.")] = 0,
    root: Annotated[Path | None, typer.Option(help="With --simulate: root to pin.")] = None,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Keep this robot's bundle current: check, verify, install, try, report.

    Without signed metadata of the pinned root nothing is installed. SIGUSR1, or a file named
    check-now in the robot's folder, makes it check at once. For example:

      continuon ota trust 1.root.json
      continuon ota agent --software-version 1.2.0 --health '/opt/robot/selftest' --assume-ready
      continuon ota agent --simulate 1000 --root 1.root.json --fail-rate 0.05
    """
    state = state_of(context)
    with refusals():
        if simulate is not None:
            from continuon_cloud.cli.ota_fleet import (  # noqa: PLC0415 - an optional library
                run_fleet,
            )
            from continuon_cloud.ota.simulation import FleetOptions  # noqa: PLC0415 - as above

            fleet = FleetOptions(
                robots=simulate,
                model=robot_model,
                software_version=software_version or "1.0.0",
                fail_rate=fail_rate,
                seed=seed,
                interval_s=min(interval, 5.0) if interval == 900 else interval,  # noqa: PLR2004
                connections=connections,
                rounds=rounds,
            )
            run_fleet(state, fleet, _read_root(root))
            return
        options = _options(
            software_version,
            (health, health_timeout, activate),
            limit_rate,
            interval,
            (state_file, tasks_file, timezone),
            assume_ready=assume_ready,
        )
        _run_agent(state, RobotHome(state.settings().home).load(robot), options, once=once)


def _options(
    software_version: str | None,
    commands: tuple[str | None, float, str | None],
    limit_rate: str | None,
    interval: float,
    files: tuple[Path | None, Path | None, str | None],
    *,
    assume_ready: bool,
) -> "AgentOptions":
    from continuon.ota.versions import parse_version  # noqa: PLC0415 - as below
    from continuon_cloud.ota.agent import AgentOptions  # noqa: PLC0415 - an optional library
    from continuon_cloud.ota.download import DownloadLimits  # noqa: PLC0415 - as above
    from continuon_cloud.ota.health import RobotCommand  # noqa: PLC0415 - as above
    from continuon_cloud.ota.install import InstallOptions  # noqa: PLC0415 - as above

    if software_version is None:
        raise typer.BadParameter("say which software this robot runs: --software-version 1.2.0")
    parse_version(software_version)
    health, timeout_s, activate = commands
    rate = options_of(limit_rate, wait=False).rate_bytes_per_s
    return AgentOptions(
        InstallOptions(
            software_version,
            RobotCommand(health, timeout_s, "ota.unhealthy") if health else None,
            RobotCommand(activate, timeout_s, "ota.activation") if activate else None,
            DownloadLimits(bytes_per_s=rate),
        ),
        interval_s=interval,
        state_file=files[0],
        tasks_file=files[1],
        timezone=files[2],
        assume_ready=assume_ready,
    )


def _run_agent(
    state: CliState, identity: RobotIdentity, options: "AgentOptions", *, once: bool
) -> None:
    from continuon_cloud.ota.agent import UpdateAgent  # noqa: PLC0415 - an optional library

    folder = _folder(state, identity.robot_id)

    async def work() -> "Round | None":
        async with ContinuonClient(state.settings(), robot=identity) as client:
            with UpdateAgent(client, folder, options) as running:
                if once:
                    return await running.round()
                await running.run(lambda done: _print_round(state.err, done))
                return None

    with _alone(folder):
        done = state.run(work())
    if done is not None:
        document = {"outcome": done.outcome, "detail": done.detail, "version": done.version}
        state.show(document, lambda out: _print_round(out, done))
        if done.outcome in {"failed", "refused", "unreachable"}:
            raise typer.Exit(_FAILED_CODE)


def recover(
    context: typer.Context, robot: RobotOption = None, *, _json: Annotated[bool, JSON] = False
) -> None:
    """Put `current` back on the bundle that has proven itself. Run it at boot, before the robot.

    It needs no network and no library, and changes nothing when nothing was cut short.
    """
    from continuon_cloud.ota.recovery import recover as put_back  # noqa: PLC0415 - of a robot only
    from continuon_cloud.ota.slots import Slots  # noqa: PLC0415 - as above
    from continuon_cloud.ota.state import AgentState  # noqa: PLC0415 - as above

    state = state_of(context)
    folder = _folder(state, RobotHome(state.settings().home).load(robot).robot_id)
    with _alone(folder), closing(AgentState(folder / "agent.db")) as kept:
        found = put_back(kept, Slots(folder))
    document = {"version": found.version if found else None, "slot": found.slot if found else None}
    words = f"{found.bundle_id} runs from slot {found.slot}." if found else "No bundle runs."
    state.show(document, lambda out: out.print(escape(words)))


def installed(
    context: typer.Context, robot: RobotOption = None, *, _json: Annotated[bool, JSON] = False
) -> None:
    """Show what this robot runs, where it is, and what waits to be reported."""
    from continuon_cloud.ota.slots import Slots  # noqa: PLC0415 - of a robot only
    from continuon_cloud.ota.state import AgentState  # noqa: PLC0415 - as above

    state = state_of(context)
    folder = _folder(state, RobotHome(state.settings().home).load(robot).robot_id)
    with closing(AgentState(folder / "agent.db")) as kept:
        found, trial, waiting = kept.committed(), kept.trial(), len(kept.reports())
    document: dict[str, Any] = {
        "bundle_id": found.bundle_id if found else None,
        "version": found.version if found else None,
        "sha256": found.sha256 if found else None,
        "path": str(folder / "current") if found else None,
        "slot": Slots(folder).current(),
        "trial": trial.installed.bundle_id if trial else None,
        "reports_waiting": waiting,
        "root_pinned": (folder / "root.json").exists(),
    }

    def human(out: Console) -> None:
        for name, value in document.items():
            if value is not None:
                out.print(f"  {name:16} {escape(str(value))}")

    state.show(document, human)


def trust(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A root, such as 1.root.json.")],
    robot: RobotOption = None,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Trust another root; forgets what was verified.")
    ] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Pin the root of trust on this robot. It must come on a way that you trust.

    For example:

      continuon ota trust 1.root.json
    """
    state = state_of(context)
    data = _read_root(file)
    folder = _folder(state, RobotHome(state.settings().home).load(robot).robot_id)
    pinned = folder / "root.json"
    with refusals(), _alone(folder):
        version = _checked_root(data)
        if pinned.exists() and pinned.read_bytes() != data:
            if not replace:
                raise UpdateError(
                    "another root is pinned on this robot",
                    code="identity.exists",
                    hint="Newer roots are found by themselves. --replace is for a lost root.",
                )
            _forget_verified(folder)
        replace_private(pinned, data)
    state.show(
        {"root_version": version, "pinned": str(pinned)},
        lambda out: out.print(f"This robot trusts root version {version}."),
    )


def _checked_root(data: bytes) -> int:
    from continuon.ota.trust.metadata import read_root, verify_role  # noqa: PLC0415 - a library

    root = read_root(data)
    verify_role(root, "root", root.signed)
    return int(root.signed.version)


def _forget_verified(folder: Path) -> None:
    import shutil  # noqa: PLC0415 - of this rare case only

    from continuon_cloud.ota.state import AgentState  # noqa: PLC0415 - of a robot only

    with closing(AgentState(folder / "agent.db")) as kept:
        kept.forget_floors()
    shutil.rmtree(folder / "metadata", ignore_errors=True)


def _read_root(file: Path | None) -> bytes:
    if file is None:
        raise typer.BadParameter("name the root of trust: --root 1.root.json")
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error


def _folder(state: CliState, robot_id: str) -> Path:
    return private_folder(state.settings().home / "ota" / robot_id)


@contextlib.contextmanager
def _alone(folder: Path) -> "Iterator[None]":
    try:
        with Lock(folder / "agent.lock"):
            yield
    except QueueBusyError as error:
        raise UpdateError(
            "another process updates this robot", code="queue.busy", hint="Wait for it to end."
        ) from error


def _print_round(out: Console, done: "Round") -> None:
    style = "red" if done.outcome == "failed" else "green" if done.outcome == "installed" else "dim"
    runs = done.version or "nothing"
    outcome = done.outcome.replace("_", " ")
    out.print(f"[{style}]{outcome}[/]: {escape(done.detail.rstrip('.'))}. Runs: {escape(runs)}.")
