"""The timeline in a real browser: where the time of a reload went, and why it did what."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import anyio
import pytest
from browsing import address, browsing, tab
from command_runs import Watching
from playwright.async_api import Browser, Page, expect
from serving import edit, ref
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]

HELD = """
import anyio

class Plugin:
    def __init__(self):
        self.begun, self.release = anyio.Event(), anyio.Event()

    async def ask(self):
        self.begun.set()
        await self.release.wait()
        return 1
"""

FAILING = "class Plugin:\n    def setup(self, ctx):\n        1 / 0\n"


async def reloaded(page: Page, word: str) -> None:
    """Wait until the newest reload has ended as `word` says."""
    await expect(page.locator(".reloads li").first).to_contain_text(word)


async def test_a_reload_is_told_by_its_steps_plan_edits_and_log(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("base")
    tree.plugin("above", depends_on=["base"])
    async with browsing(browser, tree) as (_, shown):
        await shown.go("timeline")
        tree.plugin("base", value=2)
        await reloaded(shown.page, "demo/base, demo/above")
        told = shown.page.get_by_role("article")
        rows = told.get_by_role("row")
        await expect(rows.filter(has_text="demo/base")).to_contain_text("teardown")
        await expect(rows.filter(has_text="demo/above")).to_contain_text("setup")
        await expect(rows.filter(has_text="debounce")).to_contain_text("prepare")
        plan = told.locator(".plan li")
        await expect(plan.first).to_contain_text("tear down demo/above depends on demo/base")
        await expect(plan.last).to_contain_text("set up demo/above")
        await expect(told.get_by_label("Diff")).to_contain_text("+")


async def test_a_reload_of_many_plugins_is_listed_by_its_phases(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("base")
    for number in range(60):
        tree.plugin(f"above{number}", depends_on=["base"])
    async with browsing(browser, tree) as (_, shown):
        await shown.go("timeline")
        tree.plugin("base", value=2)
        await reloaded(shown.page, "demo/base, ")
        steps = shown.page.locator(".reloads li").first.locator("rect.step")
        classes = [await each.get_attribute("class") for each in await steps.all()]
        assert "step setup" in classes
        assert len(classes) == len({*classes})
        told = shown.page.get_by_role("article")
        await expect(told).to_contain_text("… and 12 plugins that took less")
        await expect(told.locator("tbody tr")).to_have_count(50)
        await expect(told.locator(".plan li")).to_have_count(100)
        await shown.go("plugin/demo/base")
        await expect(shown.page.get_by_role("link", name="demo/above")).to_have_count(20)
        await shown.page.get_by_role("button", name="40 more").click()
        await expect(shown.page.get_by_role("link", name="demo/above")).to_have_count(60)


async def test_arrows_scroll_the_log_that_has_the_focus_and_else_lead_to_other_reloads(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    size = {"width": 1000, "height": 300}  # Of which the list has less than its entries need.
    async with browsing(browser, tree, viewport=size) as (_, shown):
        page = shown.page
        title = page.get_by_role("article").get_by_role("heading", level=2)
        await shown.go("timeline")
        for value in range(2, 7):
            tree.plugin("one", value=value)
            await expect(page.locator(".reloads li")).to_have_count(value - 1)
        newest = await title.inner_text()
        await page.get_by_role("article").get_by_role("log").focus()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowDown")
        await expect(title).to_have_text(newest)
        oldest = page.locator(".reloads a").last
        await expect(oldest).not_to_be_in_viewport()
        for _ in range(6):
            await page.keyboard.press("j")
        await expect(oldest).to_have_attribute("aria-current", "true")
        await expect(oldest).to_be_in_viewport()
        await oldest.focus()
        for _ in range(6):
            await page.keyboard.press("ArrowUp")
        await expect(title).to_have_text(newest)


async def test_what_was_logged_during_a_reload_is_shown(
    browser: Browser, tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one", code="class Plugin:\n    def setup(self, ctx):\n        print(1)\n")
    async with tab(browser, address(watch("plugins", "--page", columns=100))) as opened:
        await opened.go("timeline")
        edit(tree.root / "one" / "plugin.py", "print(1)", "ctx.logger.info('set up again')")
        await reloaded(opened.page, "demo/one")
        log = opened.page.get_by_role("article").get_by_role("log")
        await expect(log).to_contain_text("set up again")
        await expect(log).to_contain_text("reload.committed")


async def test_the_call_that_held_a_reload_up_is_named(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("held", code=HELD)
    async with browsing(browser, tree) as (server, shown), anyio.create_task_group() as callers:
        await shown.go("timeline")
        held = server.live.instance("held")
        callers.start_soon(server.live.plugin("held").ask)
        await held.begun.wait()
        edit(tree.root / "held" / "plugin.py", "return 1", "return 2")
        while ref("held") not in server.live.server.registry.table.draining:
            await anyio.sleep(0.001)
        held.release.set()
        await reloaded(shown.page, "demo/held")
        row = shown.page.get_by_role("article").get_by_role("row").filter(has_text="drain")
        await expect(row).to_contain_text("held by ask()")


async def test_what_failed_is_told_and_what_was_chosen_stays_in_the_address(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, shown):
        await shown.go("timeline")
        tree.plugin("one", value=2)
        await reloaded(shown.page, "done")
        tree.plugin("one", code=FAILING)
        await reloaded(shown.page, "rolled back")
        told = shown.page.get_by_role("article")
        await expect(told).to_contain_text("ZeroDivisionError")
        await expect(told.get_by_role("row").filter(has_text="roll back")).to_have_count(1)
        await shown.page.keyboard.press("j")
        await shown.page.keyboard.press("j")
        await expect(told.get_by_role("heading", level=2)).to_contain_text("done")
        await shown.page.reload()
        await expect(told.get_by_role("heading", level=2)).to_contain_text("done")
        await shown.go("plugin/demo/one")
        await shown.page.get_by_role("link", name="rolled back in").click()
        await expect(told.get_by_role("heading", level=2)).to_contain_text("rolled back")


async def test_a_trace_can_be_saved(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, shown):
        await shown.go("timeline")
        tree.plugin("one", value=2)
        await reloaded(shown.page, "demo/one")
        async with shown.page.expect_download() as saved:
            await shown.page.get_by_role("article").get_by_role("button", name="Save trace").click()
        found = await (await saved.value).path()
        events = json.loads(found.read_text(encoding="utf-8"))["traceEvents"]
        assert {"teardown", "setup"} <= {each["name"].split()[0] for each in events}


PERFETTO = """onmessage = ({data, source, origin}) => {
    if (data === "PING") source.postMessage("PONG", origin);
    else if (data.perfetto) {
        const text = new TextDecoder().decode(data.perfetto.buffer);
        document.title = `${data.perfetto.title}: ${JSON.parse(text).traceEvents.length > 0}`;
    }
};"""
"""Speaks as Perfetto does with a page that opens it: PING, PONG, and the trace."""


async def test_a_trace_opens_in_perfetto_by_one_button(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, shown):
        await shown.page.context.route(
            "https://ui.perfetto.dev/**",
            lambda route: route.fulfill(
                body=f"<script>{PERFETTO}</script>", content_type="text/html"
            ),
        )
        await shown.go("timeline")
        tree.plugin("one", value=2)
        await reloaded(shown.page, "demo/one")
        async with shown.page.expect_popup() as opened:
            button = shown.page.get_by_role("article").get_by_role(
                "button", name="Open in Perfetto"
            )
            await button.click()
        perfetto = await opened.value
        await expect(perfetto).to_have_title("reload-1: true")


async def test_each_of_two_tabs_of_perfetto_gets_its_trace(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, shown):
        await shown.page.context.route(
            "https://ui.perfetto.dev/**",
            lambda route: route.fulfill(body="not there yet", content_type="text/html"),
        )
        await shown.go("timeline")
        tree.plugin("one", value=2)
        await reloaded(shown.page, "demo/one")
        perfetto = list[Page]()
        buttons = shown.page.get_by_role("button", name="Open in Perfetto")
        await expect(buttons).to_have_count(2)
        for button in await buttons.all():
            async with shown.page.expect_popup() as opened:
                await button.click()
            perfetto.append(await opened.value)
        whole, one = perfetto
        await one.evaluate(f"() => {{ {PERFETTO} }}")
        await expect(one).to_have_title("reload-1: true")
        await whole.evaluate(f"() => {{ {PERFETTO} }}")
        await expect(whole).to_have_title("reloads: true")


async def test_an_address_of_no_reload_is_answered_as_such(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, shown):
        await shown.go("timeline?reload=../status")
        await expect(shown.page.get_by_role("article")).to_contain_text("/api/reloads/../status")
        shown.forgive("404")


async def test_what_fails_as_before_does_not_make_a_reload_of_others_a_failure(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("base")
    tree.plugin("a_broken", depends_on=["base"], code=FAILING)
    async with browsing(browser, tree) as (_, shown):
        await shown.go("timeline")
        tree.plugin("base", value=2)
        await reloaded(shown.page, "demo/base, demo/a_broken")
        await reloaded(shown.page, "done, 1 still fails")
        news = shown.page.get_by_role("contentinfo")
        await expect(news).to_contain_text("demo/base reloaded; demo/a_broken still fails")
        told = shown.page.get_by_role("article")
        await expect(told.get_by_role("heading", level=2)).to_contain_text("done, 1 still fails")


async def test_a_new_failure_is_named_before_what_fails_as_before(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("a_broken", code=FAILING)
    tree.plugin("one")
    async with browsing(browser, tree) as (_, shown):
        await shown.go("timeline")
        tree.plugin("one", code="class Plugin\n")
        await reloaded(shown.page, "1 still fails")
        news = shown.page.get_by_role("contentinfo")
        await expect(news).to_contain_text("demo/one rejected: SyntaxError")
        tree.plugin("one", value=3)
        await expect(news).to_contain_text(
            re.compile("demo/one (fixed|reloaded)")
        )  # The last of both.
        tree.plugin("one", code=FAILING)
        await expect(news).to_contain_text("demo/one failed: ZeroDivisionError")


async def test_of_a_save_that_is_not_taken_over_it_is_said_why(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, shown):
        await shown.go("timeline")
        tree.plugin("one", code="class Plugin\n")
        await reloaded(shown.page, "nothing can be taken over")
        tree.plugin("one")
        await reloaded(shown.page, "what runs is on disk again")
        tree.write("unread/dagstack.toml", "[plugin\n")
        news = shown.page.get_by_role("contentinfo")
        await expect(news).to_contain_text("plugins/unread rejected")
        await expect(news).not_to_contain_text(str(tree.root))
