"""Debian's Chromium, and what a page opened from disk does in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser that asks nobody for anything by itself."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
        )
        yield found
        found.close()


@dataclass
class Opened:
    """A file in a browser."""

    page: Any
    asked: list[str] = field(default_factory=list)
    """Addresses outside the file."""
    said: list[str] = field(default_factory=list)
    """Whatever the page wrote to its console, and its errors."""


@contextmanager
def opened_from_disk(file: Path, width_px: int, height_px: int) -> Iterator[Opened]:
    """A page that is watched from its first moment, with all windows that it opens."""
    with chromium() as browser:
        context = browser.new_context(viewport={"width": width_px, "height": height_px})
        found = Opened(context.new_page())
        context.on("console", lambda message: found.said.append(message.text))
        context.on("weberror", lambda error: found.said.append(str(error.error)))
        context.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:", "blob:")) else found.asked.append(request.url)
            ),
        )
        found.page.goto(file.as_uri())
        yield found
