"""The main job end to end, as a robotics engineer would do it, on a local cloud that is up.

``make demo`` runs it: an account, two robots claimed by it, real recordings uploaded through
signed URLs (one over a connection that breaks half-way, one of them corrupt), validated by the
event that their upload raises; a job over them that ends in a registered model; then what is
stored, and what it would cost. It uses the same `continuon` command as anybody would, and fails
loudly when anything is not as it should be.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from flaky_proxy import FlakyProxy
from google.cloud import firestore
from google.cloud.storage import Client as StorageClient
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

EPISODES = Path(__file__).resolve().parent / "episodes"
CONTINUON = shutil.which("continuon", path=str(Path(sys.executable).parent)) or "continuon"
PASSWORD = "a password for one minute"  # noqa: S105 - an account of a cloud that is thrown away

ROBOTS = {
    "3a671f80": "rcan://continuon.cloud/mujoco/reacher-2dof/3a671f80",
    "b1d9e250": "rcan://continuon.cloud/trossen/widowx-250/b1d9e250",
}
HEALTHY = {
    "3a671f80": ["recorded/valid/s_reacher"],
    "b1d9e250": ["fetched/bridge/bridge_00", "fetched/bridge/bridge_03"],
}
OVER_A_BROKEN_LINK = "recorded/valid/reacher"
ARM = "widowx-250"
CORRUPT = "recorded/invalid/time_backwards"
BREAK_FROM_BYTES = 20_000
EXPECTED = {"validated": 4, "rejected": 1}

console = Console()


class DemoError(Exception):
    """Something is not as it should be."""


def check(condition: bool, complaint: str) -> None:  # noqa: FBT001 - reads as an assertion
    """Stop the demo unless ``condition`` holds.

    Raises:
        DemoError: It does not.
    """
    if not condition:
        raise DemoError(complaint)


def say(heading: str) -> None:
    """Print a heading."""
    console.print()
    console.print(Rule(f"[bold]{heading}", align="left", style="dim"))


async def continuon(
    *arguments: str, stdin: str = "", env: dict[str, str] | None = None, accept: int = 0
) -> None:
    """Show a command, run it, and check its exit status."""
    shown = " ".join(_short(argument) for argument in arguments)
    console.print(f"[cyan]$ continuon {shown}", highlight=False)
    process = await asyncio.create_subprocess_exec(
        CONTINUON,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    await process.communicate(stdin.encode())
    check(process.returncode == accept, f"`continuon {shown}` ended with {process.returncode}")


def continuon_json(*arguments: str) -> Any:
    """Run a command for its JSON document."""
    done = subprocess.run(
        [CONTINUON, *arguments, "--json"], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def _short(argument: str) -> str:
    return argument.removeprefix(f"{EPISODES.parent.parent}/")


def path_of(name: str) -> str:
    """Return the path of an example episode."""
    return str(EPISODES / name)


async def sign_up_and_claim() -> None:
    """Make an account, and two robots that are its own."""
    say("An account, and two robots that prove whom they belong to")
    login = ("login", "--email", "ada@example.com", "--password-stdin", "--create")
    await continuon(*login, stdin=PASSWORD)
    for robot_id, ruri in ROBOTS.items():
        await continuon("robot", "init", "--ruri", ruri)
        await continuon("robot", "claim", "--robot", robot_id)


async def upload() -> None:
    """Upload healthy recordings, one of them over a link that breaks, and a corrupt one."""
    say("Recordings go up; each upload raises the event that validates it")
    for robot_id, names in HEALTHY.items():
        await continuon("episode", "upload", *map(path_of, names), "--robot", robot_id)

    say("Over a connection that breaks half-way, it goes on where it stopped")
    async with FlakyProxy(break_from_bytes=BREAK_FROM_BYTES) as proxy:
        broken = ("episode", "upload", path_of(OVER_A_BROKEN_LINK), "--robot", "3a671f80")
        environment = {"HTTP_PROXY": proxy.url, "NO_PROXY": ""}
        await continuon(*broken, "--resumable", env=environment)
        check(proxy.breaks == 1, "the connection was not broken")
    console.print("The link was cut once, in the middle of the file.", style="green")

    say("A corrupt recording: the robot knows before, the cloud says the same")
    await continuon("episode", "validate", path_of(CORRUPT), accept=4)
    await continuon("episode", "upload", path_of(CORRUPT), "--robot", "3a671f80", accept=4)


def _names_under(folder: str) -> set[str]:
    return {path.name for path in Path(folder).rglob("*")}


def metered_operations() -> dict[str, int]:
    """Return what the local cloud's meter has counted."""
    hub = os.environ["FIREBASE_EMULATOR_HUB"]
    totals: dict[str, int] = httpx.get(f"http://{hub}/meter").raise_for_status().json()["totals"]
    return totals


