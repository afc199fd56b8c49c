"""The prose agrees with the code: commands, dependencies and links that it names exist."""

from __future__ import annotations

import html
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from continuon.rlds import validate_path
from continuon_cloud.cli import run

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("**/*.md"))]


def first_robot() -> list[str]:
    """The lines of the README's first shell block that begins with setting the path."""
    found = re.search(
        r"^```sh\n(export PATH=.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found[1].splitlines()


def test_the_first_robot_takes_ten_lines() -> None:
    assert len(first_robot()) == 10


def test_the_landing_page_shows_the_same_ten_lines() -> None:
    page = (ROOT / "hosting" / "index.html").read_text(encoding="utf-8")
    block = page[page.index("ten shell commands") :]
    code = block[block.index("<code>") + len("<code>") : block.index("</code>")]

    assert html.unescape(re.sub(r"<[^>]+>", "", code)).splitlines() == first_robot()


@pytest.mark.parametrize("line", [line for line in first_robot() if line.startswith("continuon ")])
def test_every_command_of_the_first_robot_exists(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = shlex.split(line)[1:]
    command = words[:2] if words[0] in {"robot", "episode"} else words[:1]

    status = run([*command, "--help"])

    shown = capsys.readouterr().out
    assert status == 0
    assert [word for word in words if word.startswith("--") and word not in shown] == []


def dependencies() -> set[str]:
    """Every distribution that a pyproject.toml of ours asks for, but our own."""
    wanted: list[str] = []
    for path in ("shared", "sdk", "local"):
        project = tomllib.loads((ROOT / path / "pyproject.toml").read_text())["project"]
        wanted += project["dependencies"]
        for extra in project.get("optional-dependencies", {}).values():
            wanted += extra
    wanted += tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    names = {re.split(r"[\[<>=]", item, maxsplit=1)[0].strip().lower() for item in wanted}
    return {name for name in names if not name.startswith("types-")}


def test_every_dependency_has_its_line() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    first_cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    named = set(re.findall(r"[a-z0-9-]+", "\n".join(first_cells)))

    assert sorted(dependencies() - named) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text) + re.findall(r"src=\"([^\"]+)\"", text)

    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_report_on_the_landing_page_is_the_validators() -> None:
    page = (ROOT / "hosting" / "index.html").read_text(encoding="utf-8")
    block = page[page.index("Excerpt of a report") :]
    code = block[block.index("<code>") + len("<code>") : block.index("</code>")]
    shown = json.loads(html.unescape(re.sub(r"<[^>]+>", "", code)))

    broken = ROOT / "examples/episodes/recorded/invalid/time_backwards"
    report = json.loads(validate_path(broken).to_json())

    assert shown["verdict"] == report["verdict"]
    assert shown["problems"] == report["problems"]
    assert shown["repair"].items() <= report["repair"].items()
