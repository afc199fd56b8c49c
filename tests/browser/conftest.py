"""The browser tier: the committed site, served by the local hosting gateway, seen by Chromium.

Needs a Chromium that is already installed; nothing is downloaded. Where there is none, every test
here is skipped and says so.
"""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext

    from browser.view import Scheme
    from conftest import LocalCloudProcess

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # containers run the tests as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """Return the Chromium to drive: $CHROMIUM, else one on the PATH, else None."""
    named = os.environ.get("CHROMIUM")
    if named is not None:
        return shutil.which(named)
    candidates = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in candidates if (found := shutil.which(name))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests, and skip them where there is no browser."""
    missing = find_chromium() is None
    reason = (
        "no Chromium: install one (Debian: apt-get install chromium) or set CHROMIUM to its path"
    )
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if missing:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def site(local_cloud: LocalCloudProcess) -> str:
    """The origin of the hosting gateway."""
    return local_cloud.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium with a fresh profile; Playwright makes and removes its folder.

    One for each module, not for the session: Playwright's loop runs in this thread while it is
    open, and the asyncio tests of the other tiers need the thread to themselves.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where it is needed

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS, headless=True
        )
        yield browser
        browser.close()


class Opener:
    """Opens pages of the site, each in a context of its own."""

    def __init__(self, browser: Browser, site: str) -> None:
        self._browser = browser
        self._site = site
        self._contexts: list[BrowserContext] = []

    def open(self, path: str, *, width: int = 1280, scheme: Scheme = "light") -> View:
        """Open a path; ``width`` in CSS pixels."""
        context = self._browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self._contexts.append(context)
        view = View(page=context.new_page(), origin=self._site)
        view.page.on("console", view.on_console)
        view.page.on("pageerror", lambda error: view.complaints.append(str(error)))
        view.page.on("request", view.on_request)
        response = view.page.goto(self._site + path)
        assert response is not None
        view.status = response.status
        if path.partition("#")[0] == "/docs":
            view.page.locator(".opblock").first.wait_for()
        return view

    def close(self) -> None:
        """Close every page that was opened."""
        for context in self._contexts:
            context.close()


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[Callable[..., View]]:
    """Open a page that the test may click and type in."""
    opener = Opener(browser, site)
    yield opener.open
    opener.close()


@pytest.fixture(scope="module")
def seen(browser: Browser, site: str) -> Iterator[Callable[..., View]]:
    """Look at a page without touching it: one load serves every test that only reads."""
    opener = Opener(browser, site)
    yield functools.cache(opener.open)
    opener.close()
