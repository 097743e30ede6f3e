"""The page is used without a mouse."""

from __future__ import annotations

import pytest
from browsing import browsing
from playwright.async_api import Browser, expect
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]


async def test_a_plugin_is_found_opened_and_left_by_keys(
    browser: Browser, tree: PluginTree
) -> None:
    for name in ("apple", "banana", "cherry"):
        tree.plugin(name)
    async with browsing(browser, tree) as (_, tab):
        keyboard, page = tab.page.keyboard, tab.page
        title, chosen = page.get_by_role("heading", level=1), page.locator("[aria-selected=true]")
        await expect(page.locator("td.c-name")).to_have_count(3)
        await keyboard.press("j")
        await keyboard.press("ArrowDown")
        await expect(chosen).to_contain_text("banana")
        await keyboard.press("k")
        await expect(chosen).to_contain_text("apple")
        await keyboard.press("/")
        await keyboard.type("err")
        await expect(page.get_by_role("searchbox")).to_have_value("err")
        await expect(page.locator("td.c-name")).to_have_text(["cherry"])
        await keyboard.press("Enter")
        await expect(title).to_have_text("demo/cherry")
        await expect(title).to_be_focused()
        await keyboard.press("Escape")
        await expect(title).to_have_text("Inventory")
        await expect(page.get_by_role("grid")).to_be_focused()
        await keyboard.press("/")
        await keyboard.press("Escape")
        await expect(page.locator("td.c-name")).to_have_count(3)
        await expect(chosen).to_contain_text("cherry")
        await keyboard.press("/")
        await keyboard.type("a")
        await keyboard.press("Enter")
        await expect(page.get_by_role("grid")).to_be_focused()


async def test_columns_are_sorted_by_keys(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("b")
    tree.plugin("a", depends_on=["b"])
    async with browsing(browser, tree) as (_, tab):
        keyboard, names = tab.page.keyboard, tab.page.locator("td.c-name")
        await expect(names).to_have_text(["b", "a"])
        await tab.page.get_by_role("grid").focus()
        await keyboard.press("Tab")
        await expect(tab.page.get_by_role("button", name="Kind")).to_be_focused()
        await keyboard.press("Tab")
        await keyboard.press("Enter")
        await expect(names).to_have_text(["a", "b"])


async def test_views_actions_and_help_have_keys(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        keyboard, page = tab.page.keyboard, tab.page
        title, dialog = page.get_by_role("heading", level=1), page.get_by_role("dialog")
        await expect(page.locator("td.c-name")).to_have_count(1)
        await keyboard.press("e")
        await expect(title).to_have_text("Errors")
        await keyboard.press("i")
        await expect(title).to_have_text("Inventory")
        await keyboard.press("p")
        await expect(page.locator(".situation")).to_contain_text("paused")
        await keyboard.press("p")
        await expect(page.locator(".situation")).to_contain_text("current")
        await keyboard.press("j")
        await keyboard.press("r")
        await expect(page.locator("td.c-generation")).to_have_text("2")
        await keyboard.press("?")
        await expect(dialog).to_contain_text("reload all plugins")
        await keyboard.press("e")  # Keys of the page are not those of the dialog.
        await keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await expect(title).to_have_text("Inventory")


async def test_the_tab_key_leads_through_the_page(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        keyboard, page = tab.page.keyboard, tab.page
        await expect(page.locator("td.c-name")).to_have_count(1)
        await keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await keyboard.press("Enter")
        await expect(page.get_by_role("main")).to_be_focused()
        await keyboard.press("Tab")
        await expect(page.get_by_role("searchbox")).to_be_focused()


async def test_letters_can_be_no_keys(browser: Browser, tree: PluginTree) -> None:
    """Who speaks to the computer says letters without meaning keys (WCAG 2.1.4)."""
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        keyboard, title = tab.page.keyboard, tab.page.get_by_role("heading", level=1)
        await expect(tab.page.locator("td.c-name")).to_have_count(1)
        await keyboard.press("?")
        await tab.page.get_by_label("Letters and signs are keys").uncheck()
        await keyboard.press("Escape")
        await tab.page.reload()
        await expect(tab.page.locator("td.c-name")).to_have_count(1)
        await keyboard.press("e")
        await keyboard.press("ArrowDown")
        await keyboard.press("Enter")
        await expect(title).to_have_text("demo/one")
        await tab.page.get_by_role("button", name="Keys", exact=True).click()
        await tab.page.get_by_label("Letters and signs are keys").check()
        await keyboard.press("Escape")
        await keyboard.press("e")
        await expect(title).to_have_text("Errors")


async def test_escape_leads_from_an_address_that_was_opened_to_all_plugins(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (server, tab):
        await tab.page.goto("about:blank")
        await tab.page.goto(f"{server.access.url}#/plugin/demo/one")
        title = tab.page.get_by_role("heading", level=1)
        await expect(title).to_have_text("demo/one")
        await tab.page.keyboard.press("Escape")
        await expect(title).to_have_text("Inventory")
