"""Google's JavaScript libraries, unmodified, where Node and the packages are installed.

``make test-js`` installs them, in the versions of ``javascript/package.json``, and runs this file.
``NODE_MODULES`` names another folder. Nothing is downloaded here.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(__file__).parent / "javascript"
REPOSITORY = Path(__file__).resolve().parents[4]
MODULES = Path(os.environ.get("NODE_MODULES", REPOSITORY / ".cache/javascript/node_modules"))
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    NODE is None or not (MODULES / "@firebase" / "rules-unit-testing").is_dir(),
    reason="no Node or no firebase packages: make test-js installs them",
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


PACKAGES = ("app", "component", "logger", "util", "firestore")
CHROMIUM = shutil.which(os.environ.get("CHROMIUM", "chromium"))


def import_map() -> dict[str, Any]:
    """Where a browser finds the packages, as a bundler would read it from their manifests."""
    found = {}
    for name in PACKAGES:
        folder = MODULES / "@firebase" / name
        manifest = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        entry = manifest.get("browser") or manifest["module"]
        found[f"@firebase/{name}"] = f"/node_modules/@firebase/{name}/{entry}"
    for blob in ("webchannel-blob", "bloom-blob"):
        (file,) = (MODULES / "@firebase/webchannel-wrapper/dist" / blob / "esm").glob("*_es2018.js")
        path = file.relative_to(MODULES).as_posix()
        found[f"@firebase/webchannel-wrapper/{blob}"] = f"/node_modules/{path}"
    return {"imports": {**found, "idb": "/node_modules/idb/build/index.js"}}


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        pass


@contextmanager
def page_server(folder: Path) -> Iterator[str]:
    page = (SCRIPTS / "browser.html").read_text(encoding="utf-8")
    page = page.replace("IMPORT_MAP", json.dumps(import_map()))
    (folder / "browser.html").write_text(page, encoding="utf-8")
    (folder / "node_modules").symlink_to(MODULES)
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/browser.html"
        server.shutdown()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("polling", ["false", "true"])
def test_the_web_sdk_works_in_a_browser(firestore_host: str, tmp_path: Path, polling: str) -> None:
    with page_server(tmp_path) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(f"{url}?firestore={firestore_host}&polling={polling}")
        page.wait_for_function("window.result", timeout=45_000)
        assert page.evaluate("window.result") == "ok"
        browser.close()
