"""The graph in a real browser: what it draws, where, and how one moves about in it."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from browsing import Tab, browsing
from playwright.async_api import Browser, Locator, Page, expect
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]

FAILING = "class Plugin:\n    def setup(self, ctx):\n        1 / 0\n"

SIGNED = "window.texts.some(each => '✕▲'.includes(each.text))"

RECORDER = """() => {
    const canvas = CanvasRenderingContext2D.prototype;
    const {clearRect, fillText} = canvas;
    window.texts = [];
    canvas.clearRect = function (...box) { window.texts = []; clearRect.apply(this, box); };
    canvas.fillText = function (text, ...place) {
        const {e, f} = this.getTransform();
        window.texts.push({text, x: e, y: f, alpha: this.globalAlpha});
        fillText.call(this, text, ...place);
    };
    dispatchEvent(new Event("resize"));
}"""
"""Notes which texts the canvas shows, and where: the canvas itself only has pixels."""


class Text(NamedTuple):
    x: float
    y: float
    alpha: float


async def graph(tab: Tab, where: str = "graph") -> Locator:
    """Go to the graph and note what it draws."""
    await tab.page.evaluate(RECORDER)
    await tab.go(where)
    canvas = tab.page.locator("canvas")
    await expect(canvas).to_be_visible()
    return canvas


async def drawn(page: Page, *wanted: str) -> dict[str, Text]:
    """What is on the canvas as soon as it is just `wanted`, the signs beside; with its place."""
    names = "[...window.texts].map(each => each.text).filter(each => each.length > 1).sort()"
    await page.wait_for_function(f"given => {names}.join() === given", arg=",".join(sorted(wanted)))
    texts = await page.evaluate("window.texts")
    return {each["text"]: Text(each["x"], each["y"], each["alpha"]) for each in texts}


async def test_it_begins_with_what_is_around_the_last_reload(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("base")
    tree.plugin("near", depends_on=["base"])
    tree.plugin("far", depends_on=["near"])
    tree.plugin("other")
    async with browsing(browser, tree) as (_, tab):
        await graph(tab)
        tree.plugin("near", depends_on=["base"], value=2)
        texts = await drawn(tab.page, "demo/base", "demo/near", "demo/far")
        assert texts["demo/base"].x < texts["demo/near"].x < texts["demo/far"].x
        await tab.page.get_by_label("Show").select_option("all plugins")
        await drawn(tab.page, "demo/base", "demo/near", "demo/far", "demo/other")
        await tab.page.reload()
        await expect(tab.page.get_by_label("Show")).to_have_value("all")


async def test_no_box_moves_when_a_state_changes(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("above", depends_on=["base"])
    async with browsing(browser, tree) as (_, tab):
        await graph(tab, "graph?scope=all")
        before = await drawn(tab.page, "demo/base", "demo/above")
        tree.plugin("above", depends_on=["base"], code=FAILING)
        await tab.page.wait_for_function(f"() => {SIGNED}")
        after = await drawn(tab.page, "demo/base", "demo/above")
        assert {name: after[name] for name in before} == before


async def test_the_keys_are_for_the_picture_as_soon_as_it_is_there(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("base")
    async with browsing(browser, tree) as (_, tab):
        canvas = tab.page.locator("canvas")
        await expect(tab.page.locator("td.c-name")).to_have_count(1)
        await tab.page.keyboard.press("g")
        await expect(canvas).to_be_focused()
        await tab.page.keyboard.press("ArrowRight")
        await expect(tab.page.locator(".about").get_by_role("link")).to_have_text("demo/base")
        scope = tab.page.get_by_label("Show")
        await scope.focus()
        await scope.select_option("all plugins")
        await expect(canvas).to_be_visible()
        await expect(scope).to_be_focused()


async def test_the_arrow_keys_lead_along_the_edges(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("above", depends_on=["base"])
    tree.plugin("top", depends_on=["above"])
    async with browsing(browser, tree) as (_, tab):
        canvas = await graph(tab, "graph?scope=all")
        about = tab.page.locator(".about")
        await tab.page.locator(".zoom").get_by_role("button").first.focus()
        await canvas.focus()
        await drawn(tab.page, "demo/base", "demo/above", "demo/top")
        await canvas.press("ArrowRight")
        for key, plugin in (
            ("ArrowLeft", "demo/base"),
            ("ArrowLeft", "demo/base"),
            ("ArrowRight", "demo/above"),
            ("ArrowRight", "demo/top"),
        ):
            await canvas.press(key)
            await expect(about.get_by_role("link").first).to_have_text(plugin)
        await canvas.press("Escape")
        await expect(about.get_by_role("link")).to_have_count(0)
        await canvas.press("ArrowDown")
        chosen = await about.get_by_role("link").first.inner_text()
        await canvas.press("Enter")
        await expect(tab.page.get_by_role("heading", level=1)).to_have_text(chosen)
        await tab.page.keyboard.press("Escape")
        await expect(about.get_by_role("link").first).to_have_text(chosen)


async def test_a_click_chooses_and_a_second_opens(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("above", depends_on=["base"], code=FAILING)
    tree.plugin("other")
    async with browsing(browser, tree) as (_, tab):
        canvas = await graph(tab, "graph?scope=all")
        texts = await drawn(tab.page, "demo/base", "demo/above", "demo/other")
        place = texts["demo/above"]
        await canvas.click(position={"x": place.x + 20, "y": place.y})
        about = tab.page.locator(".about")
        await expect(about).to_contain_text("demo/above")
        await expect(about).to_contain_text("ZeroDivisionError")
        await about.get_by_role("button", name="Only what is around it").click()
        await drawn(tab.page, "demo/base", "demo/above")
        await tab.go("graph?scope=all")
        await drawn(tab.page, "demo/base", "demo/above", "demo/other")
        await canvas.dblclick(position={"x": place.x + 20, "y": place.y})
        await expect(tab.page.get_by_role("heading", level=1)).to_contain_text("above")


async def test_wheel_and_keys_come_closer_and_a_drag_moves(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    tree.plugin("two", depends_on=["one"])
    async with browsing(browser, tree) as (_, tab):
        canvas = await graph(tab, "graph?scope=all")

        xs = "window.texts.filter(each => each.text.length > 1).map(each => each.x)"
        wide = f"Math.max(...{xs}) - Math.min(...{xs})"

        async def wider_than(before: float) -> float:
            """How far apart they are drawn as soon as that is farther than `before`."""
            far = f"before => {wide} > before + 1 && {wide}"
            return float(await (await tab.page.wait_for_function(far, arg=before)).json_value())

        fitted = await drawn(tab.page, "demo/one", "demo/two")
        await canvas.hover()
        await tab.page.mouse.wheel(0, -100)
        turned = await wider_than(fitted["demo/two"].x - fitted["demo/one"].x)
        await canvas.press("+")
        await wider_than(turned)
        await canvas.press("0")
        x = fitted["demo/two"].x
        await tab.page.wait_for_function(
            "x => window.texts.find(each => each.text === 'demo/two').x === x", arg=x
        )
        await tab.page.mouse.move(640, 600)
        await tab.page.mouse.down()
        await tab.page.mouse.move(690, 580, steps=3)
        await tab.page.mouse.up()
        await tab.page.wait_for_function(
            "x => Math.abs(window.texts.find(each => each.text === 'demo/two').x - x - 50) < 1",
            arg=x,
        )


async def test_what_the_filter_leaves_out_steps_back(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("two", kind="tool")
    async with browsing(browser, tree) as (_, tab):
        await graph(tab, "graph?scope=all")
        await tab.page.get_by_role("searchbox").fill("kind:tool")
        await tab.page.wait_for_function("() => window.texts.some(each => each.alpha < 1)")
        texts = await drawn(tab.page, "demo/one", "tool/two")
        assert texts["demo/one"].alpha < texts["tool/two"].alpha == 1


async def test_with_many_plugins_those_of_a_kind_are_one_box(
    browser: Browser, tree: PluginTree
) -> None:
    for number in range(301):
        kind = "tool" if number % 2 else "demo"
        tree.plugin(f"p{number:03}", kind=kind, depends_on=["nobody"])  # Which is quick to start.
    tree.plugin("one", kind="web")
    tree.plugin("two", kind="web", depends_on=["web/one"])
    async with browsing(browser, tree) as (_, tab):
        canvas = await graph(tab, "graph?scope=all")
        texts = await drawn(tab.page, "demo/* 151", "tool/* 150", "web/* 2")
        place = texts["web/* 2"]
        await canvas.dblclick(position={"x": place.x + 20, "y": place.y})
        await drawn(tab.page, "demo/* 151", "tool/* 150", "web/one", "web/two")
        await tab.page.get_by_role("button", name="Fold all").click()
        await drawn(tab.page, "demo/* 151", "tool/* 150", "web/* 2")


HELD = """() => {
    window.held = [];
    window.requestAnimationFrame = (work) => held.push(work);
}"""
"""Has frames wait, until they are called."""


async def test_what_was_to_be_drawn_is_not_once_the_graph_is_left(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        canvas = await graph(tab, "graph?scope=all")
        await drawn(tab.page, "demo/one")
        await tab.page.evaluate(HELD)
        await canvas.press("+")
        await tab.go("errors")
        await expect(tab.page.get_by_role("heading", level=1)).to_have_text("Errors")
        assert await tab.page.evaluate("held.length")
        await tab.page.evaluate("held.forEach((work) => work())")
