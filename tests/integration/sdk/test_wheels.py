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
        [str(part) for part in command], capture_output=True, text=True, timeout=100, check=False
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
@pytest.mark.timeout(120)
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


@pytest.mark.slow
def test_every_module_imports_without_the_server(robot: Path) -> None:
    script = (
        "import importlib, pkgutil, continuon_cloud as package\n"
        "for found in pkgutil.walk_packages(package.__path__, 'continuon_cloud.'):\n"
        "    importlib.import_module(found.name)\n"
    )
    run(robot / "python", "-W", "error", "-c", script)
