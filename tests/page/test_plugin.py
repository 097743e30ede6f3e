"""The view of a plugin in a real browser: its methods are called, its text stays text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from browsing import Tab, address, browsing, tab
from command_runs import Watching
from playwright.async_api import Browser, Locator, expect
from trees import PluginTree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("imports_forgotten"),
]

METHODS = """
class Plugin:
    def setup(self, ctx):
        self.log = ctx.logger

    def greet(self, name: str, times: int = 1, *, loud: bool = False) -> list[str]:
        \"\"\"Greet somebody.

        As often as they like.
        \"\"\"
        return [f"{'HELLO' if loud else 'hello'} {name}"] * times

    def fail(self):
        raise RuntimeError("not today")

    def say(self, text: str):
        self.log.info(text)
"""

HOSTILE = "<img src=x onerror='window.caught = 1'><script>window.caught = 1</script>"


def part(tab: Tab, title: str) -> Locator:
    """What stands under a title."""
    return tab.page.locator(".part", has=tab.page.get_by_role("heading", name=title, level=2))


async def test_a_method_is_called_by_a_form(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one", code=METHODS)
    async with browsing(browser, tree) as (_, tab):
        await tab.go("plugin/demo/one")
        await tab.page.locator("summary", has_text="greet").click()
        form = tab.page.get_by_role("form", name="Call greet")
        outcome = tab.page.locator(".method", has_text="greet").locator("output")
        await expect(tab.page.locator("summary", has_text="Greet somebody.")).to_be_visible()
        await expect(tab.page.get_by_text("As often as they like.")).to_be_visible()
        await form.get_by_label("name").fill("you")
        await form.get_by_role("button", name="Call", exact=True).click()
        await expect(outcome).to_contain_text("returned in")
        await expect(outcome).to_contain_text('["hello you"]')
        await form.get_by_label("times").fill("2")
        await form.get_by_label("loud").select_option("true")
        await form.get_by_role("button", name="Call", exact=True).click()
        await expect(outcome).to_contain_text('["HELLO you","HELLO you"]')
        await form.get_by_label("times").fill("many")
        await form.get_by_role("button", name="Call", exact=True).click()
        await expect(outcome).to_contain_text("times: should be a valid integer")
        tab.forgive("400")


async def test_a_field_of_several_lines_calls_with_ctrl_enter(
    browser: Browser, tree: PluginTree
) -> None:
    code = """
    class Plugin:
        def total(self, numbers: list[int], more: int):
            return sum(numbers) + more
    """
    tree.plugin("one", code=code)
    tree.plugin("two", code="class Plugin: ...\n")
    async with browsing(browser, tree) as (_, tab):
        await tab.go("plugin/demo/one")
        await tab.page.locator("summary", has_text="total").click()
        form = tab.page.get_by_role("form", name="Call total")
        await expect(form).to_contain_text("Ctrl+Enter")
        field, outcome = form.get_by_label("numbers"), tab.page.locator("output")
        await expect(field).to_have_attribute("placeholder", "as [1]")
        await field.fill("a")
        await field.press("Control+Enter")
        await expect(outcome).to_contain_text("numbers: should be a valid list")
        await expect(outcome.locator("code")).to_have_text("[1]")
        await field.fill(await outcome.locator("code").inner_text())
        await field.press("Control+Enter")
        await expect(outcome).to_contain_text("more needs a value")
        await form.get_by_label("more").fill("0")
        await field.clear()
        await field.press_sequentially("[1,")
        await field.press("Enter")
        await field.press_sequentially("2]")
        await field.press("Control+Enter")
        await expect(outcome).to_contain_text("returned in")
        await expect(outcome).to_contain_text("3")
        tab.forgive("400")
        await tab.go("plugin/demo/two")
        await expect(part(tab, "Methods")).to_contain_text("It has none that can be called.")


async def test_the_keyboard_stays_at_the_form_that_has_called(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one", code=METHODS)
    async with browsing(browser, tree) as (_, tab):
        await tab.go("plugin/demo/one")
        await tab.page.locator("summary", has_text="fail").click()
        call = tab.page.get_by_role("form", name="Call fail").get_by_role("button").first
        await call.press("Enter")
        await expect(tab.page.locator("output")).to_contain_text(["RuntimeError"])
        await expect(call).to_be_focused()


async def test_what_a_method_raises_is_shown_with_its_traceback(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one", code=METHODS)
    async with browsing(browser, tree) as (_, tab):
        await tab.go("plugin/demo/one")
        await tab.page.locator("summary", has_text="fail").click()
        await tab.page.get_by_role("form", name="Call fail").get_by_role("button").first.click()
        outcome = tab.page.locator(".method", has_text="fail").locator("output")
        await expect(outcome).to_contain_text("RuntimeError: not today")
        place = outcome.locator(".place")
        await expect(place).to_contain_text("in Plugin.fail")
        await expect(place.locator("code")).to_have_text("plugins/one/plugin.py:14")
        await expect(place.get_by_role("button", name="in the editor")).to_be_visible()
        await expect(outcome.locator(".here")).to_contain_text("raise RuntimeError")


async def test_a_reload_is_asked_for_and_leads_on_to_neighbours(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    tree.plugin("above", depends_on=["one"])
    async with browsing(browser, tree) as (_, tab):
        await tab.go("plugin/demo/one")
        title = tab.page.get_by_role("heading", level=1)
        receipt = part(tab, "Receipt")
        await expect(receipt).to_contain_text("what runs is on disk")
        await tab.page.get_by_role("button", name="Reload", exact=True).click()
        await expect(receipt).to_contain_text("Generation2")
        await tab.page.get_by_role("link", name="demo/above").click()
        await expect(title).to_have_text("demo/above")
        await tab.page.go_back()
        await expect(title).to_have_text("demo/one")


async def test_of_a_plugin_that_does_not_exist_it_says_so(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        await tab.go("plugin/demo/onne")
        main = tab.page.get_by_role("main")
        await expect(main).to_contain_text("did you mean 'demo/one'?")
        tree.plugin("onne")
        await expect(main).to_contain_text("what runs is on disk")
        tab.forgive("404")


async def test_its_log_goes_on_as_it_logs(
    browser: Browser, tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one", code=METHODS)
    async with tab(browser, address(watch("plugins", "--page", columns=100))) as opened:
        await opened.go("plugin/demo/one")
        log = opened.page.get_by_role("log")
        await expect(log).to_contain_text("plugin.ready")
        await opened.page.locator("summary", has_text="say").click()
        form = opened.page.get_by_role("form", name="Call say")
        for text in ("first words", "last words"):
            await form.get_by_label("text").fill(text)
            await form.get_by_role("button", name="Call", exact=True).click()
            await expect(log).to_contain_text(text)


async def test_what_a_plugin_shows_of_itself(browser: Browser, tree: PluginTree) -> None:
    panels = f"""
    class Plugin:
        number = 1

        def dev_panel_orders(self) -> str:
            links = "[these](https://a.invalid/b)"
            return f"# Open\\n\\n**{{self.number}}** of {{links}}\\n\\n" + {HOSTILE!r}

        def dev_panel_queue(self) -> dict:
            return {{"waiting": ["a" * 50, {HOSTILE!r}]}}

        def dev_panel_broken(self) -> str:
            raise OSError("no queue")
    """
    tree.plugin("one", code=panels)
    async with browsing(browser, tree) as (server, tab):
        await tab.go("plugin/demo/one")
        orders = part(tab, "Orders")
        await expect(orders.get_by_role("heading", level=3)).to_have_text("Open")
        await expect(orders.locator("strong")).to_have_text("1")
        await expect(orders.get_by_role("link")).to_have_attribute("href", "https://a.invalid/b")
        await expect(orders).to_contain_text(HOSTILE)
        queue = part(tab, "Queue")
        await queue.locator("summary", has_text="waiting").click()
        await expect(queue).to_contain_text(HOSTILE)
        await expect(part(tab, "Broken")).to_contain_text("no queue")
        assert await tab.page.locator("img, main script").count() == 0
        server.live.plugin("one").number = 2
        await tab.page.get_by_role("button", name="Refresh Orders").click()
        await expect(orders.locator("strong")).to_have_text("2")


async def test_generations_and_states_are_told(browser: Browser, tree: PluginTree) -> None:
    tree.plugin("one")
    async with browsing(browser, tree) as (_, tab):
        await tab.go("plugin/demo/one")
        history = tab.page.locator(".history").get_by_role("listitem")
        await expect(history.first).to_contain_text("ready")
        tree.plugin("one", value="another")
        newest = tab.page.locator(".generation", has_text="Generation 2")
        await newest.locator("summary").click()
        await expect(newest.locator(".removed").first).to_contain_text("VALUE = 1")
        await expect(newest.locator(".added").first).to_contain_text("VALUE = 'another'")
        await expect(history.nth(1)).to_contain_text("stopped")


async def test_hostile_text_stays_text(
    browser: Browser, tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    code = (
        METHODS + f"\n    def odd(self, text: str = {HOSTILE!r}):\n        return [{HOSTILE!r}]\n"
    )
    tree.plugin("one", code=code, folder="<img src=x>")
    tree.plugin(
        "two",
        code=f"class Plugin:\n    def setup(self, ctx):\n        raise OSError({HOSTILE!r})\n",
    )
    async with tab(browser, address(watch("plugins", "--page", columns=100))) as opened:
        page, main = opened.page, opened.page.get_by_role("main")
        await expect(main).to_contain_text(HOSTILE)
        await opened.go("errors")
        await expect(main).to_contain_text(HOSTILE)
        await opened.go("plugin/demo/two")
        await expect(main).to_contain_text(HOSTILE)
        await opened.go("plugin/demo/one")
        await expect(main).to_contain_text("plugins/<img src=x>")
        await page.locator("summary", has_text="say").click()
        say = page.get_by_role("form", name="Call say")
        await say.get_by_label("text", exact=True).fill(HOSTILE)
        await say.get_by_role("button", name="Call", exact=True).click()
        await expect(page.get_by_role("log")).to_contain_text(HOSTILE)
        await page.locator("summary", has_text="odd").click()
        await (
            page.get_by_role("form", name="Call odd")
            .get_by_role("button", name="Call", exact=True)
            .click()
        )
        await expect(page.locator(".method", has_text="odd").locator("output")).to_contain_text(
            HOSTILE
        )
        assert await page.locator("img, main script").count() == 0
        assert await page.evaluate("window.caught") is None


async def test_a_plugin_that_is_removed_while_it_is_shown_is_said_to_be(
    browser: Browser, tree: PluginTree
) -> None:
    tree.plugin("one")
    folder = tree.plugin("two")
    async with browsing(browser, tree) as (_, tab):
        await tab.go("plugin/demo/two")
        await expect(tab.page.get_by_role("main")).to_contain_text("Receipt")
        folder.rename(tree.root.parent / "away")
        await expect(tab.page.get_by_role("main")).to_contain_text("demo/two has been removed")
        await expect(tab.page.get_by_role("contentinfo")).to_contain_text("demo/two removed, in ")
        tab.forgive("404")
