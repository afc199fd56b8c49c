"""`continuon models alias ...`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from continuon.contracts.models import AliasChange, SetAliasRequest
from continuon_cloud.cli.job_options import wrong_usage
from continuon_cloud.cli.models_render import print_alias, print_history
from continuon_cloud.cli.state import JSON, state_of
from continuon_cloud.client import ContinuonClient

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Names that point at versions, such as production, and where they pointed when.",
)

ModelArgument = Annotated[str, typer.Argument(help="Model id.")]
AliasArgument = Annotated[str, typer.Argument(help="Such as production.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]


@app.command("set")
def set_(
    context: typer.Context,
    model_id: ModelArgument,
    alias: AliasArgument,
    version: Annotated[int, typer.Argument(min=1, help="Where it shall point.")],
    *,
    reason: ReasonOption,
    expect: Annotated[
        int | None,
        typer.Option(min=0, help="Refuse unless it points there now; 0 for nowhere."),
    ] = None,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Point an alias at a version.

    With --expect, two people who move it at the same time do not undo each other.

    For example:

      continuon models alias set companion-v1 production 3 --reason "best on held-out" --expect 2
    """
    state = state_of(context)
    try:
        request = SetAliasRequest(version=version, reason=reason, expected_version=expect)
    except ValidationError as error:
        raise wrong_usage(error) from error

    async def move() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await client.models.set_alias(model_id, alias, request)

    moved = state.run(move())
    state.show(moved.model_dump(mode="json"), lambda out: print_alias(out, moved))


@app.command()
def get(
    context: typer.Context,
    model_id: ModelArgument,
    alias: AliasArgument,
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"],
            help="A moment, in UTC unless it says its zone; now when left out.",
        ),
    ] = None,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Say where an alias points, or pointed at a moment.

    For example:

      continuon models alias get companion-v1 production --at 2026-11-20T14:30:00
    """
    state = state_of(context)
    moment = at.replace(tzinfo=UTC) if at and at.tzinfo is None else at

    async def find() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await client.models.alias(model_id, alias, at=moment)

    found = state.run(find())
    state.show(found.model_dump(mode="json"), lambda out: print_alias(out, found))


@app.command()
def history(
    context: typer.Context,
    model_id: ModelArgument,
    alias: AliasArgument,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """List every change of an alias, newest first: when, who, why.

    For example:

      continuon models alias history companion-v1 production
    """
    state = state_of(context)

    async def collect() -> list[AliasChange]:
        changes: list[AliasChange] = []
        token: str | None = None
        async with ContinuonClient(state.settings()) as client:
            while True:
                page = await client.models.alias_history(model_id, alias, page_token=token)
                changes += page.changes
                token = page.next_page_token
                if token is None:
                    return changes

    changes = state.run(collect())
    document = {
        "model_id": model_id,
        "alias": alias,
        "changes": [change.model_dump(mode="json") for change in changes],
    }
    state.show(document, lambda out: print_history(out, changes))


@app.command()
def remove(
    context: typer.Context,
    model_id: ModelArgument,
    alias: AliasArgument,
    reason: ReasonOption,
    *,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Let an alias point nowhere. Its history stays.

    For example:

      continuon models alias remove companion-v1 canary --reason "trial is over"
    """
    state = state_of(context)

    async def take_away() -> Any:
        async with ContinuonClient(state.settings()) as client:
            return await client.models.remove_alias(model_id, alias, reason)

    removed = state.run(take_away())
    state.show(removed.model_dump(mode="json"), lambda out: print_alias(out, removed))
