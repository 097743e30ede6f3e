"""A plugin is written from nothing, broken and mended, by what the tools say and nothing else.

An agent that had no other eyes has gone this way; what it acted on is asserted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runs import Watching
from mcp_clients import Agent, connected, door, on_one_python, text

pytestmark = on_one_python

MANIFEST = """\
[plugin]
name = "{name}"
kind = "tool"
core_version = ">=0.1,<1"
runtime = "in_process"
entry_point = "plugin:Plugin"
depends_on = {depends_on}
"""
WEATHER = """\
class Plugin:
    def setup(self, ctx):
        self.clock = ctx.registry.get_plugin("tool", "clock")

    def report(self, city: str) -> str:
        return f"{city}: sunny at {self.clock.now()}"
"""
CLOCK = """\
class Plugin:
    def setup(self, ctx):
        self.zone = ctx.config.get("zone", "UTC")
        ctx.logger.info("the zone is %s", self.zone)

    def now(self) -> str:
        return f"12:00 {self.zone}"
"""
TEST = """\
from ..plugin import Plugin


class NoonClock:
    def now(self):
        return "12:00"


def test_the_report():
    weather = Plugin()
    weather.clock = NoonClock()
    assert weather.report("Oslo") == "Oslo: sunny at 13:00"
"""


@pytest.fixture
def project(tmp_path: Path, watch: Callable[..., Watching]) -> Path:
    """A folder with a server over no plugin at all."""
    (tmp_path / "plugins").mkdir()
    watch("plugins", "--log-format", "json").event("watch.started")
    return tmp_path


def write(project: Path, path: str, content: str) -> Path:
    file = project / "plugins" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return file


async def say(agent: Agent, tool: str, **arguments: Any) -> str:
    """What a tool says to a model."""
    answer = await agent.ask("call_tool", name=tool, arguments=arguments)
    assert not answer.get("isError"), answer
    return text(answer)


async def test_the_documentation_leads_to_a_first_plugin(project: Path) -> None:
    async with connected("python-legacy", door(project)) as agent:
        assert "\n0 plugins, all current." in await say(agent, "status")
        assert "plugins#a-new-plugin: " in await say(agent, "docs", search="a new plugin")
        assert "\nclass Greeter:" in await say(agent, "docs", page="plugins#a-new-plugin")
        fields = await say(agent, "docs", page="manifest")
        assert "| `core_version` | string, required |" in fields
        assert "| `depends_on` | array, `[]` |" in fields


async def test_a_wrong_manifest_a_missing_dependency_and_bad_code_are_mended_one_by_one(
    project: Path,
) -> None:
    async with connected("python-legacy", door(project)) as agent:
        wrong = MANIFEST.format(name="weather", depends_on='["clock"]')
        wrong = wrong.replace(">=0.1,<1", "^0.1").replace("depends_on", "depend_on")
        manifest = write(project, "weather/dagstack.toml", wrong)
        for said in await say(agent, "wait_for_reload"), await say(agent, "last_error"):
            assert "tool/weather cannot be loaded:" in said
            assert (
                f"'^0.1' is not a PEP 440 specifier; write \">=0.1,<0.2\"\n{manifest}:4\n" in said
            )
            assert "depend_on: unknown key; did you mean 'depends_on'?" in said
        assert "dagstack.toml:7: error D101 depend_on" in await say(agent, "check")

        write(project, "weather/dagstack.toml", wrong.replace("^0.1", ">=0.1,<1"))
        assert "PEP 440" not in await say(agent, "wait_for_reload")
        right = MANIFEST.format(name="weather", depends_on='["clock"]')
        write(project, "weather/dagstack.toml", right)
        assert "there is no plugin.py" in await say(agent, "wait_for_reload")

        write(project, "weather/plugin.py", WEATHER)
        said = await say(agent, "wait_for_reload")
        assert "clock does not exist:" in said
        assert f"{manifest}:7" in said
        assert "These wait for it: tool/weather." in said
        assert "clock does not exist:" in await say(agent, "last_error", plugin="weather")
        assert "tool/weather: blocked:\n" in await say(agent, "status")
        assert "tool/weather depends on 'clock', which does not exist" in await say(agent, "check")

        write(project, "clock/dagstack.toml", MANIFEST.format(name="clock", depends_on="[]"))
        code = write(project, "clock/plugin.py", CLOCK + "\n    def later(self:\n")
        said = await say(agent, "wait_for_reload")
        assert f"SyntaxError: '(' was never closed\n{code}:9\n" in said
        assert "D301 SyntaxError" in await say(agent, "check")

        write(project, "clock/plugin.py", CLOCK.replace("self.zone = ", "self.zone = ZONES[0]; "))
        said = await say(agent, "wait_for_reload")
        assert "tool/clock failed in setup:" in said
        assert f"NameError: name 'ZONES' is not defined\n{code}:3 in Plugin.setup\n" in said
        assert "Nothing found in 2 plugins." in await say(agent, "check")
        assert "name 'ZONES' is not defined" in await say(agent, "last_error", plugin="weather")

        write(project, "clock/plugin.py", CLOCK)
        said = await say(agent, "wait_for_reload")
        assert said.startswith("Everything that is on disk runs.\n")
        assert "changed: tool/clock; also touched: tool/weather" in said
        assert "the zone is UTC" in await say(agent, "logs", plugin="clock")
        assert await say(agent, "graph") == "tool/clock\ntool/weather -> tool/clock"
        said = await say(agent, "last_error")
        assert "Nothing is wrong now." in said
        assert "name 'ZONES' is not defined" in said


async def test_an_edit_is_tried_tested_rolled_back_and_mended(project: Path) -> None:
    write(project, "clock/dagstack.toml", MANIFEST.format(name="clock", depends_on="[]"))
    write(project, "weather/dagstack.toml", MANIFEST.format(name="weather", depends_on='["clock"]'))
    write(project, "clock/plugin.py", CLOCK)
    write(project, "weather/plugin.py", WEATHER)
    async with connected("python-legacy", door(project)) as agent:
        assert "Everything" in await say(agent, "wait_for_reload")
        said = await say(agent, "why", file="plugins/clock/plugin.py")
        assert "tool/weather depends on it" in said

        test = write(project, "weather/tests/test_weather.py", TEST)
        said = await say(agent, "run_tests", plugins=["weather"])
        assert said.startswith("Failed:\n")
        assert "Oslo: sunny at 12:00' == 'Oslo: sunny at 13:00'" in said
        test.write_text(TEST.replace("13:00", "12:00"), encoding="utf-8")
        said = await say(agent, "run_tests", plugins=["weather"])
        assert "1 plugin: 1 passed" in said
        await say(agent, "wait_for_reload")

        raising = CLOCK.replace("ctx.logger", "raise RuntimeError('no zone')\n        ctx.logger")
        code = write(project, "clock/plugin.py", raising)
        said = await say(agent, "wait_for_reload")
        assert "rolled back" in said
        assert f"RuntimeError: no zone\n{code}:4 in Plugin.setup\n" in said
        assert "what ran before goes on: tool/clock (generation 1)." in said
        assert "tool/weather: ready, generation" in await say(agent, "status")
        write(project, "clock/plugin.py", CLOCK.replace('"UTC"', '"CET"'))
        assert "Everything" in await say(agent, "wait_for_reload")


async def test_a_slip_in_a_call_is_answered_with_what_would_do(project: Path) -> None:
    async with connected("python-legacy", door(project)) as agent:
        for tool, arguments, hint in (
            ("status", {"plugin": "clock"}, "takes no argument 'plugin'; did you mean 'plugins'?"),
            ("graph", {"of": "clock"}, "takes no argument 'of'; it takes around, depth"),
            ("reload", {}, "name plugins, or say everything: true"),
            ("docs", {"page": "nowhere"}, "without arguments, all pages are listed"),
            ("check", {"paths": ["nowhere"]}, "nowhere: does not exist"),
        ):
            answer = await agent.ask("call_tool", name=tool, arguments=arguments)
            assert answer["isError"]
            assert hint in text(answer), tool
