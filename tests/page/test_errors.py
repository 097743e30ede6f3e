"""The view of errors in a real browser: what the terminal frames, until it is mended."""

from __future__ import annotations

import pytest
from browsing import browsing, tab
from pages import paging
from playwright.async_api import Browser, expect
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]

BROKEN = "class Plugin:\n    def setup(self, ctx):\n        raise OSError('no such host')\n"
FAILS_WITHIN = """class Plugin:
    def setup(self, ctx):
        self.connect()

    def connect(self):
        try:
            1 / 0
        except ArithmeticError:
            raise OSError('no such host')
"""


async def test_an_error_is_there_with_its_lines_and_then_gone(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        await tab.go("errors")
        main = tab.page.get_by_role("main")
        await expect(main).to_contain_text("Nothing is wrong")
        tree.plugin("one", code="class Plugin:\n    def value(self)\n        pass\n")
        failure = tab.page.get_by_role("article")
        await expect(failure).to_contain_text("demo/one does not run what is on disk")
        await expect(failure).to_contain_text("SyntaxError: expected ':'")
        await expect(failure.locator(".here")).to_contain_text("def value(self)")
        await expect(failure).to_contain_text("plugins/one/plugin.py:2")
        await expect(failure).to_contain_text("generation 1 runs on")
        await expect(tab.page.get_by_role("navigation")).to_contain_text("Errors 1")
        tree.plugin("one", value=2)
        await expect(main).to_contain_text("Nothing is wrong")
        await expect(tab.page.get_by_role("navigation")).not_to_contain_text("Errors 1")


async def test_what_waits_leads_down_to_the_root_cause(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("base", code=BROKEN)
    tree.plugin("near", depends_on=["base"])
    tree.plugin("far", depends_on=["near"])
    tree.plugin("lonely", depends_on=["nobody"])
    tree.write("unread/dagstack.toml", "[plugin\n")
    async with browsing(browser, tree) as (_, tab):
        await tab.go("errors")
        failures = tab.page.get_by_role("article")
        await expect(failures).to_have_count(3)
        failed = failures.filter(has_text="demo/base failed in setup")
        await expect(failed.get_by_role("listitem")).to_have_text(
            ["demo/near ← demo/base", "demo/far ← demo/near ← demo/base"]
        )
        await expect(failures.filter(has_text="nobody does not exist")).to_have_count(1)
        await expect(failures.filter(has_text="plugins/unread cannot be used")).to_have_count(1)
        for number in range(4):
            tree.plugin(f"more{number}", depends_on=["near"])
        summary = failed.locator("summary", has_text="6 plugins wait for it")
        await expect(failed.get_by_role("listitem")).to_have_count(6)
        await summary.click()
        await expect(failed.get_by_role("listitem")).to_have_count(0)
        await summary.click()
        await failed.get_by_role("link", name="demo/near").first.click()
        await expect(tab.page.get_by_role("heading", level=1)).to_have_text("demo/near")


async def test_an_error_can_be_taken_elsewhere(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one", code=FAILS_WITHIN)
    permissions = ["clipboard-read", "clipboard-write"]
    async with browsing(browser, tree, permissions=permissions) as (_, tab):
        await tab.go("errors")
        news = tab.page.get_by_role("contentinfo")
        await tab.page.get_by_role("button", name="Copy as Markdown").click()
        await expect(news).to_contain_text("the error copied")
        assert await tab.page.evaluate("navigator.clipboard.readText()") == (
            "**demo/one failed in setup**\n\n"
            "OSError: no such host\n\n"
            "`plugins/one/plugin.py:3` in Plugin.setup\n\n"
            "```\n"
            ">    3          self.connect()\n"
            "```\n\n"
            "`plugins/one/plugin.py:9` in Plugin.connect\n\n"
            "```\n"
            "     7              1 / 0\n"
            "     8          except ArithmeticError:\n"
            ">    9              raise OSError('no such host')\n"
            "```\n\n"
            "caused by ZeroDivisionError: division by zero at "
            "`plugins/one/plugin.py:7` in Plugin.connect\n"
        )
        await tab.page.get_by_role("button", name="Copy the path").last.click()
        await expect(news).to_contain_text("path copied")
        path = f"{tree.root}/one/plugin.py:7"
        assert await tab.page.evaluate("navigator.clipboard.readText()") == path


async def test_the_place_of_an_error_is_opened_in_the_editor(
    browser: Browser, tree: PluginTree
) -> None:
    path = tree.plugin("one", code=BROKEN) / "plugin.py"
    opened: list[tuple[str, int]] = []
    async with (
        paging(tree, on_open=lambda *place: opened.append(place)) as server,
        tab(browser, server.access.address) as there,
    ):
        await there.go("errors")
        await there.page.get_by_role("button", name="in the editor").click()
        await expect(there.page.get_by_role("contentinfo")).to_contain_text(
            "opening plugins/one/plugin.py:3"
        )
        assert opened == [(str(path), 3)]


async def test_a_view_that_cannot_be_drawn_says_so_and_is_left_for_another(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        await tab.page.route("**/api/errors", lambda route: route.fulfill(json={}))
        await tab.go("errors")
        await expect(tab.page.get_by_role("alert")).to_contain_text("This view has a defect")
        await tab.go("inventory")
        await expect(tab.page.locator("td.c-name")).to_have_text(["one"])
        assert tab.complaints  # The console has it, too.
        tab.complaints.clear()
