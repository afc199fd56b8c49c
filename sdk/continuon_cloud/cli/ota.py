"""`continuon ota ...`."""

import typer

from continuon_cloud.cli import ota_agent, ota_keys, ota_publish, ota_rollout

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Updates over the air: keys, signed bundles, rollouts, and the robot's agent.",
)
app.add_typer(ota_keys.app, name="keys")
app.add_typer(ota_rollout.app, name="rollout")
ota_publish.register(app)
ota_agent.register(app)
