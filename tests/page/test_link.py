"""The page keeps up with its server: after a restart, and in a tab that was in the background."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import address, browsing, tab
from command_runs import Watching
from pages import paging
from playwright.async_api import Browser, Page, Route, expect
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]

HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""Puts a tab into the background or back: without a window, each is always in sight."""

CONNECTIONS = 6
"""How many a browser has to one server at most."""


async def test_after_a_restart_it_says_what_to_do_and_goes_on_by_itself(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with paging(tree) as server, tab(browser, server.access.address) as opened:
        page, alert = opened.page, opened.page.get_by_role("alert")
        await expect(page.locator("td.c-name")).to_have_text(["one"])
        await page.clock.set_fixed_time("2020-02-02T02:02:02")
        await server.live.server.stop()
        await expect(alert).to_contain_text("Disconnected since 02:02:02")
        await page.clock.set_fixed_time("2020-02-02T03:03:03")
        await expect(page.locator(".situation")).to_have_text("disconnected")
        await expect(page.locator("td.c-name")).to_have_text(["one"])
        tree.plugin("two")
        async with paging(tree) as again:
            assert again.access.port == server.access.port
            await expect(alert).to_contain_text("dagstack-dev page")
            await expect(alert).to_contain_text("Disconnected since 02:02:02")
            other = await page.context.new_page()
            await other.goto(again.access.address)
            await other.close()
            await expect(page.locator("td.c-name")).to_have_text(["one", "two"])
            await expect(alert).to_have_count(0)
            tree.plugin("two", value=2)
            generation = page.locator("[id='row-demo/two'] .c-generation")
            await expect(generation).to_have_text("2")
        opened.complaints.clear()  # Each attempt to connect is one.


async def test_without_a_connection_there_is_what_was_asked_for_before(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
    async with browsing(browser, tree) as (server, tab):
        failure = tab.page.get_by_role("article")
        await tab.go("errors")
        await expect(failure).to_contain_text("ZeroDivisionError")
        await tab.go("inventory")
        await server.live.server.stop()
        await expect(tab.page.locator(".situation")).to_have_text("disconnected")
        await tab.go("errors")
        await expect(failure).to_contain_text("ZeroDivisionError")
        await tab.go("timeline")
        await expect(tab.page.get_by_role("main")).to_contain_text("not asked for before")
        tab.complaints.clear()  # Each attempt to connect is one.


async def test_answers_that_are_slower_than_events_are_shown_and_the_newest_comes(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        may_end = asyncio.Event()
        under_way = list[Route]()
        most, is_first = 0, True

        async def answer_slowly(route: Route) -> None:
            nonlocal most, is_first
            under_way.append(route)
            most = max(most, len(under_way))
            answer = await route.fetch()
            if is_first:
                is_first = False
                beat = await tab.module("store.js", "it.store.get().beat")
                tree.plugin("one", value=2)
                while await tab.module("store.js", "it.store.get().beat") == beat:
                    await asyncio.sleep(0.01)
            else:
                await may_end.wait()
            under_way.remove(route)
            await route.fulfill(response=answer)

        await tab.page.route("**/api/plugins/demo/one", answer_slowly)
        await tab.go("plugin/demo/one")
        generations = tab.page.locator(".generation")
        await expect(generations).to_have_count(1)
        may_end.set()
        await expect(generations).to_have_count(2)
        assert most == 1


async def test_what_a_view_asks_for_is_broken_off_with_it(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        async with tab.page.expect_event("requestfailed") as failed:
            async with tab.page.expect_request("**/api/reloads"):
                await tab.page.route("**/api/reloads", lambda _: None)  # Never answered.
                await tab.go("timeline")
            await tab.go("errors")
        assert (await failed.value).url.endswith("/api/reloads")


async def test_a_page_that_nobody_sees_asks_nothing_and_is_true_when_it_is_looked_at(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (server, tab):
        page, asked = tab.page, list[str]()
        await expect(page.locator("td.c-generation")).to_have_text("1")
        await page.evaluate(HIDE, True)
        page.on("request", lambda request: asked.append(request.url))
        other = await page.context.new_page()
        await other.goto(server.access.url)
        await expect(other.locator("td.c-generation")).to_have_text("1")
        tree.plugin("one", value=2)
        await expect(other.locator("td.c-generation")).to_have_text("2")
        assert asked == []
        assert await page.locator("td.c-generation").inner_text() == "1"
        await page.evaluate(HIDE, False)
        await expect(page.locator("td.c-generation")).to_have_text("2")


async def test_a_tab_in_sight_takes_one_connection_and_others_take_none(
    browser: Browser, tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    where = address(watch("plugins", "--page", columns=100))
    async with tab(browser, where) as first:

        async def another() -> Page:
            page = await first.page.context.new_page()
            await page.goto(f"{where.partition('?')[0]}#/plugin/demo/one")
            return page

        await first.go("plugin/demo/one")
        others = [await another() for _ in range(CONNECTIONS - 2)]
        ready = [
            page.get_by_role("log").get_by_text("plugin.ready") for page in (first.page, *others)
        ]
        for each in ready:
            await expect(each).to_have_count(1)
        tree.plugin("one", value=2)
        for each in ready:
            await expect(each).to_have_count(2)
        for page in others:
            await page.evaluate(HIDE, True)
        for _ in others:
            page = await another()
            await expect(page.get_by_text("what runs is on disk")).to_be_visible()
            await page.evaluate(HIDE, True)


async def test_a_server_that_is_stopped_counts_as_lost_until_it_goes_on(
    browser: Browser, tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one")
    run = watch("plugins", "--page", columns=100)
    async with tab(browser, address(run)) as opened:
        situation = opened.page.locator(".situation")
        await expect(situation).to_contain_text("current")
        run.send(signal.SIGSTOP)
        try:
            await expect(situation).to_contain_text("disconnected")
        finally:
            run.send(signal.SIGCONT)
        await expect(situation).to_contain_text("current")


async def test_what_blocks_the_event_loop_is_named(
    browser: Browser, tree: PluginTree, watch: Callable[..., Watching], tmp_path: Path
) -> None:
    end = tmp_path / "end"
    code = f"""
    import time
    from pathlib import Path

    class Plugin:
        def hang(self):
            while not Path({str(end)!r}).exists():
                time.sleep(0.001)
    """
    tree.plugin("one", code=code)
    async with tab(browser, address(watch("plugins", "--page", columns=100))) as opened:
        situation = opened.page.locator(".situation")
        await expect(situation).to_contain_text("current")
        await opened.go("plugin/demo/one")
        await opened.page.locator("summary", has_text="hang").click()
        await opened.page.get_by_role("button", name="Call", exact=True).click()
        await expect(situation).to_contain_text("blocked")
        await expect(situation).to_contain_text("at plugins/one/plugin.py")
        await expect(situation).to_contain_text("(demo/one)")
        end.touch()
        await expect(situation).to_contain_text("current")
