"""The inventory in a real browser: all plugins, live, filtered, and quick with a thousand."""

from __future__ import annotations

import pytest
from browsing import browsing
from playwright.async_api import Browser, Locator, Page, expect
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]


def row(page: Page, plugin: str) -> Locator:
    return page.locator(f"[id='row-{plugin}']")


def names(page: Page) -> Locator:
    return page.locator("td.c-name")


async def test_a_reload_is_seen_as_it_happens(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("above", depends_on=["one"])
    async with browsing(browser, tree) as (_, tab):
        generation = row(tab.page, "demo/one").locator(".c-generation")
        await expect(generation).to_have_text("1")
        tree.plugin("one", value=2)
        await expect(generation).to_have_text("2")
        await expect(tab.page.get_by_role("contentinfo")).to_contain_text("demo/one reloaded")
        await expect(tab.page.locator(".situation")).to_contain_text("current")


async def test_a_plugin_that_comes_and_goes_is_there_just_then(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        await expect(names(tab.page)).to_have_text(["one"])
        folder = tree.plugin("two")
        await expect(names(tab.page)).to_have_text(["one", "two"])
        folder.rename(tree.root.parent / "away")
        await expect(names(tab.page)).to_have_text(["one"])


async def test_the_filter_is_kept_in_the_address(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("near", depends_on=["base"])
    tree.plugin("far", kind="tool", depends_on=["near"])
    tree.plugin("other", kind="tool")
    async with browsing(browser, tree) as (_, tab):
        field = tab.page.get_by_role("searchbox")
        await field.fill("base+ kind:demo")
        await expect(names(tab.page)).to_have_text(["base", "near"])
        await tab.page.reload()
        await expect(field).to_have_value("base+ kind:demo")
        await expect(names(tab.page)).to_have_text(["base", "near"])
        nothing = tab.page.locator(".empty")
        await field.fill("state:bogus foo:bar kind:tool")
        await expect(nothing).to_contain_text(
            [
                "No plugin fits",
                "No plugin has the state bogus; there is current, ready.",
                "There is no foo: to filter by; there is kind:, name:, state:.",
            ]
        )
        await field.fill("nothing-like-it")
        await expect(nothing).to_have_count(1)
        await tab.page.get_by_role("button", name="Clear the filter").click()
        await expect(names(tab.page)).to_have_count(4)


async def test_columns_sort(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("b")
    tree.plugin("a", depends_on=["b"])
    tree.plugin("c", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
    async with browsing(browser, tree) as (_, tab):
        await tab.page.get_by_role("button", name="Name").click()
        await expect(names(tab.page)).to_have_text(["a", "b", "c"])
        await tab.page.get_by_role("button", name="Name").click()
        await expect(names(tab.page)).to_have_text(["c", "b", "a"])
        await tab.page.get_by_role("button", name="State").click()
        await expect(names(tab.page).first).to_have_text("c")


async def test_of_a_thousand_plugins_only_those_in_sight_are_drawn(
    browser: Browser, tree: PluginTree
) -> None:
    for number in range(1000):
        tree.plugin(f"p{number:03}", depends_on=["nobody"])  # Which is quick to start.
    async with browsing(browser, tree) as (_, tab):
        table = tab.page.get_by_role("grid")
        await expect(table).to_have_attribute("aria-rowcount", "1001")
        assert await names(tab.page).count() < 120
        await table.focus()
        await tab.page.keyboard.press("End")
        await expect(row(tab.page, "demo/p999")).to_be_in_viewport()
        await tab.page.keyboard.press("Home")
        await expect(row(tab.page, "demo/p000")).to_be_in_viewport()
        await tab.page.get_by_role("searchbox").fill("p99")
        await expect(names(tab.page)).to_have_count(10)


async def test_edits_wait_while_paused(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        situation = tab.page.locator(".situation")
        await expect(situation).to_contain_text("current")
        await tab.page.get_by_role("button", name="Pause").click()
        await expect(situation).to_contain_text("paused")
        tree.plugin("one", value=2)
        await expect(situation).to_contain_text("edits wait")
        await expect(row(tab.page, "demo/one").locator(".c-pending")).to_have_text("behind")
        await expect(row(tab.page, "demo/one").locator(".c-error")).to_contain_text("an edit waits")
        await expect(row(tab.page, "demo/one").locator(".c-error .bad")).to_have_count(0)
        await tab.page.get_by_role("button", name="Resume").click()
        await expect(situation).to_contain_text("current")
        await expect(row(tab.page, "demo/one").locator(".c-generation")).to_have_text("2")
