"""The dev page in a real browser: how soon it shows a graph, how it moves, and what a tab costs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagstack_dev.api.client import ApiClient
from dagstack_dev.api.socket import find_server
from dagstack_dev.page.access import address_in
from scripts.benchlib.api import idle_cpu, save_in_turn
from scripts.benchlib.layout import NEAR, wants_of
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.subjects import OURS, Subject
from scripts.benchlib.trees import write_graph

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZE: Final = (1280, 720)
FRAMES: Final = 120
WITH_PAGE: Final = replace(OURS, command=(*OURS.command, "--page"))

MOVE: Final = """async ([what, frames]) => {
    const canvas = document.querySelector("canvas");
    const moves = {
        zoom: (back) => new WheelEvent("wheel", {
            deltaY: back ? 40 : -40, clientX: 640, clientY: 360, bubbles: true, cancelable: true,
        }),
        pan: (back) => new KeyboardEvent("keydown", {
            key: back ? "ArrowLeft" : "ArrowRight", shiftKey: true, bubbles: true, cancelable: true,
        }),
    };
    const times = [];
    let last = await new Promise(requestAnimationFrame);
    for (let frame = 0; frame < frames; frame++) {
        canvas.dispatchEvent(moves[what](frame % 40 >= 20));
        const now = await new Promise(requestAnimationFrame);
        times.push(now - last);
        last = now;
    }
    return times;
}"""
"""Moves the graph once in each frame, there and back; returns how long each frame took."""

PAINTED: Final = """() => new Promise((resolve) => {
    const look = () => document.querySelector("canvas")?.width > 300
        ? requestAnimationFrame(() => resolve(performance.now())) : requestAnimationFrame(look);
    look();
})"""
"""Milliseconds from the request of the page to the frame after the graph was drawn."""


def measure(sizes: Sequence[tuple[int, int]]) -> Table:
    """The table of large graphs; `sizes` are plugins and edges."""
    table = Table(
        "The graph of the dev page, in ms",
        ("plugins", "edges", "seen", "scale", "zoom p50", "zoom p95", "pan p50", "pan p95"),
        note="seen: from opening the page to the frame with the graph, laid out before; frames of"
        f" {SIZE[0]} x {SIZE[1]} pixels, drawn in software, {FRAMES} of each kind",
    )
    for plugins, edges in sizes:
        say(f"page: {plugins} plugins, {edges} edges")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            write = partial(write_graph, wants=wants_of(plugins, edges, NEAR))
            subject = Subject(WITH_PAGE, Path(folder), plugins, 5, write)
            with subject, _browser() as browser:
                for scale, zoom_in in (("all of it", 0), ("readable", 12)):
                    page = _opened(browser, Path(folder), "graph?scope=all&fold=none")
                    seen = page.evaluate(PAINTED)
                    for _ in range(zoom_in):
                        page.locator(".zoom button").first.click()
                    row: dict[str, object] = {"plugins": plugins, "edges": edges, "scale": scale}
                    row["seen"] = seen
                    for what in ("zoom", "pan"):
                        times = page.evaluate(MOVE, [what, FRAMES])
                        row[f"{what} p50"] = percentile(times, 50)
                        row[f"{what} p95"] = percentile(times, 95)
                    table.add(row)
                    page.context.close()
    return table


def measure_tab(sizes: Sequence[int], saves: int, seconds: float) -> Table:
    """The table of a server whose page is open beside one that has none; `sizes` are plugins."""
    table = Table(
        "Save to ready in ms, with the dev page open and without",
        ("plugins", "page", "p50", "p95", "p50/without", "CPU"),
        note=f"CPU: percent of one, of the server, idle over {seconds:g} s",
    )
    for plugins in sizes:
        say(f"tab: {plugins} plugins")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            own = [Path(folder, name) for name in ("open", "none")]
            for each in own:
                each.mkdir()
            with (
                Subject(WITH_PAGE, own[0], plugins, 5) as shown,
                Subject(OURS, own[1], plugins, 5) as alone,
                _browser() as browser,
            ):
                page = _opened(browser, own[0], "inventory")
                page.wait_for_selector("td")
                used = idle_cpu((shown, alone), seconds)
                save_in_turn((shown, alone), saves)
        times = [each.outcome.milliseconds for each in (shown, alone)]
        for name, took, percent in zip(("open", "none"), times, used, strict=True):
            row: dict[str, object] = {"plugins": plugins, "page": name, "CPU": percent}
            row |= {"p50": percentile(took, 50), "p95": percentile(took, 95)}
            table.add(row | {"p50/without": percentile(took, 50) / percentile(times[1], 50)})
    return table


@contextmanager
def _browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only two sections need it

    path = shutil.which("chromium") or shutil.which("google-chrome")
    # As root, it cannot make the sandbox that keeps pages of strangers in.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def _opened(browser: Browser, folder: Path, view: str) -> Page:
    """Open a view of the page of the server that watches the plugins in `folder`."""
    server = find_server(folder / "plugins")
    assert server is not None  # noqa: S101 - it has started
    place = ApiClient(server.socket).post("page")
    page = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}).new_page()
    page.goto(address_in(Path(place["file"])))  # Which lets this browser in.
    page.goto("about:blank")
    page.goto(f"{place['url']}#/{view}")
    return page
