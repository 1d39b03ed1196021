"""Chromium, headless, as Debian packages it, driven by Playwright; and what is missing of the two."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Playwright is there for `make web` only
    from playwright.sync_api import Browser, BrowserContext, Page  # pyright: ignore[reportMissingImports]

CHROMIUM = Path(os.environ.get("RAYFAN_CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WITHIN_MS = 60_000
"""ms that anything on the page may take on a busy machine."""

NAMELESS = """() => {
  const name = (element) => {
    const by = (attribute) => (element.getAttribute(attribute) ?? "").split(" ").filter(Boolean)
      .map((id) => document.getElementById(id)?.textContent ?? "").join(" ");
    const labels = [...(element.labels ?? [])].map((label) => label.textContent).join(" ");
    return [element.getAttribute("aria-label"), by("aria-labelledby"), labels, element.textContent].join(" ").trim();
  };
  const wanted = "a, button, input, select, canvas, section, dialog, table, [tabindex='0'], [role='group']";
  return [...document.querySelectorAll(wanted)]
    .filter((element) => element.tagName === "TABLE" ? !element.tHead : !name(element))
    .map((element) => element.outerHTML.slice(0, 120));
}"""
"""Returns what a screen reader would have no name for; inputs do not count their own text."""
REPEATED_IDS = """() => {
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  return ids.filter((id, at) => ids.indexOf(id) !== at);
}"""
PALE = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const back = parts(getComputedStyle(one).backgroundColor);
      if (back.length === 3 || back[3] > 0) return back;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.offsetParent || element.disabled || element.closest(".skip, option")) continue;
    const [one, other] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${element.outerHTML.slice(0, 100)}`);
  }
  return found;
}"""
"""Returns texts whose contrast is below 4.5 (WCAG 2.2, 1.4.3, level AA)."""


def missing() -> str:
    """Return what is missing, a sentence each; empty: nothing."""
    found = []
    if not CHROMIUM.exists():
        found.append(f"{CHROMIUM} is not there: apt install chromium, or say where it is with RAYFAN_CHROMIUM")
    try:
        import playwright.sync_api  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        found.append("Playwright for Python is not installed: pip install -e '.[browser]'")
    return "; ".join(found)


class Watched:
    """A page, and what it complained about: errors, and whatever the browser refused for it."""

    def __init__(self, context: "BrowserContext", url: str) -> None:
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._heard)
        self.page.goto(url)
        self.page.wait_for_selector("html[data-ready]", state="attached")
        self.wait_connected()

    def wait_connected(self) -> None:
        """Wait until the page says that it is connected."""
        self.page.wait_for_selector("#connection.there")

    def go(self, view: str) -> None:
        """Show a view as the operator does."""
        self.page.click(f"nav a[href='#{view}']")
        self.page.wait_for_selector(f"#{view}:not([hidden])")

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return self.page.text_content(selector) or ""

    def wait_text(self, selector: str, true: str, *given: Any) -> None:
        """Wait until the text of an element fulfils a JavaScript condition on `text`, with `given` beside it."""
        text = "const text = document.querySelector(selector)?.textContent"
        script = f"([selector, ...given]) => {{ {text}; return {true}; }}"
        self.page.wait_for_function(script, arg=[selector, *given])

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Yield a browser that is closed at the end."""
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS], timeout=WITHIN_MS)
        try:
            yield browser
        finally:
            browser.close()


def context_of(browser: "Browser", width: int = 1280, dark: bool = False) -> "BrowserContext":
    """Return a fresh session of a browser with a window of some width."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": width, "height": 860}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(WITHIN_MS)
    return context
