"""Every page of the site, and the landing page in particular."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin

import pytest

from browser.view import PHONE_WIDTH, too_faint

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.view import Scheme, View

    Open = Callable[..., View]

PAGES = ("/", "/docs", "/docs/problems", "/docs/episode-codes", "/nowhere")
PLAIN_PAGES = [path for path in PAGES if path != "/docs"]
"""Those without the viewer, which `test_reference.py` looks at in the same ways."""


@pytest.mark.parametrize("path", PAGES[:-1])
def test_a_page_logs_nothing_and_asks_only_its_own_origin(seen: Open, path: str) -> None:
    view = seen(path)

    view.page.wait_for_load_state("networkidle")

    assert view.status == 200
    assert view.complaints == []
    assert view.foreign_requests == []


@pytest.mark.parametrize("path", PAGES)
def test_the_policy_allows_own_files_only(seen: Open, site: str, path: str) -> None:
    response = seen("/").page.request.get(site + path)

    directives = [part.strip() for part in response.headers["content-security-policy"].split(";")]
    assert "default-src 'self'" in directives
    assert "unsafe" not in response.headers["content-security-policy"]


@pytest.mark.parametrize("path", PLAIN_PAGES)
def test_a_page_has_one_main_heading_and_a_title(seen: Open, path: str) -> None:
    page = seen(path).page

    assert page.locator("h1").count() == 1
    assert "Continuon Cloud" in page.title()
    assert page.locator("html").get_attribute("lang") == "en"


def test_the_loop_is_drawn_and_described(seen: Open) -> None:
    loop = seen("/").page.get_by_role("img", name="The learning loop of a robot fleet")

    box = loop.bounding_box()
    assert box is not None
    assert box["width"] > 300
    assert box["height"] > 300
    stages = ["episode", "dataset", "job", "model", "bundle", "robot"]
    assert loop.locator(".loop-name").all_text_contents() == stages
    assert loop.locator("desc").text_content()


def test_the_page_says_what_does_not_work_yet(seen: Open) -> None:
    coming = seen("/").page.get_by_role("region", name="Coming")

    assert "Remote connections" in (coming.text_content() or "")


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_somewhere(seen: Open, site: str, path: str) -> None:
    page = seen(path).page

    links = page.locator("body > header a, main a, footer a").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    assert links
    for link in sorted(set(links)):
        address, fragment = urldefrag(urljoin(page.url, link))
        if not address.startswith(site):
            continue  # a link may lead elsewhere; nothing is loaded from there
        if address != page.url.partition("#")[0]:
            assert page.request.get(address).status == 200, link
        elif fragment and not fragment.startswith("/"):
            assert page.locator(f"[id='{fragment}']").count() == 1, link


@pytest.mark.parametrize("path", PLAIN_PAGES)
def test_nothing_is_wider_than_a_phone(seen: Open, path: str) -> None:
    page = seen(path, width=PHONE_WIDTH).page

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE_WIDTH


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PLAIN_PAGES)
def test_text_is_readable_in_both_schemes(seen: Open, path: str, scheme: Scheme) -> None:
    page = seen(path, scheme=scheme).page

    assert too_faint(page) == []


def test_the_page_follows_the_system_into_the_dark(seen: Open) -> None:
    script = "getComputedStyle(document.body).backgroundColor"

    light = seen("/", scheme="light").page.evaluate(script)
    dark = seen("/", scheme="dark").page.evaluate(script)

    assert light == "rgb(251, 251, 249)"
    assert dark == "rgb(14, 20, 19)"


def test_the_keyboard_reaches_the_content_first(open_page: Open) -> None:
    page = open_page("/").page

    page.keyboard.press("Tab")

    assert page.locator(":focus").text_content() == "Skip to the content"
    assert page.locator(":focus").is_visible()


def test_an_unknown_address_answers_404_with_a_way_home(open_page: Open) -> None:
    view = open_page("/nowhere/at/all")

    view.page.locator("main a[href='/']").click()

    assert view.status == 404
    assert view.page.url == view.origin + "/"
    assert view.foreign_requests == []
