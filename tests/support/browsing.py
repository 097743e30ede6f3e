"""The dev page in a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from command_runs import GUARD_SECONDS, Watching
from pages import Paging, paging
from trees import PluginTree

pytest.importorskip("playwright", reason="the group `browser` is not installed on this Python")

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

Scheme = Literal["dark", "light"]

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
"""What the browser may be called; `.ci/run` installs the first."""

expect.set_options(timeout=GUARD_SECONDS * 1000)


def chromium() -> str:
    """Return the path of the browser; without one, the test is skipped, but in CI it fails."""
    found = next(filter(None, map(shutil.which, COMMANDS)), None)
    if found is None:
        lack = f"no browser found: none of {', '.join(COMMANDS)}"
        if os.environ.get("CI") == "true":
            pytest.fail(lack)
        pytest.skip(lack)
    return found


@asynccontextmanager
async def launched(*arguments: str) -> AsyncIterator[Browser]:
    """A browser without a window, with more `arguments`."""
    path = chromium()
    # As root, it cannot make the sandbox that keeps pages of strangers in.
    arguments += ("--no-sandbox",) if os.geteuid() == 0 else ()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*arguments])
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """The page in a tab.

    Attributes:
        page: the tab.
        complaints: what the browser has complained about: exceptions, and what the policy forbids.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(GUARD_SECONDS * 1000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def forgive(self, text: str) -> None:
        """Have no complaint that contains `text` count; what a test provokes is no defect."""
        self.complaints = [each for each in self.complaints if text not in each]

    async def go(self, view: str) -> None:
        """Go to a view, as `plugin/demo/one`."""
        await self.page.evaluate("where => { location.hash = `/${where}`; }", view)

    async def module(self, name: str, expression: str, *arguments: Any) -> Any:
        """What an expression is in which `it` is a module of the page, and `given` a list."""
        code = f"async (given) => {{ const it = await import('/{name}'); return {expression}; }}"
        return await self.page.evaluate(code, list(arguments))


@asynccontextmanager
async def tab(browser: Browser, address: str, **options: Any) -> AsyncIterator[Tab]:
    """The page at `address`, in a browser that knows nothing yet; `options` are of its context."""
    context = await browser.new_context(**options)
    try:
        opened = Tab(await context.new_page())
        await opened.page.goto(address)
        yield opened
        assert not opened.complaints, opened.complaints
    finally:
        await context.close()


@asynccontextmanager
async def browsing(
    browser: Browser, tree: PluginTree, **options: Any
) -> AsyncIterator[tuple[Paging, Tab]]:
    """A server over `tree`, and its page in a tab; `options` are those of `tab`."""
    async with paging(tree) as server, tab(browser, server.access.address, **options) as opened:
        # What happens before the page follows the server is no news to it.
        await expect(opened.page.locator(".situation")).not_to_contain_text("connecting")
        yield server, opened


def address(run: Watching) -> str:
    """Where a command that was started with `--page` serves it."""
    return run.line("page  http").split()[-1]
