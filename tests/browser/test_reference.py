"""The API reference: rendered from the OpenAPI document by a viewer of our own origin."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from browser.view import PHONE_WIDTH, too_faint

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from browser.view import Scheme, View

    Open = Callable[..., View]

METHODS = {"get", "put", "post", "delete", "patch"}
UPLOAD = "/api/rlds/signed-url"


def operation(page: Page, path: str) -> Locator:
    return page.locator(".opblock").filter(has=page.locator(f"[data-path='{path}']"))


@pytest.fixture(scope="module")
def reading(seen: Open) -> Open:
    """Look at the page with one operation opened; each view is loaded once."""

    @functools.cache
    def opened(width: int, scheme: Scheme) -> View:
        view = seen("/docs", width=width, scheme=scheme)
        upload = operation(view.page, UPLOAD)
        upload.locator(".opblock-summary-control").click()
        upload.locator(".responses-table").wait_for()
        return view

    return opened


def test_every_operation_of_the_document_is_listed(seen: Open, site: str) -> None:
    page = seen("/docs").page
    document = page.request.get(site + "/api/openapi.json").json()

    wanted = sorted(
        (method, path)
        for path, item in document["paths"].items()
        for method in METHODS & item.keys()
    )
    shown = page.locator(".opblock").evaluate_all(
        """blocks => blocks.map(block => [
             block.querySelector(".opblock-summary-method").textContent.toLowerCase(),
             block.querySelector(".opblock-summary-path").dataset.path])"""
    )
    assert sorted(map(tuple, shown)) == wanted


def test_an_operation_opens_and_shows_its_body_and_answers(reading: Open) -> None:
    view = reading(1280, "light")
    upload = operation(view.page, UPLOAD)

    assert "episode_id" in upload.locator(".opblock-section-request-body").inner_text()
    assert upload.locator(".response[data-code='200']").is_visible()
    assert view.complaints == []
    assert view.foreign_requests == []


def test_an_operation_can_be_tried_and_shows_the_real_answer(open_page: Open) -> None:
    view = open_page("/docs")
    page = view.page
    page.get_by_role("button", name="Authorize").click()
    page.get_by_label("Value").first.fill("a-token")
    page.get_by_role("button", name="Apply credentials").first.click()
    page.get_by_role("button", name="Close").first.click()
    health = operation(page, "/api/health")
    health.locator(".opblock-summary-control").click()
    health.get_by_role("button", name="Try it out").click()
    health.get_by_role("button", name="Execute").click()
    health.locator(".live-responses-table").wait_for()

    assert "200" in health.locator(".live-responses-table").inner_text()
    assert view.complaints == []
    assert view.foreign_requests == []


def test_an_address_with_an_operation_opens_it(reading: Open, open_page: Open) -> None:
    fragment = urlsplit(reading(1280, "light").page.url).fragment

    again = open_page(f"/docs#{fragment}").page

    operation(again, UPLOAD).locator(".responses-table").wait_for()
    assert again.locator(".opblock.is-open").count() == 1


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (PHONE_WIDTH, "dark")])
def test_an_open_operation_is_readable(reading: Open, width: int, scheme: Scheme) -> None:
    page = reading(width, scheme).page

    assert too_faint(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
