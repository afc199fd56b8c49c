"""`continuon models ...`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from continuon.contracts.models import Model, VersionStage, VersionStatus, VersionSummary
from continuon_cloud.cli import model_aliases
from continuon_cloud.cli.job_options import wrong_usage
from continuon_cloud.cli.models_render import (
    print_lineage,
    print_model,
    print_models,
    print_version,
    print_versions,
)
from continuon_cloud.cli.render import size
from continuon_cloud.cli.state import JSON, CliState, confirm, state_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.models import (
    DownloadedModel,
    download_model,
    model_versions_of_episode,
    register_model,
)

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Models and their versions: what was trained, of what, and which one robots run.",
)
app.add_typer(model_aliases.app, name="alias")

_SHOWN_VERSIONS = 5

ModelArgument = Annotated[str, typer.Argument(help="Model id, as `models list` shows it.")]
VersionArgument = Annotated[
    str, typer.Argument(help="MODEL@3, MODEL@production, or MODEL for the model itself.")
]


def _split(reference: str) -> tuple[str, str | None]:
    model_id, at, version = reference.partition("@")
    if not model_id or (at and not version):
        raise typer.BadParameter(f"{reference!r} is neither MODEL nor MODEL@VERSION")
    return model_id, version or None


def _whole(reference: str) -> tuple[str, str]:
    model_id, version = _split(reference)
    if version is None:
        raise typer.BadParameter(f"which version? {model_id}@3, or {model_id}@production")
    return model_id, version


def _number(reference: str) -> tuple[str, int]:
    model_id, version = _whole(reference)
    if not (version.isascii() and version.isdigit()):
        raise typer.BadParameter(f"{version!r} is no number; an alias may have moved meanwhile")
    return model_id, int(version)


@app.command("list")
def list_(context: typer.Context, *, _json: Annotated[bool, JSON] = False) -> None:
    """List your models, newest first.

    For example:

      continuon models list
    """
    state = state_of(context)

    async def collect() -> list[Model]:
        async with ContinuonClient(state.settings()) as client:
            return [model async for model in client.models.owned()]

    models = state.run(collect())
    document = {"models": [model.model_dump(mode="json") for model in models]}
    state.show(document, lambda out: print_models(out, models))


@app.command()
def show(
    context: typer.Context,
    reference: VersionArgument,
    *,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="What it was made of, and what was made of it.")
    ] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show a model, or one version of it; with --lineage and no version, its newest.

    For example:

      continuon models show companion-v1
      continuon models show companion-v1@production --lineage
    """
    state = state_of(context)
    model_id, version = _split(reference)
    if version is None and not lineage:
        _show_model(state, model_id)
    else:
        _show_version(state, model_id, version, lineage=lineage)


def _show_model(state: CliState, model_id: str) -> None:
    async def get() -> tuple[Any, Any, list[VersionSummary]]:
        async with ContinuonClient(state.settings()) as client:
            model = await client.models.get(model_id)
            aliases = (await client.models.aliases(model_id)).aliases
            newest: list[VersionSummary] = []
            async for version in client.models.versions(model_id):
                newest.append(version)
                if len(newest) == _SHOWN_VERSIONS:
                    break
            return model, aliases, newest

    model, aliases, newest = state.run(get())
    document = {
        **model.model_dump(mode="json"),
        "aliases": [alias.model_dump(mode="json") for alias in aliases],
        "newest_versions": [version.model_dump(mode="json") for version in newest],
    }
    state.show(document, lambda out: print_model(out, model, aliases, newest))


async def _newest(client: ContinuonClient, model_id: str) -> str:
    async for one in client.models.versions(model_id):
        if one.status is VersionStatus.READY:
            return str(one.version)
    raise typer.BadParameter(f"{model_id} has no version that is ready")


def _show_version(state: CliState, model_id: str, version: str | None, *, lineage: bool) -> None:
    async def get() -> tuple[Any, list[VersionSummary]]:
        async with ContinuonClient(state.settings()) as client:
            wanted = version or await _newest(client, model_id)
            found = await client.models.version(model_id, wanted)
            if not lineage:
                return found, []
            built_on_it = client.models.find(model_base=found.model_ref)
            return found, [one async for one in built_on_it]

    found, descendants = state.run(get())
    document = found.model_dump(mode="json")
    if lineage:
        document["descendants"] = [one.model_dump(mode="json") for one in descendants]

    def human(out: Console) -> None:
        if lineage:
            print_lineage(out, found, descendants)
        else:
            print_version(out, found)

    state.show(document, human)


