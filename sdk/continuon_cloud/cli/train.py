"""`continuon train ...`."""

from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from continuon.contracts.training import (
    Backend,
    Job,
    JobRequest,
    JobStatus,
    JobType,
)
from continuon_cloud.cli import train_settings
from continuon_cloud.cli.exits import ExitCode
from continuon_cloud.cli.job_options import LabelOption, ParamOption, hyperparams_of, wrong_usage
from continuon_cloud.cli.jobs_render import (
    DEFAULT_METRIC,
    Rows,
    print_job,
    print_jobs,
    print_lineage,
    print_metrics,
)
from continuon_cloud.cli.jobs_watch import Followed, follow
from continuon_cloud.cli.state import JSON, CliState, state_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import UnreachableError

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train models on your episodes: start, follow, cancel and retry jobs.",
)

_START_ATTEMPTS = 3

JobArgument = Annotated[str, typer.Argument(help="Job id, as `train list` shows it.")]
WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help="Follow it to its end, with a plot.")
]
MetricOption = Annotated[str, typer.Option(help="Which number to draw.")]


@app.command()
def start(
    context: typer.Context,
    robot_model: Annotated[str, typer.Option(help="As in the robots' RURIs.")],
    kind: Annotated[JobType, typer.Option("--type", help="Why it is trained.")] = JobType.SEED,
    backend: Annotated[Backend, typer.Option(help="Where it runs.")] = Backend.PULL,
    label: LabelOption = None,
    *,
    min_quality: Annotated[float | None, typer.Option(help="Of the episodes, 0 to 1.")] = None,
    episode: Annotated[
        list[str] | None, typer.Option("--episode", help="Only these; may be given again.")
    ] = None,
    model_id: Annotated[str | None, typer.Option(help="Of which model it is a version.")] = None,
    model_base: Annotated[
        str | None, typer.Option(help="What a finetune starts from: MODEL@3, MODEL@production.")
    ] = None,
    hyperparams: Annotated[Path | None, typer.Option(help="A file with one JSON object.")] = None,
    param: ParamOption = None,
    cpu: Annotated[float, typer.Option(help="vCPUs.")] = 1.0,
    memory_mib: Annotated[int, typer.Option(help="MiB.")] = 2048,
    gpu_type: Annotated[str | None, typer.Option(help="The backend's own name of it.")] = None,
    gpu_count: Annotated[int, typer.Option(help="How many.")] = 0,
    timeout: Annotated[int | None, typer.Option(help="Seconds, over all attempts.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="US dollars; then it is stopped.")] = None,
    callback_url: Annotated[str | None, typer.Option(help="Told when it ends.")] = None,
    watch: WatchOption = False,
    metric: MetricOption = DEFAULT_METRIC,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Start a job over your validated episodes of a robot model.

    With --watch the command stays until the job has ended and its model is registered. Leaving it
    with Ctrl-C leaves the job running. Exit code 10: the job failed or was cancelled.

    For example:

      continuon train start --robot-model companion-v1 --min-quality 0.8 --backend subprocess -w
      continuon train start --robot-model companion-v1 --backend pull --backend-label colab
      continuon train start --robot-model companion-v1 -p max_steps=500 -p hidden=[32,32]
      continuon train start --robot-model companion-v1 --type finetune --model-base me@production
    """
    state = state_of(context)
    request = _request(
        type=kind,
        robot_model=robot_model,
        min_quality=min_quality,
        episode_ids=episode,
        model_id=model_id,
        model_base=model_base,
        hyperparams=hyperparams_of(hyperparams, param or []),
        backend=backend,
        backend_label=label,
        resources={
            "cpu": cpu,
            "memory_mib": memory_mib,
            "gpu_type": gpu_type,
            "gpu_count": gpu_count,
        },
        timeout_s=timeout,
        max_cost_usd=max_cost,
        callback_url=callback_url,
    )
    job = state.run(_start(state, request))
    _show_or_follow(state, job, watch=watch, metric=metric)


async def _start(state: CliState, request: JobRequest) -> Job:
    """Start a job; asked again after a lost answer, the service gives the same one."""
    key = uuid4().hex
    async with ContinuonClient(state.settings()) as client:
        for _ in range(_START_ATTEMPTS - 1):
            try:
                return await client.training.start(request, idempotency_key=key)
            except UnreachableError:
                continue
        return await client.training.start(request, idempotency_key=key)


def _request(**fields: Any) -> JobRequest:
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return JobRequest.model_validate(given)
    except ValidationError as error:
        raise wrong_usage(error) from error


def _show_or_follow(state: CliState, job: Job, *, watch: bool, metric: str) -> None:
    if not watch:
        state.show(job.model_dump(mode="json"), lambda out: print_job(out, job))
        return
    try:
        followed = state.run(_follow(state, job, metric))
    except KeyboardInterrupt:
        state.err.print(f"The job goes on. To see it again: continuon train show {job.job_id} -w")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    _finish(state, followed)


async def _follow(state: CliState, job: Job, metric: str) -> Followed:
    async with ContinuonClient(state.settings()) as client:
        return await follow(client, job, state.err, metric=metric, quiet=state.as_json)


def _finish(state: CliState, followed: Followed) -> None:
    job, version = followed.job, followed.version
    document = {
        "job": job.model_dump(mode="json"),
        "model_version": version.model_dump(mode="json") if version else None,
    }

    def human(out: Console) -> None:
        print_job(out, job)
        if version:
            print_lineage(out, version)

    state.show(document, human)
    _exit_by(job)


def _exit_by(job: Job) -> None:
    if job.status in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise typer.Exit(ExitCode.JOB_FAILED)


@app.command("list")
def list_(
    context: typer.Context,
    status: Annotated[JobStatus | None, typer.Option(help="Only these.")] = None,
    episode: Annotated[
        str | None, typer.Option("--episode", help="Only jobs that used this episode.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 100,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """List your jobs, newest first.

    For example:

      continuon train list --status running
      continuon train list --episode ep_1704384000000
    """
    state = state_of(context)

    async def collect() -> list[Job]:
        found: list[Job] = []
        async with ContinuonClient(state.settings()) as client:
            async for job in client.training.jobs(status=status, episode_id=episode):
                found.append(job)
                if len(found) == limit:
                    break
        return found

    jobs = state.run(collect())
    document = {"jobs": [job.model_dump(mode="json") for job in jobs]}
    state.show(document, lambda out: print_jobs(out, jobs))


@app.command()
def show(
    context: typer.Context,
    job_id: JobArgument,
    *,
    watch: WatchOption = False,
    metric: MetricOption = DEFAULT_METRIC,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show one job: where it is, what it costs, what came of it.

    For example:

      continuon train show job_7k2m9x4q1w8e5r6t3y0u --watch
    """
    state = state_of(context)

    async def get() -> Job:
        async with ContinuonClient(state.settings()) as client:
            return await client.training.job(job_id)

    _show_or_follow(state, state.run(get()), watch=watch, metric=metric)


@app.command()
def logs(
    context: typer.Context, job_id: JobArgument, *, _json: Annotated[bool, JSON] = False
) -> None:
    """Print what the trainer said.

    For example:

      continuon train logs job_7k2m9x4q1w8e5r6t3y0u
    """
    state = state_of(context)

    async def get() -> list[dict[str, Any]]:
        chunks: list[dict[str, Any]] = []
        after: str | None = None
        async with ContinuonClient(state.settings()) as client:
            while True:
                page = await client.training.logs(job_id, after=after)
                chunks += [chunk.model_dump(mode="json") for chunk in page.chunks]
                after = page.next_page_token
                if after is None or not page.chunks:
                    return chunks

    chunks = state.run(get())

    def human(out: Console) -> None:
        for chunk in chunks:
            out.print(escape(chunk["text"]), end="", soft_wrap=True)

    state.show({"job_id": job_id, "chunks": chunks}, human)


@app.command()
def metrics(
    context: typer.Context,
    job_id: JobArgument,
    metric: MetricOption = DEFAULT_METRIC,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Draw a job's metrics, train and held out, and print the last numbers.

    For example:

      continuon train metrics job_7k2m9x4q1w8e5r6t3y0u --metric improvement
    """
    state = state_of(context)

    async def get() -> Rows:
        rows = Rows()
        after: str | None = None
        async with ContinuonClient(state.settings()) as client:
            while True:
                page = await client.training.metrics(job_id, after=after)
                rows.add(page.rows)
                after = page.next_page_token
                if after is None or not page.rows:
                    return rows

    rows = state.run(get())
    document = {"job_id": job_id, "rows": rows.documents()}
    state.show(document, lambda out: print_metrics(out, rows, metric))


@app.command()
def cancel(
    context: typer.Context, job_id: JobArgument, *, _json: Annotated[bool, JSON] = False
) -> None:
    """Cancel a job. It stops where it runs; its checkpoints stay for a retry.

    For example:

      continuon train cancel job_7k2m9x4q1w8e5r6t3y0u
    """
    state = state_of(context)

    async def stop() -> Job:
        async with ContinuonClient(state.settings()) as client:
            return await client.training.cancel(job_id)

    job = state.run(stop())
    state.show(job.model_dump(mode="json"), lambda out: print_job(out, job))


@app.command()
def retry(
    context: typer.Context,
    job_id: JobArgument,
    *,
    watch: WatchOption = False,
    metric: MetricOption = DEFAULT_METRIC,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Start a new job like an ended one, from its last checkpoint.

    For example:

      continuon train retry job_7k2m9x4q1w8e5r6t3y0u --watch
    """
    state = state_of(context)

    async def again() -> Job:
        async with ContinuonClient(state.settings()) as client:
            return await client.training.retry(job_id)

    _show_or_follow(state, state.run(again()), watch=watch, metric=metric)


train_settings.register(app)