async def download() -> None:
    """Download a validated episode and compare it with what the robot recorded."""
    say("Its owner downloads an episode")
    with tempfile.TemporaryDirectory() as folder:
        await continuon("episode", "download", "ep_1690000000000", "-o", folder)
        check("episode.tar.gz" in _names_under(folder), "the download holds no episode")


async def train() -> None:
    """Train on what the arm recorded, and ask the model which episodes made it."""
    say("A job learns from the arm's episodes and ends in a registered model")
    start = ("train", "start", "--robot-model", ARM, "--min-quality", "0.8")
    short = ("-p", "max_steps=400", "-p", "checkpoint_every=200")
    await continuon(*start, "--backend", "subprocess", *short, "--watch")
    versions = continuon_json("models", "used-by", "ep_1690000000000")["versions"]
    check(len(versions) == 1, f"expected one version of a model, found {len(versions)}")
    console.print(
        "A handful of episodes shows that the path works, not that a policy was learned: the job "
        "says so itself."
    )


def summarise_episodes() -> None:
    """Show each episode with its verdict, quality and reasons."""
    table = Table(title="Episodes", title_justify="left")
    table.add_column("episode", no_wrap=True)
    for column in ("robot", "verdict", "steps", "quality"):
        table.add_column(column)
    table.add_column("training or reason", overflow="fold")
    episodes = continuon_json("episode", "list")["episodes"]
    counts: dict[str, int] = {}
    for episode in episodes:
        counts[episode["status"]] = counts.get(episode["status"], 0) + 1
        quality = episode["quality"]
        table.add_row(
            episode["episode_id"],
            episode["robot_id"],
            f"[{'green' if episode['status'] == 'validated' else 'red'}]{episode['status']}",
            str(episode["steps"]),
            f"{quality:.2f}" if quality is not None else "",
            "eligible" if episode["training_eligible"] else ", ".join(episode["problems"]),
        )
    console.print(table)
    check(counts == EXPECTED, f"expected {EXPECTED}, found {counts}")


def summarise_objects() -> None:
    """Show the stored objects, as Google's own client lists them."""
    table = Table(title="Objects in gs://continuon-rlds", title_justify="left")
    table.add_column("name", overflow="fold")
    table.add_column("bytes", justify="right")
    names = []
    for blob in StorageClient().list_blobs("continuon-rlds"):
        names.append(blob.name)
        table.add_row(blob.name, str(blob.size))
    console.print(table)
    raw = sum(name.startswith("episodes/raw/") for name in names)
    archives = sum(
        name.startswith("episodes/validated/") and not name.endswith("/report.json")
        for name in names
    )
    check(raw == sum(EXPECTED.values()), f"expected every raw object to be kept, found {raw}")
    check(archives == EXPECTED["validated"], f"expected 4 promoted archives, found {archives}")


def summarise_documents() -> None:
    """Show how many documents each collection holds, as Google's own client counts them."""
    table = Table(title="Documents", title_justify="left")
    table.add_column("collection")
    table.add_column("documents", justify="right")
    table.add_column("of them", overflow="fold")
    for collection in sorted(firestore.Client().collections(), key=lambda c: str(c.id)):
        ids = [snapshot.id for snapshot in collection.select([]).stream()]
        shown = ", ".join(name[:20] for name in sorted(ids)[:2]) + (" ..." if len(ids) > 2 else "")  # noqa: PLR2004
        table.add_row(str(collection.id), str(len(ids)), shown)
    console.print(table)


def summarise_operations(totals: dict[str, int]) -> None:
    """Show the billable operations that all of this used."""
    table = Table(title="Billable operations", title_justify="left")
    table.add_column("operation")
    table.add_column("count", justify="right")
    for operation, count in sorted(totals.items()):
        table.add_row(operation, f"{count:,}")
    console.print(table)


async def main() -> int:
    """Run the demo; return the exit status."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        os.environ["CONTINUON_HOME"] = home
        try:
            await sign_up_and_claim()
            await upload()
            await download()
            await train()
            # Read before the summary, whose own look at the stores would be counted too.
            meter = metered_operations()
            say("What is there now")
            summarise_episodes()
            summarise_objects()
            summarise_documents()
            summarise_operations(meter)
        except DemoError as error:
            console.print(f"[bold red]The demo failed:[/] {error}")
            return 1
    seconds = time.monotonic() - started
    console.print(
        f"[bold green]Done in {seconds:.0f} s.[/] Next: [cyan]make run[/] keeps a local cloud up "
        "for your own robot; its pages are at http://127.0.0.1:5000."
    )
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
