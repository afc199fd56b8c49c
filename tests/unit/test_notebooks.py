"""The notebooks are valid, and what they call exists."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from continuon_cloud.cli import run

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[str]:
    """Return the sources of the cells of one kind."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == kind]


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == ["worker.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_the_form_of_version_4_and_no_output(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]

    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
    assert all(isinstance(line, str) for cell in document["cells"] for line in cell["source"])
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_code_cell_parses(path: Path) -> None:
    for source in cells(path, "code"):
        ast.parse(re.sub(r"^!.*$", "pass", source, flags=re.MULTILINE))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_continuon_command_of_a_notebook_exists(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = re.findall(r"^!(continuon .*)$", "\n".join(cells(path, "code")), re.MULTILINE)
    lines += re.findall(r"`(continuon .*?)`", "\n".join(cells(path, "markdown")))
    assert lines
    for line in lines:
        words = shlex.split(line)[1:]
        command = words[:2] if words[0] == "train" else words[:1]

        status = run([*command, "--help"])

        shown = capsys.readouterr().out
        assert status == 0
        assert [word for word in words if word.startswith("--") and word not in shown] == []


def test_the_documentation_shows_the_trainer_that_is_tested() -> None:
    code = (ROOT / "examples" / "own_trainer.py").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")

    assert code.partition("\n\n")[2] in page
