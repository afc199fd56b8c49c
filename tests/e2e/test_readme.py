"""The README's first robot, line by line, as a stranger would type it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

from conftest import REPOSITORY, run_local_cloud

CONTINUON = Path(sys.executable).parent / "continuon"
LINE_TIMEOUT_S = 60


def commands() -> list[list[str]]:
    """The `continuon` lines; the two before them set what the environment below sets."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```sh\n(export PATH=.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return [shlex.split(line) for line in found[1].splitlines() if line.startswith("continuon ")]


def test_the_first_robot_of_the_readme_works(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    lines = commands()
    lines[0].append("--password-stdin")  # a person is asked for it

    # A cloud of its own: the README's robot and episode have fixed ids.
    with run_local_cloud() as cloud:
        environment = {**os.environ, **cloud.env, "CONTINUON_HOME": str(tmp_path / "home")}
        for line in lines:
            done = subprocess.run(  # noqa: S603 - our own command, with the README's words
                [CONTINUON, *line[1:]],
                check=False,
                cwd=tmp_path,
                env=environment,
                input="a-long-password\n",
                capture_output=True,
                text=True,
                timeout=LINE_TIMEOUT_S,
            )
            assert done.returncode == 0, f"{shlex.join(line)}\n{done.stdout}\n{done.stderr}"

    archive = tmp_path / lines[-1][-1] / "episode.tar.gz"
    with tarfile.open(archive) as fetched:
        assert "metadata.json" in {Path(name).name for name in fetched.getnames()}
    assert len(lines) == 8
