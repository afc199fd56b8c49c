"""The command line: arguments, progress, and typed errors as one line and a status."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from behaviour_cloning.config import Config, read_config
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.run import DEFAULT_NETWORK, Hooks, Outcome, train
from continuon_cloud.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from behaviour_cloning.network import NetworkFactory
    from continuon_cloud.training import TrainerJob

FAILED: Final = 1
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trainer and return the exit status: 0 done, 1 refused or failed, 2 wrong usage.

    As a job, the exit status is that of contract 1; see docs/trainers.md.
    """
    options = _options(arguments)
    if options.job:
        return _run_job(options)
    console = Console(stderr=True, highlight=False)
    try:
        outcome = _run(options, console)
    except (TrainerError, ClientError) as error:
        console.print(f"[red]{escape(error.code)}[/red]: {escape(str(error))}", soft_wrap=True)
        if error.hint:
            console.print(escape(error.hint), soft_wrap=True)
        return FAILED
    except KeyboardInterrupt:
        console.print("Stopped. The same command with --resume goes on from the last checkpoint.")
        return INTERRUPTED
    _show(console, outcome)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    by_hand = ("episodes", "out", "config", "resume", "base")
    if options.job and any(getattr(options, name) for name in by_hand):
        parser.error("--job takes everything from the cloud; only --network goes with it")
    if not options.job and not (options.episodes and options.out):
        parser.error("give --episodes and --out, or --job")
    return options


def _run_job(options: argparse.Namespace) -> int:
    # Imported here: a training by hand needs no HTTP client.
    from behaviour_cloning.job import run_job  # noqa: PLC0415
    from continuon_cloud.training import run_trainer  # noqa: PLC0415

    def work(job: TrainerJob) -> None:
        run_job(job, factory=_factory(options.network), network_name=options.network)

    return run_trainer(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m behaviour_cloning",
        description="Train a small policy on recorded proprioception and actions.",
    )
    parser.add_argument(
        "--episodes",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="episodes: folders, archives, documents, or folders of these",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="what is written")
    parser.add_argument(
        "--job", action="store_true", help="work on the cloud's job that the environment names"
    )
    parser.add_argument("--config", type=Path, metavar="JSON", help="see docs/trainers.md")
    parser.add_argument(
        "--network", default=DEFAULT_NETWORK, metavar="MODULE:NAME", help="another network"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out, bit for bit"
    )
    parser.add_argument(
        "--base", type=Path, metavar="NPZ", help="start from this model's weights and units"
    )
    return parser


def _run(options: argparse.Namespace, console: Console) -> Outcome:
    config = read_config(options.config) if options.config else Config()
    factory = _factory(options.network)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("training", total=config.max_steps)

        def advance(step: int, loss: float) -> None:
            progress.update(task, completed=step, description=f"loss {loss:.4f}")

        return train(
            options.episodes,
            options.out,
            config=config,
            factory=factory,
            network_name=options.network,
            resume=options.resume,
            base=options.base,
            hooks=Hooks(on_step=advance),
        )


def _factory(name: str) -> NetworkFactory:
    module, _, attribute = name.partition(":")
    try:
        found: NetworkFactory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"there is no network {name!r}: {error}"
        raise TrainerError(message, code="trainer.network_invalid") from error
    return found


def _show(console: Console, outcome: Outcome) -> None:
    show: Callable[[str], None] = console.print
    for name in ("train", "held_out"):
        figures = outcome.result[name]
        show(
            f"{name}: loss {_figure(figures['loss'])}, mean action "
            f"{_figure(figures['baseline_loss'])}, {figures['episodes']} episodes"
        )
    show(f"{outcome.result['verdict']}: {escape(outcome.result['reason'])}")
    show(escape(str(outcome.folder)))


def _figure(figure: dict[str, object]) -> str:
    mean, interval = figure["mean"], figure["interval"]
    shown = f"{mean:.4f}" if isinstance(mean, float) else "none"
    if isinstance(interval, list):
        shown += f" ({interval[0]:.4f} to {interval[1]:.4f})"
    return shown
