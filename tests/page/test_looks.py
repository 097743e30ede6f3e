"""Each view passes axe, in light and dark, wide and narrow; nothing moves for who wants that."""

from __future__ import annotations

from importlib.resources import files

import pytest
from browsing import Scheme, Tab, browsing
from playwright.async_api import Browser, expect
from serving import edit
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")

METHODS = """
class Plugin:
    def setup(self, ctx):
        pass

    def greet(self, name: str, times: int = 1, *, loud: bool = False, more: dict = {}) -> list[str]:
        return [name] * 100
"""


@pytest.fixture
def states(tree: PluginTree) -> PluginTree:
    """A plugin in each state."""
    tree.plugin("good", code=METHODS)
    tree.plugin("bad", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
    tree.plugin("waiting", depends_on=["bad"])
    tree.write("unread/dagstack.toml", "[plugin\n")
    return tree


async def violations(tab: Tab) -> list[str]:
    """What axe finds, with best practices; and names of elements that labels cannot refer to."""
    await tab.page.evaluate(AXE)
    found = await tab.page.evaluate("axe.run()")
    names = await tab.page.evaluate("[...document.querySelectorAll('[id]')].map(({ id }) => id)")
    return [each for each in names if " " in each] + [
        f"{each['id']}: {node['html']} ({node['failureSummary']})"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 480])
async def test_no_view_has_violations(
    browser: Browser, states: PluginTree, scheme: Scheme, width: int
) -> None:
    size = {"width": width, "height": 800}
    async with browsing(browser, states, color_scheme=scheme, viewport=size) as (_, tab):
        page = tab.page
        await expect(page.locator("td.c-name")).to_have_count(3)
        await page.keyboard.press("j")
        assert await violations(tab) == []
        await page.keyboard.press("?")
        assert await violations(tab) == []
        await page.keyboard.press("Escape")
        await tab.go("errors")
        await expect(page.get_by_role("article")).to_have_count(2)
        assert await violations(tab) == []
        await tab.go("plugin/demo/good")
        await page.locator("summary", has_text="greet").click()
        form = page.get_by_role("form", name="Call greet")
        await form.get_by_label("name").fill("you")
        await form.get_by_role("button", name="Call", exact=True).click()
        await expect(page.locator("output")).to_contain_text("100 items")
        assert await violations(tab) == []
        await tab.go("graph")
        await expect(page.locator("canvas")).to_be_visible()
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("button", name="Only what is around it")).to_be_visible()
        assert await violations(tab) == []
        await page.keyboard.press("R")
        await tab.go("timeline")
        await expect(page.get_by_role("article").get_by_role("row")).not_to_have_count(0)
        assert await violations(tab) == []
        await tab.go("plugin/demo/bad")
        await expect(page.get_by_role("article")).to_contain_text("failed in setup")
        assert await violations(tab) == []
        await tab.go("graph?scope=all")
        await page.locator("canvas").press("ArrowDown")
        await expect(page.locator(".about").get_by_role("link")).not_to_have_count(0)
        assert await violations(tab) == []
        await tab.go("timeline")
        edit(states.root / "good" / "plugin.py", "[name] * 100", "[name] * 200")
        await expect(page.get_by_role("article")).to_contain_text("set up demo/good")
        await expect(page.get_by_label("Diff")).to_be_visible()
        assert await violations(tab) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_colours_are_those_of_the_system(
    browser: Browser, tree: PluginTree, scheme: Scheme
) -> None:
    async with browsing(browser, tree, color_scheme=scheme) as (_, tab):
        ground = await tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 21, 26)"}[scheme]


async def test_nothing_moves(browser: Browser, states: PluginTree) -> None:
    """Motion makes some people ill: there is none, whatever they have told their system."""
    moving = """[...document.querySelectorAll("*")].filter((each) => {
        const { transitionDuration, animationName, scrollBehavior } = getComputedStyle(each);
        return transitionDuration !== "0s" || animationName !== "none" || scrollBehavior !== "auto";
    }).map((each) => each.outerHTML)"""
    async with browsing(browser, states) as (_, tab):
        await tab.page.keyboard.press("R")
        for view, word in {
            "inventory": "waiting",
            "graph": "Click a plugin",
            "timeline": "Plan",
            "errors": "failed in setup",
            "plugin/demo/good": "Receipt",
        }.items():
            await tab.go(view)
            await expect(tab.page.get_by_role("main")).to_contain_text(word)
            assert await tab.page.evaluate(moving) == []
