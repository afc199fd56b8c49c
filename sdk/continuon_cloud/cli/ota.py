"""`continuon ota ...`."""

import typer

from continuon_cloud.cli import ota_rollout

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Bundles over the air: rollouts.",
)
app.add_typer(ota_rollout.app, name="rollout")
