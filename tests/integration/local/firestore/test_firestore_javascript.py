"""Google's JavaScript libraries, unmodified, where Node and the packages are installed.

``npm install firebase @firebase/rules-unit-testing`` in the checkout, or anywhere with
``NODE_MODULES`` naming the folder. Nothing is downloaded here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "javascript"
REPOSITORY = Path(__file__).resolve().parents[4]
MODULES = Path(os.environ.get("NODE_MODULES", REPOSITORY / "node_modules"))
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    NODE is None or not (MODULES / "@firebase" / "rules-unit-testing").is_dir(),
    reason="no Node or no firebase packages: npm install firebase @firebase/rules-unit-testing",
)


@pytest.mark.parametrize("script", ["rules_unit_testing.mjs", "web_sdk.mjs"])
def test_the_library_works(firestore_host: str, tmp_path: Path, script: str) -> None:
    assert NODE is not None
    # Modules are found from where the script lies.
    shutil.copy(SCRIPTS / script, tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    done = subprocess.run(  # noqa: S603 - our own script
        [NODE, str(tmp_path / script), firestore_host],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "ok", done.stderr
