"""The dialogue of docs/agents.md is what an agent sees, and what else the page shows is so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import QUIET_START, Asking
from command_runs import Watching
from mcp_clients import Agent, connected, door, text, tools
from sessions import shown_commands, timeless
from trees import PluginTree

from dagstack_dev import manual
from dagstack_dev.cli.install import CLIENTS

PROJECT = "/home/ada/hello"
"""Where the page has the plugin lie."""


@pytest.fixture
def ask(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


@pytest.mark.usefixtures("sockets")
async def test_the_tools_and_the_dialogue_are_as_they_are_shown(
    ask: Asking, watch: Callable[..., Watching]
) -> None:
    ask.run("new", "tool/greeter")
    named = agents_are_told_what_is_shown(ask.folder)
    running = watch("plugins", "--log-format", "json", environment=QUIET_START)
    running.event("watch.started")
    rows = re.findall(r"^\| `(\w+)` \|", manual.read("agents#the-tools"), re.MULTILINE)
    blocks = re.findall(
        r"^```(diff|text)\n(.*?)^```", manual.read("agents#a-dialogue"), re.DOTALL | re.MULTILINE
    )
    assert [language for language, _ in blocks].count("diff") > 2
    async with connected("python-legacy", door(ask.folder)) as agent:
        assert rows == [*await tools(agent)]
        assert {"wait_for_reload", "run_tests", "docs"} <= named <= {*rows}
        for language, block in blocks:
            if language == "diff":
                edit(ask.folder, block)
            else:
                await talk(agent, ask.folder, block)


def agents_are_told_what_is_shown(project: Path) -> set[str]:
    """What AGENTS.md is shown to hold, it does; which tools that names."""
    (shown,) = re.findall(r"```markdown\n(.*?)```", manual.read("agents#agentsmd"), re.DOTALL)
    assert (project / "AGENTS.md").read_text() == shown
    return {*re.findall(r"`(\w+)`", shown)}


def test_the_readme_shows_a_part_of_the_dialogue() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    assert f"```text\n{shown}```" in manual.read("agents#a-dialogue")
    (command,) = re.findall(r"`dagstack-dev (mcp --install [\w-]+)`", readme)
    assert command.split()[-1] in CLIENTS


def edit(folder: Path, diff: str) -> None:
    """Replace the lines after `-` by those after `+`."""
    path, *lines = diff.splitlines(keepends=True)
    file = folder / path.removeprefix("--- ").strip()
    old, new = ("".join(each[1:] for each in lines if each[0] == mark) for mark in "-+")
    code = file.read_text()
    assert code.count(old) == 1
    file.write_text(code.replace(old, new))


async def talk(agent: Agent, folder: Path, block: str) -> None:
    """Call the tools after each `>`, and compare what they answer."""
    calls = re.split(r"^> (?=\w)", block, flags=re.MULTILINE)[1:]
    assert calls
    for each in calls:
        question, _, shown = each.partition("\n")
        tool, _, arguments = question.partition(" ")
        answer = await agent.ask("call_tool", name=tool, arguments=json.loads(arguments or "{}"))
        assert timeless(text(answer).replace(str(folder), PROJECT)) == timeless(shown), question


def test_the_way_over_http_is_shown_as_it_is_printed(
    tree: PluginTree, ask: Asking, watch: Callable[..., Watching]
) -> None:
    tree.plugin("greeter")
    watch("plugins", "--page", "--log-format", "json").event("watch.started")
    section = manual.read("agents#over-http")
    (command,) = re.findall(r"`dagstack-dev (page [^`]*)` prints the address", section)
    ((shown_url, shown_header),) = re.findall(r'dagstack-dev (http\S+) --header "(.*)"', section)
    url, header = ask.run(*command.split()).stdout.splitlines()
    assert re.sub(r":\d+/", ":PORT/", url) == shown_url
    assert re.sub(r"Bearer \S+", "Bearer TOKEN", header) == shown_header


def test_a_client_is_told_of_the_server_as_it_is_shown(ask: Asking) -> None:
    section = manual.read("agents#add-it-to-a-client")
    ((command, output),) = shown_commands(section)
    assert ask.run(*command).stdout == output
    (shown,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    assert (ask.folder / ".mcp.json").read_text() == shown
    rows = re.findall(r"^\| `([\w-]+)` \| `([\w./]+)` \| (.*) \|$", section, re.MULTILINE)
    assert {name: row for name, *row in rows} == {
        name: [each.file, each.step] for name, each in CLIENTS.items()
    }
