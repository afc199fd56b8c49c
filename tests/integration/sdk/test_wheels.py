"""The two wheels a robot needs install alone, and bring no server with them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from sdk_bench import write_episode

ROOT = Path(__file__).parents[3]
_OF_THE_UPDATE_AGENT = ("continuon_cloud.ota", "continuon_cloud.cli.ota_fleet")
SERVER_PARTS = {
    "fastapi",
    "starlette",
    "uvicorn",
    "functions-framework",
    "firebase-admin",
    "grpcio",
}


def run(*command: str | Path, status: int = 0) -> str:
    done = subprocess.run(  # noqa: S603 - the commands are written in this file
        [str(part) for part in command], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``bin`` folder of a fresh environment with the two wheels in it."""
    folder = tmp_path_factory.mktemp("robot")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for package in ("shared", "sdk"):
        # A copy: setuptools writes its build folder beside the sources.
        source = folder / "src" / package
        shutil.copytree(ROOT / package, source, ignore=shutil.ignore_patterns("__pycache__"))
        wheel: list[str | Path] = ["wheel", "--no-deps", "--wheel-dir", folder / "wheels"]
        run(*pip, *wheel, source)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    wheels = sorted((folder / "wheels").iterdir())
    assert len(wheels) == 2
    run(*pip, "--python", python, "install", *wheels)
    return folder / "venv" / "bin"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_server_part_is_installed(robot: Path) -> None:
    listed = run(
        sys.executable, "-m", "pip", "--python", robot / "python", "list", "--format", "json"
    )
    names = {package["name"].lower() for package in json.loads(listed)}

    assert {"continuon", "continuon-cloud", "httpx"} <= names
    assert not names & SERVER_PARTS
    assert not [name for name in names if name.startswith(("google", "continuon-local"))]


@pytest.mark.slow
def test_command_works_in_the_fresh_environment(robot: Path, tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode")

    assert "continuon episode upload" in run(robot / "continuon", "--help")
    run(robot / "continuon", "episode", "validate", path)
    (path / "steps.jsonl").write_text("{")
    report = json.loads(run(robot / "continuon", "episode", "validate", path, "--json", status=4))
    assert report["verdict"] == "invalid"


def _import_all(python: Path, *, updates: bool) -> str:
    """Import every module; those of the update agent only where its extra is installed."""
    script = (
        "import importlib, pkgutil, continuon_cloud as package\n"
        "for found in pkgutil.walk_packages(package.__path__, 'continuon_cloud.'):\n"
        f"    if {updates} or not found.name.startswith({_OF_THE_UPDATE_AGENT}):\n"
        "        importlib.import_module(found.name)\n"
    )
    return run(python, "-W", "error", "-c", script)


@pytest.mark.slow
def test_every_module_imports_without_the_server(robot: Path) -> None:
    _import_all(robot / "python", updates=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_update_agent_needs_its_extra_and_no_server(robot: Path) -> None:
    folder = robot.parent.parent
    python = folder / "updates" / "bin" / "python"
    venv.create(folder / "updates", with_pip=False)
    shared, client = sorted((folder / "wheels").iterdir())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wanted = [f"continuon[ota] @ {shared.as_uri()}", f"{client}[ota]"]
    run(*pip, "--python", python, "install", *wanted)
    _import_all(python, updates=True)
    listed = run(sys.executable, "-m", "pip", "--python", python, "list", "--format", "json")
    assert not {package["name"].lower() for package in json.loads(listed)} & SERVER_PARTS
