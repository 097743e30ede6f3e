"""Calls of tools, and new tools, while their code is edited: what an agent sees over MCP."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scripts.benchlib.checkouts import ROOT
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.trees import MANIFEST

if TYPE_CHECKING:
    from mcp import Client

CALLERS: Final = 4
THINK_SEC: Final = 0.02
PATIENCE_SEC: Final = 10.0
BROKEN_SEC: Final = 2.0
QUIET_SEC: Final = 0.2
MCP_HMR: Final = ROOT / ".venv-mcp-hmr/bin/mcp-hmr"

PLUGIN: Final = """\
class Plugin:
    def value(self) -> int:
        return {value}
{tool}
"""
PLUGIN_TOOL: Final = """
    def {name}(self) -> int:
        return 0
"""
SERVER: Final = """\
from {module} import {server}

app = {server}("probe")


@app.tool()
def value() -> int:
    return {value}
{tool}

if __name__ == "__main__":
    app.run("stdio")
"""
SERVER_TOOL: Final = """

@app.tool()
def {name}() -> int:
    return 0
"""
MCPMON: Final = """\
servers:
  probe:
    command: {python}
    args: [server.py]
    watch: {folder}
settings:
  log_level: quiet
"""


@dataclass(frozen=True)
class Recipe:
    """A way to have tools reloaded.

    Attributes:
        name: in the table.
        command: what the client starts, in a folder with `file`.
        file: what is edited.
        code: its text, with `value` and `tool`.
        tool: the text of one more tool, with its `name`.
        prefix: before the names of the tools, as a client sees them.
        files: what else is there, with `folder` and `python`.
        beside: a server that runs beside it, and what its output says when it has started.
    """

    name: str
    command: tuple[str, ...]
    file: str
    code: str
    tool: str
    prefix: str = ""
    files: dict[str, str] = field(default_factory=dict)
    beside: tuple[tuple[str, ...], str] = ((), "")

    @property
    def available(self) -> bool:
        """Whether it is installed."""
        return Path(self.command[0]).exists()


_DAGSTACK: Final = (sys.executable, "-m", "dagstack_dev")
RECIPES: Final = (
    Recipe(
        "dagstack-dev mcp",
        (*_DAGSTACK, "mcp", "--expose", "bench/probe"),
        "plugins/probe/plugin.py",
        PLUGIN,
        PLUGIN_TOOL,
        prefix="bench__probe__",
        files={"plugins/probe/dagstack.toml": MANIFEST.format(name="probe", depends_on="")},
        beside=((*_DAGSTACK, "watch", "plugins", "--log-format", "json"), "watch.started"),
    ),
    Recipe(
        "mcp-hmr",
        (str(MCP_HMR), "server.py:app"),
        "server.py",
        SERVER.replace("{module}", "fastmcp").replace("{server}", "FastMCP"),
        SERVER_TOOL,
    ),
    Recipe(
        "mcpmon",
        (str(Path(sys.executable).with_name("mcpmon")), "--config", "mcpmon.yaml"),
        "server.py",
        SERVER.replace("{module}", "mcp.server").replace("{server}", "MCPServer"),
        SERVER_TOOL,
        files={"mcpmon.yaml": MCPMON},
    ),
)


@dataclass
class Outcome:
    """What came of the edits of one program.

    Attributes:
        code: from a save to the first answer of the new code, per edit, in ms.
        tools: from a save to the new tool in `tools/list`, per edit, in ms.
        calls: how many there were while the code was edited, and while it was broken.
        lost: those of them that failed, or were not answered in `PATIENCE_SEC`.
        longest: the longest wait of a call that was answered, in ms.
        missed: edits that were never seen.
    """

    code: list[float] = field(default_factory=list)
    tools: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    missed: int = 0


class Subject:
    """One program with a client that is connected to it.

    Args:
        recipe: of the program.
        folder: where it runs.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        self.outcome = Outcome()
        self._file = folder / recipe.file
        self._client: Client
        self._folder = folder
        self._saves = 0
        self._newest = 0

    def write(self) -> None:
        """Write the files that it runs on."""
        self._file.parent.mkdir(parents=True)
        for name, text in self.recipe.files.items():
            file = self._folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.format(folder=self._folder, python=sys.executable))
        self._save()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the program and connect."""
        from mcp import Client, StdioServerParameters  # noqa: PLC0415 - an extra
        from mcp.client.stdio import stdio_client  # noqa: PLC0415 - an extra

        program, *arguments = self.recipe.command
        server = StdioServerParameters(
            command=program, args=arguments, cwd=self._folder, env=dict(os.environ)
        )
        with open(os.devnull, "w") as nothing:  # noqa: ASYNC230, PTH123 - it takes no time
            transport = stdio_client(server, nothing)
            async with self._beside(), Client(transport, mode="legacy") as self._client:
                await self._until(lambda: self._has("value"))
                yield

    @asynccontextmanager
    async def _beside(self) -> AsyncIterator[None]:
        command, started = self.recipe.beside
        if not command:
            yield
            return
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self._folder, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            while started not in (await process.stdout.readline()).decode():
                pass
            reading = asyncio.create_task(process.stdout.read())
            yield
            reading.cancel()
        finally:
            process.kill()
            await process.wait()

    # --- the developer

    def _save(self, tool: str = "", end: str = "") -> float:
        """Save the file once more; the moment before."""
        self._saves += 1
        more = self.recipe.tool.format(name=tool) if tool else ""
        text = self.recipe.code.format(value=self._saves, tool=more) + end
        began = time.perf_counter()
        self._file.write_text(text)
        return began

    async def edit(self) -> None:
        """Save other code while it is called, until an answer is of it."""
        async with self._called("edited"):
            began = self._save()
            await self._seen(self._is_new, began, self.outcome.code)
            await asyncio.sleep(QUIET_SEC)

    async def add_tool(self) -> None:
        """Save one tool more while the list is asked for."""
        name = f"added_{self._saves}"
        began = self._save(name)
        await self._seen(lambda: self._has(name), began, self.outcome.tools)

    async def break_(self) -> None:
        """Save a syntax error while it is called, and then mend it."""
        async with self._called("broken"):
            self._save(end="\n(")
            await asyncio.sleep(BROKEN_SEC)
        await self._seen(self._asked_is_new, self._save(), [])

    async def _seen(
        self, holds: Callable[[], Awaitable[bool]], began: float, times: list[float]
    ) -> None:
        if await self._until(holds):
            times.append(_ms_since(began))
        else:
            self.outcome.missed += 1

    # --- the clients

    @asynccontextmanager
    async def _called(self, when: str) -> AsyncIterator[None]:
        """Have it called all the time; begin when there are answers."""
        await self._until(self._asked_is_new)
        over = asyncio.Event()
        callers = [asyncio.create_task(self._calls(over, when)) for _ in range(CALLERS)]
        await asyncio.sleep(QUIET_SEC)
        yield
        over.set()
        await asyncio.gather(*callers)

    async def _calls(self, over: asyncio.Event, when: str) -> None:
        while not over.is_set():
            began = time.perf_counter()
            value = await self._value()
            self.outcome.calls[when] += 1
            if value is None:
                self.outcome.lost[when] += 1
            else:
                self.outcome.longest = max(self.outcome.longest, _ms_since(began))
                self._newest = max(self._newest, value)
            await asyncio.sleep(THINK_SEC)

    async def _value(self) -> int | None:
        """What the tool answers; None where the call is lost."""
        try:
            answer = await self._client.call_tool(
                f"{self.recipe.prefix}value", {}, read_timeout_seconds=PATIENCE_SEC
            )
        except Exception:  # noqa: BLE001 - whatever it raises, the call is lost
            return None
        if answer.is_error:
            return None
        return int("".join(filter(str.isdigit, str(answer.content))))

    async def _is_new(self) -> bool:
        return self._newest == self._saves

    async def _asked_is_new(self) -> bool:
        return await self._value() == self._saves

    async def _has(self, name: str) -> bool:
        listed = await self._client.list_tools(cache_mode="bypass")
        return f"{self.recipe.prefix}{name}" in [each.name for each in listed.tools]

    @staticmethod
    async def _until(holds: Callable[[], Awaitable[bool]]) -> bool:
        """Look until something holds; False if it does not in `PATIENCE_SEC`."""
        until = time.perf_counter() + PATIENCE_SEC
        while not await holds():
            if time.perf_counter() > until:
                return False
            await asyncio.sleep(0.002)
        return True


def measure(edits: int) -> Table:
    """The table of programs that reload tools, edited in turn."""
    table = Table(
        f"Tools of an MCP server that are edited while {CALLERS} callers use them, in ms",
        (
            *("program", "code p50", "code p95", "p50/ours", "tool p50", "tool p95", "tool/ours"),
            *("calls", "lost", "longest", "calls, broken", "lost, broken", "missed"),
        ),
        note=f"{edits} edits of a method and {edits // 2} with a tool more, in turn; code and tool:"
        " from the save to the first answer of the new code, and to the tool in tools/list",
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        subjects = []
        for number, recipe in enumerate(RECIPES):
            if recipe.available:
                subjects.append(Subject(recipe, Path(folder, str(number))))
                subjects[-1].write()
            else:
                say(f"agents: {recipe.name} is not installed")
        asyncio.run(_edit(subjects, edits))
    ours = subjects[0].outcome
    for subject in subjects:
        outcome = subject.outcome
        table.add(
            {
                "program": subject.recipe.name,
                "code p50": percentile(outcome.code, 50),
                "code p95": percentile(outcome.code, 95),
                "p50/ours": percentile(outcome.code, 50) / percentile(ours.code, 50),
                "tool p50": percentile(outcome.tools, 50),
                "tool p95": percentile(outcome.tools, 95),
                "tool/ours": percentile(outcome.tools, 50) / percentile(ours.tools, 50),
                "calls": outcome.calls["edited"],
                "lost": outcome.lost["edited"],
                "longest": outcome.longest,
                "calls, broken": outcome.calls["broken"],
                "lost, broken": outcome.lost["broken"],
                "missed": outcome.missed,
            }
        )
    return table


async def _edit(subjects: Sequence[Subject], edits: int) -> None:
    async with AsyncExitStack() as stack:
        for subject in subjects:
            await stack.enter_async_context(subject.running())
        for turn in range(edits):
            say(f"agents: edit {turn + 1} of {edits}")
            for subject in subjects:
                await subject.edit()
                if turn % 2:
                    await subject.add_tool()
        for subject in subjects:
            await subject.break_()


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