@app.command()
def versions(
    context: typer.Context,
    model_id: ModelArgument,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """List a model's versions, newest first, with metrics and downloads.

    For example:

      continuon models versions companion-v1
    """
    state = state_of(context)

    async def collect() -> list[VersionSummary]:
        async with ContinuonClient(state.settings()) as client:
            return [version async for version in client.models.versions(model_id)]

    _show_versions(state, state.run(collect()))


@app.command("used-by")
def used_by(
    context: typer.Context,
    episode_id: Annotated[str, typer.Argument(help="Episode id, as `episode list` shows it.")],
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """List the versions, of all your models, that an episode was used for.

    For example:

      continuon models used-by ep_1704384000000
    """
    state = state_of(context)

    async def collect() -> list[VersionSummary]:
        async with ContinuonClient(state.settings()) as client:
            return await model_versions_of_episode(client, episode_id)

    _show_versions(state, state.run(collect()))


def _show_versions(state: CliState, found: list[VersionSummary]) -> None:
    document = {"versions": [version.model_dump(mode="json") for version in found]}
    state.show(document, lambda out: print_versions(out, found))


@app.command()
def register(
    context: typer.Context,
    model_id: Annotated[str, typer.Argument(help="Lower-case letters, digits, '.', '_', '-'.")],
    file: Annotated[Path, typer.Argument(help="The artifact: one file.")],
    *,
    robot_model: Annotated[
        str | None, typer.Option(help="As in the robots' RURIs; makes the model if there is none.")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="The file's extension when left out.")
    ] = None,
    stage: Annotated[VersionStage, typer.Option(help="What it is.")] = VersionStage.PRODUCTION,
    metric: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER; repeatable.")] = None,
    require: Annotated[list[str] | None, typer.Option(help="NAME=WHAT; repeatable.")] = None,
    episode: Annotated[
        list[str] | None, typer.Option(help="An episode it was trained on; repeatable.")
    ] = None,
    episodes_from: Annotated[
        Path | None, typer.Option(help="A file with one episode id on each line.")
    ] = None,
    model_base: Annotated[
        str | None, typer.Option(help="What it was trained on top of: models/ID/versions/N.")
    ] = None,
    notes: Annotated[str, typer.Option(help="Release notes.")] = "",
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Upload a file as the next version of a model.

    The cloud reads it and compares its SHA-256 before the version can be used. Run the same
    command again after a break: it finishes the same version.

    For example:

      continuon models register companion-v1 policy.npz --robot-model companion-v1
      continuon models register companion-v1 policy.onnx --metric loss=0.12 --notes "more grasps"
    """
    state = state_of(context)
    episodes = [*(episode or []), *_lines(episodes_from)]

    async def send() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await register_model(
                client,
                model_id,
                file,
                robot_model=robot_model,
                format=format_,
                stage=stage,
                metrics=_metrics(metric or []),
                requirements=_pairs(require or [], "--require"),
                episode_ids=episodes,
                model_base=model_base,
                release_notes=notes,
            )

    try:
        made = state.run(send())
    except ValidationError as error:
        raise wrong_usage(error) from error
    state.show(made.model_dump(mode="json"), lambda out: print_version(out, made))


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    pairs = dict[str, str]()
    for text in texts:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        pairs[name] = value
    return pairs


def _metrics(texts: list[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in _pairs(texts, "--metric").items()}
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--metric") from error


@app.command()
def download(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(help="MODEL@3 or MODEL@production.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; ./MODEL/VERSION when left out.")
    ] = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Download a version and compare its SHA-256. After a break it goes on where it stopped.

    For example:

      continuon models download companion-v1@production -o models/
    """
    state = state_of(context)
    model_id, version = _whole(reference)
    got = state.run(_download(state, model_id, version, output))
    document = {
        "model_id": got.model_id,
        "version": got.version,
        "file": str(got.path),
        "size_bytes": got.size_bytes,
        "checksum": got.checksum,
    }
    state.show(
        document,
        lambda out: out.print(
            f"{escape(got.model_id)}@{got.version}, {size(got.size_bytes)}, in "
            f"{escape(str(got.path))} (checked by sha256)"
        ),
    )


async def _download(
    state: CliState, model_id: str, version: str, output: Path | None
) -> DownloadedModel:
    folder = output or Path(model_id) / version
    async with ContinuonClient(state.settings()) as client:
        with Progress(console=state.err, disable=state.as_json, transient=True) as progress:
            tasks: dict[str, Any] = {}

            def advance(path: str, have: int, total: int) -> None:
                if path not in tasks:
                    tasks[path] = progress.add_task(escape(path), total=total)
                progress.update(tasks[path], completed=have)

            return await download_model(client, model_id, version, folder, on_progress=advance)


@app.command()
def notes(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(help="MODEL@3.")],
    text: Annotated[str, typer.Argument(help="What is said about this version.")],
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Write a version's release notes. Everything else about a version is fixed.

    For example:

      continuon models notes companion-v1@3 "Fewer dropped cups; slower on stairs."
    """
    state = state_of(context)
    model_id, version = _number(reference)

    async def write() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await client.models.write_notes(model_id, version, text)

    written = state.run(write())
    state.show(written.model_dump(mode="json"), lambda out: print_version(out, written))


@app.command()
def delete(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(help="MODEL@3.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Delete a version's artifact for good. Refused while an alias points at it.

    Its number is never given out again, and what it was made of can still be read.

    For example:

      continuon models delete companion-v1@3 --yes
    """
    state = state_of(context)
    model_id, version = _number(reference)
    if not yes:
        confirm(f"Delete the artifact of {model_id}@{version} for good?")

    async def remove() -> None:
        async with ContinuonClient(state.settings()) as client:
            await client.models.delete(model_id, version)

    state.run(remove())
    name = f"{model_id}@{version}"
    state.show({"deleted": name}, lambda out: out.print(f"Deleted {escape(name)}."))
