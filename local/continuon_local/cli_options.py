"""What the command line's options mean, shared by its subcommands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from continuon_local.hub.client import HubClient
from continuon_local.running import read_running
from continuon_local.settings import DEFAULT_PORTS

__all__ = [
    "DataDir",
    "Json",
    "Root",
    "chosen_ports",
    "project_root",
    "running_cloud",
    "running_hub",
]

Root = Annotated[
    Path | None, typer.Option(help="The folder with firebase.json (default: nearest above).")
]
DataDir = Annotated[
    Path | None, typer.Option(help="The running cloud's data folder (default: ROOT/.continuon).")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_MAX_PORT = 65535


def project_root(root: Path | None) -> Path:
    """Return ``root``, or the nearest folder above this one with ``firebase.json``, or this one."""
    if root is not None:
        return root.resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "firebase.json").exists():
            return folder
    return here


def chosen_ports(ports: str, base: int | None) -> dict[str, int]:
    """Return the port of each service for ``--ports`` and ``--port-base``."""
    if base is not None:
        if not 0 < base <= _MAX_PORT - len(DEFAULT_PORTS):
            raise typer.BadParameter("not a usable port", param_hint="--port-base")
        return {name: base + index for index, name in enumerate(DEFAULT_PORTS)}
    if ports == "auto":
        return dict.fromkeys(DEFAULT_PORTS, 0)
    if ports == "default":
        return dict(DEFAULT_PORTS)
    raise typer.BadParameter("'default' or 'auto'", param_hint="--ports")


def running_cloud(root: Path | None, data_dir: Path | None) -> dict[str, Any]:
    """Return what the running local cloud wrote about itself.

    Raises:
        LocalCloudError: None runs.
    """
    return read_running((data_dir or project_root(root) / ".continuon").resolve())


def running_hub(root: Path | None, data_dir: Path | None) -> HubClient:
    """Return a client of the running local cloud's hub.

    Raises:
        LocalCloudError: None runs.
    """
    return HubClient(running_cloud(root, data_dir)["urls"]["hub"])
