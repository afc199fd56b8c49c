"""`continuon episode ...`, apart from the upload."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from continuon.contracts.episodes import Episode, EpisodeStatus
from continuon_cloud.cli.exits import ExitCode
from continuon_cloud.cli.render import print_episodes, print_report, size
from continuon_cloud.cli.state import JSON, CliState, confirm, state_of
from continuon_cloud.cli.upload import upload
from continuon_cloud.client import ContinuonClient
from continuon_cloud.download import DownloadedEpisode, download_episode
from continuon_cloud.errors import EpisodeSourceError

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Validate, upload, list, read, download and delete episodes.",
)
app.command()(upload)

EpisodeArgument = Annotated[str, typer.Argument(help="Episode id, as `episode list` shows it.")]


@app.command()
def validate(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Folders, archives or documents.")],
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Judge episodes on this machine, with the rules the cloud applies. Nothing is sent.

    Exit code 0 when all are valid, 4 when one is not. With --json, one path prints its report (the
    same object the cloud stores as report.json) and several print {"reports": [{path, report}]}.

    For example:

      continuon episode validate recordings/ep_1704384000000
      continuon episode validate *.tar.gz --json
    """
    # Imported here: the other commands start faster without the validator.
    from continuon.rlds import SourceError, validate_path  # noqa: PLC0415

    state = state_of(context)
    reports: list[tuple[Path, dict[str, Any]]] = []
    for path in paths:
        if not path.exists():
            raise EpisodeSourceError(f"{path} does not exist", code="source.missing")
        try:
            reports.append((path, json.loads(validate_path(path).to_json())))
        except SourceError as error:
            raise EpisodeSourceError(str(error), code="source.unreadable") from error

    def human(out: Console) -> None:
        for path, report in reports:
            print_report(out, str(path), report)

    if len(reports) == 1:
        state.show(reports[0][1], human)
    else:
        state.show({"reports": [{"path": str(p), "report": r} for p, r in reports]}, human)
    if any(report["verdict"] != "valid" for _, report in reports):
        raise typer.Exit(ExitCode.INVALID_EPISODE)


@app.command("list")
def list_(
    context: typer.Context,
    status: Annotated[EpisodeStatus | None, typer.Option(help="Only these.")] = None,
    robot: Annotated[str | None, typer.Option("--robot", help="Only this robot's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 100,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """List your episodes, newest first.

    For example:

      continuon episode list --status rejected --robot 14d4b680
    """
    state = state_of(context)

    async def collect() -> list[Episode]:
        found: list[Episode] = []
        async with ContinuonClient(state.settings()) as client:
            async for episode in client.episodes(status=status, robot_id=robot):
                found.append(episode)
                if len(found) == limit:
                    break
        return found

    episodes = state.run(collect())
    document = {"episodes": [episode.model_dump(mode="json") for episode in episodes]}
    state.show(document, lambda out: print_episodes(out, episodes))


@app.command()
def report(
    context: typer.Context, episode_id: EpisodeArgument, *, _json: Annotated[bool, JSON] = False
) -> None:
    """Show what validation found: verdict, quality, every problem with file and step.

    For example:

      continuon episode report ep_1704384000000
    """
    state = state_of(context)

    async def get() -> dict[str, Any]:
        async with ContinuonClient(state.settings()) as client:
            return await client.report(episode_id)

    found = state.run(get())
    state.show(found, lambda out: print_report(out, episode_id, found))


@app.command()
def download(
    context: typer.Context,
    episode_id: EpisodeArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; ./EPISODE_ID when left out.")
    ] = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Download an episode. Run it again after a break: it goes on where it stopped.

    For example:

      continuon episode download ep_1704384000000 -o data/
    """
    state = state_of(context)
    folder = output or Path(episode_id)
    got = state.run(_download(state, episode_id, folder))
    document = {
        "episode_id": got.episode_id,
        "folder": str(got.folder),
        "files": [str(file) for file in got.files],
        "size_bytes": got.size_bytes,
        "verified": got.verified,
    }
    state.show(
        document,
        lambda out: out.print(
            f"{len(got.files)} files, {size(got.size_bytes)}, in {escape(str(got.folder))} "
            f"(checked by {got.verified})"
        ),
    )


async def _download(state: CliState, episode_id: str, folder: Path) -> DownloadedEpisode:
    async with ContinuonClient(state.settings()) as client:
        with Progress(console=state.err, disable=state.as_json, transient=True) as progress:
            tasks: dict[str, Any] = {}

            def advance(path: str, have: int, total: int) -> None:
                if path not in tasks:
                    tasks[path] = progress.add_task(escape(path), total=total)
                progress.update(tasks[path], completed=have)

            return await download_episode(client, episode_id, folder, on_progress=advance)


@app.command()
def delete(
    context: typer.Context,
    episode_id: EpisodeArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Delete an episode and its files in the cloud, for good.

    For example:

      continuon episode delete ep_1704384000000 --yes
    """
    state = state_of(context)
    if not yes:
        confirm(f"Delete {episode_id} for good?")

    async def remove() -> None:
        async with ContinuonClient(state.settings()) as client:
            await client.delete_episode(episode_id)

    state.run(remove())
    state.show({"deleted": episode_id}, lambda out: out.print(f"Deleted {escape(episode_id)}."))
