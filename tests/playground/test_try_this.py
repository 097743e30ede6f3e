"""Every edit that the playground's README proposes does what the README says."""

from __future__ import annotations

import re
import shutil

import pytest
from playgrounds import PLAYGROUND, Playground

from dagstack_dev import DependencyCycle, PluginLoadError, State
from dagstack_dev.core.events import Fact, PluginRejected, ReloadCommitted, ReloadRolledBack

REFS = {
    "store/settings",
    "metrics/counters",
    "text/markdown",
    "text/word_index",
    "content/library",
    "job/greeter",
    "clock/ticker",
    "web/theme",
    "web/site",
    "monitor/loop_lag",
}


def affected(facts: list[Fact]) -> set[str]:
    """The plugins that were reloaded, all in one reload that committed."""
    (fact,) = (fact for fact in facts if isinstance(fact, ReloadCommitted))
    return {str(ref) for ref in fact.affected}


async def starts(playground: Playground) -> int:
    found = re.search(r"site_starts</th><td>(\d+)<", await playground.page("settings"))
    assert found is not None
    return int(found[1])


def test_the_readme_lists_every_plugin_and_every_scenario() -> None:
    readme = (PLAYGROUND / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(.+?)`", readme, re.MULTILINE)) == REFS
    plugins = {path.parent.name for path in (PLAYGROUND / "plugins").glob("*/dagstack.toml")}
    assert plugins == {ref.partition("/")[2] for ref in REFS}


async def test_every_plugin_gets_ready_and_every_page_is_served(playground: Playground) -> None:
    assert playground.generations() == dict.fromkeys(REFS, 1)
    assert playground.down() == {}
    assert "Welcome" in await playground.page("")
    assert "<pre>" in await playground.page("doc/lifecycle")
    assert "The rules of a reload" in await playground.page("search?q=dependents")
    assert "audience</th><td>world<" in await playground.page("settings")
    assert "requests</th><td>" in await playground.page("stats")
    assert "--accent" in await playground.page("style.css")


async def test_a_changed_greeting_reloads_greeter_ticker_and_site_only(
    playground: Playground,
) -> None:
    before = await starts(playground)
    playground.edit("greeter/plugin.py", 'GREETING = "Hello"', 'GREETING = "Ahoy"')
    assert affected(await playground.settled()) == {"job/greeter", "clock/ticker", "web/site"}
    await playground.log.next("tick", greeting="Ahoy, world!")
    assert "<footer>Ahoy, world!</footer>" in await playground.page("")
    assert await starts(playground) == before + 1


async def test_an_edited_stylesheet_reloads_theme_and_site(playground: Playground) -> None:
    playground.edit("theme/style.css", "--accent: #0b6e4f", "--accent: #123456")
    assert affected(await playground.settled()) == {"web/theme", "web/site"}
    assert "#123456" in await playground.page("style.css")


async def test_a_new_document_is_served_and_indexed(playground: Playground) -> None:
    document = playground.plugins / "library" / "documents" / "mine.md"
    document.write_text("# My own\n\nzebra", encoding="utf-8")
    reloaded = affected(await playground.settled())
    assert reloaded == {"content/library", "text/word_index", "web/site"}
    assert "zebra" in await playground.page("doc/mine")
    assert "My own" in await playground.page("search?q=zebra")


async def test_an_edit_of_the_helper_package_reloads_who_imports_it(playground: Playground) -> None:
    assert "Indexed</th><td>151 words<" in await playground.page("stats")
    playground.edit("wording/amounts.py", "{noun}s", "{noun}(s)")
    assert affected(await playground.settled()) == {"text/word_index", "web/site"}
    assert "Indexed</th><td>151 word(s)<" in await playground.page("stats")


async def test_the_counters_go_on_after_a_reload(playground: Playground) -> None:
    def requests(page: str) -> int:
        found = re.search(r"requests</th><td>(\d+)<", page)
        assert found is not None
        return int(found[1])

    before = requests(await playground.page("stats"))
    playground.edit("counters/plugin.py", "Named counters", "Counters by name")
    assert "metrics/counters" in affected(await playground.settled())
    assert requests(await playground.page("stats")) == before + 1


async def test_a_syntax_error_is_reported_with_its_line_while_the_old_generation_ticks_on(
    playground: Playground,
) -> None:
    undo = playground.edit("greeter/plugin.py", "class Greeter:", "class Greeter")
    (fact,) = (f for f in await playground.settled() if isinstance(f, PluginRejected))
    line = (playground.plugins / "greeter/plugin.py").read_text().split("\n").index("class Greeter")
    assert isinstance(fact.error, PluginLoadError)
    assert (fact.keeps_generation, fact.error.line) == (1, line + 1)
    await playground.log.next("tick", greeting="Hello, world!")
    undo()
    await playground.settled()
    assert playground.error("job", "greeter") is None
    await playground.log.next("tick", greeting="Hello, world!")


async def test_a_setup_that_raises_is_rolled_back_and_the_old_generation_serves_again(
    playground: Playground,
) -> None:
    ticker = playground.generations()["clock/ticker"]
    signature = "async def setup(self, ctx: PluginContext) -> None:\n"
    raising = f'{signature}        raise RuntimeError("no")\n'
    undo = playground.edit("library/plugin.py", signature, raising)
    (fact,) = (f for f in await playground.settled() if isinstance(f, ReloadRolledBack))
    assert {str(ref) for ref in fact.affected} == {
        "content/library",
        "text/word_index",
        "web/site",
    }
    assert str(playground.error("content", "library")) == "no"
    assert playground.down() == {}
    assert "Welcome" in await playground.page("doc/welcome")
    assert "Welcome" in await playground.page("search?q=welcome")
    undo()
    await playground.settled()
    assert playground.error("content", "library") is None
    assert playground.generations()["clock/ticker"] == ticker
    assert "Welcome" in await playground.page("doc/welcome")


async def test_an_added_dependency_reloads_with_what_it_depends_on(playground: Playground) -> None:
    playground.edit("theme/dagstack.toml", '["settings"]', '["settings", "markdown"]')
    await playground.settled()
    playground.edit("markdown/plugin.py", "Untitled", "Nameless")
    assert "web/theme" in affected(await playground.settled())


async def test_a_cycle_is_rejected_and_everything_keeps_running(playground: Playground) -> None:
    before = playground.generations()
    undo = playground.edit(
        "settings/dagstack.toml", "priority = 90", 'priority = 90\ndepends_on = ["greeter"]'
    )
    (fact,) = (f for f in await playground.settled() if isinstance(f, PluginRejected))
    assert isinstance(fact.error, DependencyCycle)
    assert {"store/settings", "job/greeter"} <= {str(ref) for ref in fact.error.cycle}
    assert (playground.generations(), playground.down()) == (before, {})
    undo()
    await playground.settled()
    assert playground.error("store", "settings") is None


async def test_a_removed_plugin_blocks_the_site_until_it_is_back(playground: Playground) -> None:
    folder = playground.plugins / "theme"
    aside = playground.plugins.parent / "theme"
    shutil.move(folder, aside)
    await playground.settled()
    assert playground.down() == {"web/site": State.BLOCKED}
    assert "web/theme" not in playground.generations()
    shutil.move(aside, folder)
    await playground.settled()
    assert playground.down() == {}
    assert "Welcome" in await playground.page("")


async def test_a_blocked_event_loop_is_noticed(playground: Playground) -> None:
    greet = "async def greet(self) -> str:\n"
    playground.edit("greeter/plugin.py", greet, f"{greet}        import time; time.sleep(0.5)\n")
    warning = await playground.log.next("event_loop_blocked")
    assert (warning["plugin"], warning["seconds"] > 0.1) == ("monitor/loop_lag", True)


@pytest.mark.parametrize("edits", [1, 5])
async def test_settings_outlive_every_reload(playground: Playground, edits: int) -> None:
    before = await starts(playground)
    for number in range(edits):
        file = playground.plugins / "settings" / "schema.sql"
        file.write_text(file.read_text(encoding="utf-8") + f"-- {number}\n", encoding="utf-8")
        await playground.settled()
    assert await starts(playground) == before + edits
