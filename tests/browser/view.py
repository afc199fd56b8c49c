"""A loaded page, and what the tests ask of every page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request

Scheme = Literal["light", "dark"]

PHONE_WIDTH = 360
"""CSS pixels: the narrowest phones in use."""

_SCRIPT = """
() => {
  const parse = color => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return {r, g, b, a};
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a),
    g: top.g * top.a + below.g * (1 - top.a),
    b: top.b * top.a + below.b * (1 - top.a),
    a: 1,
  });
  const channel = value => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  };
  const luminance = c => 0.2126 * channel(c.r) + 0.7152 * channel(c.g) + 0.0722 * channel(c.b);
  const background = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(parse(getComputedStyle(at).backgroundColor));
    }
    return layers.reduceRight((below, top) => over(top, below), {r: 255, g: 255, b: 255, a: 1});
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const drawn = element.checkVisibility({opacityProperty: true, visibilityProperty: true});
    if (!node.data.trim() || !drawn || element.closest("svg, noscript, script")) continue;
    const style = getComputedStyle(element);
    const behind = background(element);
    const text = luminance(over(parse(style.color), behind));
    const paper = luminance(behind);
    const ratio = (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      faint.push(`${ratio.toFixed(2)} ${element.className}: ${node.data.trim().slice(0, 40)}`);
    }
  }
  return [...new Set(faint)];
}
"""


@dataclass
class View:
    """A loaded page and everything it did that a page of ours must not do."""

    page: Page
    origin: str
    status: int = 0
    complaints: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.foreign_requests.append(request.url)


def too_faint(page: Page) -> list[str]:
    """Return the contrast ratio, class and beginning of every text below the threshold
    of WCAG 2.2, success criterion 1.4.3 (level AA)."""
    found: list[str] = page.evaluate(_SCRIPT)
    return found
