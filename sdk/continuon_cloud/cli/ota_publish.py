"""`continuon ota publish` and `continuon ota withdraw`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from continuon.contracts.models import ModelVersion
from continuon_cloud.cli.ota_keys import DEFAULT_KEYS
from continuon_cloud.cli.ota_library import (
    KeysOption,
    PassphraseFileOption,
    PlainOption,
    passphrase_of,
    refusals,
)
from continuon_cloud.cli.render import size
from continuon_cloud.cli.state import JSON, CliState, confirm, state_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.models import download_model

if TYPE_CHECKING:
    from continuon_cloud.ota.publishing import BundlePlan

__all__ = ["register"]

RobotModelOption = Annotated[str, typer.Option("--robot-model", help="As in a robot's RURI.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(publish)
    app.command()(withdraw)


def publish(
    context: typer.Context,
    *,
    robot_model: RobotModelOption,
    model: Annotated[str | None, typer.Option(help="In the model registry.")] = None,
    version: Annotated[
        str | None, typer.Option(help="Of that model: a number, or an alias such as production.")
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(help="Version of the bundle (PEP 440); the model's number when left out."),
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--file", help="Instead of --model; with --release.")
    ] = None,
    requires: Annotated[
        str, typer.Option(help="What the robot's software must be, as in '>=1.0.0,<2'.")
    ] = "",
    card: Annotated[Path | None, typer.Option(help="Model card; else one is made.")] = None,
    dependencies: Annotated[
        Path | None, typer.Option(help="Pinned requirements, as `pip freeze` writes them.")
    ] = None,
    code_digest: Annotated[str | None, typer.Option(help="Of the training code.")] = None,
    fallback: Annotated[
        list[str] | None,
        typer.Option(help="Version to go back to; else the last three of production."),
    ] = None,
    no_fallback: Annotated[
        bool, typer.Option("--no-fallback", help="Only to what a robot itself ran before.")
    ] = False,
    keys: KeysOption = DEFAULT_KEYS,
    passphrase_file: PassphraseFileOption = None,
    no_passphrase: PlainOption = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Only build the bundle into this file.")
    ] = None,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Build a bundle, upload it, and list it under the publisher's signature. For operators.

    Repeating it changes nothing. No robot installs it before a rollout is started. For example:

      continuon ota publish --model grasp --version 3 --robot-model companion-v1
      continuon ota publish --file policy.npz --release 1.4.0 --robot-model companion-v1
    """
    state = state_of(context)
    _check_source(model, version, release, file)
    passphrase = None if output else passphrase_of(passphrase_file, plain=no_passphrase)
    chosen = [] if no_fallback else fallback or None

    async def work() -> dict[str, Any]:
        from continuon_cloud.ota.key_folder import KeyFolder  # noqa: PLC0415 - optional library
        from continuon_cloud.ota.publishing import (  # noqa: PLC0415 - optional library
            BundlePlan,
            build_bundle,
            publish_bundle,
            read_dependencies,
        )

        with tempfile.TemporaryDirectory() as folder:
            async with ContinuonClient(state.settings()) as client:
                files, known = await _source(client, model, version, file, Path(folder) / "model")
                plan = BundlePlan(
                    version=release or str(known.version if known else ""),
                    robot_model=robot_model,
                    requires_version=requires,
                    files=files,
                    card=card,
                    model=known,
                    code_digest=code_digest,
                    dependencies=tuple(read_dependencies(dependencies) if dependencies else ()),
                )
                back: tuple[str, ...] = ()
                archive = output or Path(folder) / "bundle"
                built = build_bundle(plan, archive)
                if output is None:
                    folder_of_keys = KeyFolder(keys, passphrase)
                    back = await publish_bundle(
                        client, folder_of_keys, keys, archive, built, fallback=chosen
                    )
        return {**_document(plan, built[1].size_bytes, built[1].sha256), "fallback": list(back)}

    with refusals():
        document = state.run(work())
    _show(state, document, output)


def withdraw(
    context: typer.Context,
    robot_model: RobotModelOption,
    version: Annotated[str, typer.Option(help="Of the bundle.")],
    keys: KeysOption = DEFAULT_KEYS,
    passphrase_file: PassphraseFileOption = None,
    *,
    no_passphrase: PlainOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Take a bundle back by signature: nobody installs it, and who runs it may go lower.

    A rollout is stopped with `ota rollout halt`; this is for a bundle that must not run at all.
    """
    state = state_of(context)
    if not yes:
        confirm(f"Withdraw {robot_model} {version}?")
    passphrase = passphrase_of(passphrase_file, plain=no_passphrase)

    async def work() -> None:
        from continuon_cloud.ota.key_folder import KeyFolder  # noqa: PLC0415 - optional library
        from continuon_cloud.ota.publishing import withdraw_bundle  # noqa: PLC0415 - as above

        async with ContinuonClient(state.settings()) as client:
            folder = KeyFolder(keys, passphrase)
            await withdraw_bundle(client, folder, keys, robot_model, version)

    with refusals():
        state.run(work())
    state.show(
        {"robot_model": robot_model, "withdrawn": version},
        lambda out: out.print(f"{escape(robot_model)} {escape(version)} is withdrawn."),
    )


def _check_source(
    model: str | None, version: str | None, release: str | None, file: list[Path] | None
) -> None:
    if file:
        if model or version or not release:
            raise typer.BadParameter("--file goes with --release, and without --model")
    elif not (model and version):
        raise typer.BadParameter("give --model and --version, or --file and --release")


async def _source(
    client: ContinuonClient,
    model: str | None,
    version: str | None,
    files: list[Path] | None,
    folder: Path,
) -> tuple[tuple[Path, ...], ModelVersion | None]:
    if files:
        return tuple(files), None
    if model is None or version is None:
        raise AssertionError("the options were checked")
    found = await download_model(client, model, version, folder)
    return (found.path,), await client.models.version(model, found.version)


def _document(plan: "BundlePlan", size_bytes: int, sha256: str) -> dict[str, Any]:
    return {
        "bundle_id": f"{plan.robot_model}-{plan.version}",
        "version": plan.version,
        "robot_model": plan.robot_model,
        "requires_version": plan.requires_version,
        "size_bytes": size_bytes,
        "sha256": sha256,
    }


def _show(state: CliState, document: dict[str, Any], output: Path | None) -> None:
    def human(out: Console) -> None:
        done = f"is built into {output}" if output else "is published"
        out.print(f"[bold]{escape(document['bundle_id'])}[/] {escape(done)}.")
        out.print(f"  {size(document['size_bytes'])}, sha256 {document['sha256']}")
        if output is None:
            ways = ", ".join(document["fallback"]) or "what they ran before"
            out.print(f"  robots may go back from it to {escape(ways)}")
            out.print(f"Next: continuon ota rollout start {escape(document['bundle_id'])}")

    state.show(document, human)
