"""`continuon webhooks ...`."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from continuon.contracts.webhooks import WebhookDelivery
from continuon_cloud.cli.render import columns, state_text
from continuon_cloud.cli.state import JSON, state_of
from continuon_cloud.client import ContinuonClient

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Callbacks that tell your own service when a training job has ended.",
)


@app.command("new-secret")
def new_secret(context: typer.Context, *, _json: Annotated[bool, JSON] = False) -> None:
    """Make the secret that callbacks are signed with. It is shown this once.

    The one before it signs for 24 hours more, so that receivers can be changed one by one.

    For example:

      continuon webhooks new-secret
      continuon train start --callback-url https://example.com/hook --robot-model companion-v1
    """
    state = state_of(context)

    async def make() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await client.webhooks.new_secret()

    made = state.run(make())

    def human(out: Console) -> None:
        out.print(escape(made.secret), soft_wrap=True)
        out.print("Keep it now: it is not shown again. Receivers call verify_webhook with it.")

    state.show(made.model_dump(mode="json"), human)


@app.command()
def secrets(context: typer.Context, *, _json: Annotated[bool, JSON] = False) -> None:
    """List the secrets that sign now, by their ids.

    For example:

      continuon webhooks secrets
    """
    state = state_of(context)

    async def get() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await client.webhooks.secrets()

    found = state.run(get())

    def human(out: Console) -> None:
        if not found.keys:
            out.print("No secret. Make one: continuon webhooks new-secret")
            return
        table = columns("key", "made", "signs until")
        for key in found.keys:
            until = f"{key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "it is replaced"
            table.add_row(key.key_id, f"{key.created_at:%Y-%m-%d %H:%M}", until)
        out.print(table)

    state.show(found.model_dump(mode="json"), human)


@app.command()
def deliveries(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(help="Job id, as `train list` shows it.")],
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Show what became of a job's callback: each attempt with the receiver's answer.

    For example:

      continuon webhooks deliveries job_7k2m9x4q1w8e5r6t3y0u
    """
    state = state_of(context)

    async def get() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await client.webhooks.deliveries(job_id)

    found = state.run(get())

    def human(out: Console) -> None:
        if not found.deliveries:
            out.print("None: the job has not ended, or was started without --callback-url.")
        for delivery in found.deliveries:
            _print_delivery(out, delivery)

    state.show(found.model_dump(mode="json"), human)


def _print_delivery(out: Console, delivery: WebhookDelivery) -> None:
    out.print(
        f"[bold]{escape(delivery.delivery_id)}[/] {state_text(delivery.status.value)} "
        f"{escape(delivery.event)} to {escape(delivery.url)}"
    )
    for attempt in delivery.history:
        answer = "no answer" if attempt.status is None else f"HTTP {attempt.status}"
        why = f": {attempt.error}" if attempt.error else ""
        out.print(f"  {attempt.at:%Y-%m-%d %H:%M:%S} {answer}{escape(why)}")
    if delivery.next_attempt_at is not None and delivery.status.value == "pending":
        out.print(f"  next attempt {delivery.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC")
