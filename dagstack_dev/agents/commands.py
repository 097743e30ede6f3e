"""What commands find out: `check`, `why` and `run_tests`, each in a process of its own.

They read or run the code of plugins, which is not to happen in the process of the agent's server.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from dagstack_dev.agents.connection import NoServer
from dagstack_dev.agents.tool import (
    Answer,
    Arguments,
    Call,
    FromPlugin,
    Name,
    Text,
    ToolProblem,
    fenced,
    present,
)
from dagstack_dev.core.wording import counted
from dagstack_dev.runtimes import process_groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SELECTING: Final = (
    "config",
    "core-version",
    "entry-points",
    "gitignore",
    "hookspecs",
    "ignore",
    "watch-code",
)
"""Settings by which `check` and `why` look at what the dev server does."""

_MOST_FINDINGS: Final = 50
_MOST_CHARACTERS: Final = 30_000
_MOST_BYTES: Final = 4 * _MOST_CHARACTERS
_PIECE_BYTES: Final = 65_536


class PathArguments(Arguments):
    """Which plugins a command looks at."""

    paths: list[str] = Field(
        default_factory=list,
        description="Folders with plugins; by default those that the dev server watches, or that "
        "the settings of the project name.",
    )
    timeout_seconds: float = Field(300.0, gt=0, le=3600)


class TestArguments(PathArguments):
    """Which plugins are tested."""

    plugins: list[str] = Field(
        default_factory=list,
        description="Only these of them, as kind/name or the name alone. What they depend on must "
        "be among the paths.",
    )


class WhyArguments(PathArguments):
    """Which file."""

    file: str = Field(description="Its path, from the project's folder or absolute.")


class Finding(FromPlugin):
    """Something that is wrong with a plugin."""

    code: str = Field(description="The page checks of the documentation explains it.")
    severity: str
    path: Name
    line: int | None = None
    message: Text
    fix: Text | None = None
    plugin: Name | None = None

    def in_words(self) -> str:
        """Return it as a line, for `fenced`."""
        place = present(self.path, self.line, by=":")
        return present(f"{place}: {self.severity} {self.code} {self.message}", self.fix, by="; ")


class Findings(Answer):
    """What is wrong with plugins, as far as their text shows."""

    plugins: int = Field(description="How many were looked at.")
    findings: list[Finding] = Field(description="If there are very many, the first.")
    in_all: int = Field(description="How many there are.")

    def in_words(self) -> str:
        """Return a line for each finding."""
        if not self.findings:
            return f"Nothing found in {counted(self.plugins, 'plugin')}."
        more = self.in_all - len(self.findings)
        found = fenced("\n".join(each.in_words() for each in self.findings))
        return present(found, more and f"and {more} more")


class Output(Answer, FromPlugin):
    """What a command has printed."""

    passed: bool = Field(description="Whether it has ended well.")
    output: str = Field(description="If it is very long, the end of it.")

    def in_words(self) -> str:
        """Return the output."""
        return present(not self.passed and "Failed:", fenced(self.output.strip()))


async def check(call: Call, arguments: PathArguments) -> Findings:
    """Find what is wrong without running any code."""
    # Its output is whole JSON, and no text that a plugin prints.
    _, output = await _output(call, arguments, "check", "--format", "json", most=sys.maxsize)
    found = json.loads(output)
    findings = found["findings"]
    some = [Finding.model_validate(each) for each in findings[:_MOST_FINDINGS]]
    return Findings(plugins=found["plugins"], findings=some, in_all=len(findings))


async def why(call: Call, arguments: WhyArguments) -> Output:
    """Find what a save of a file would reload."""
    code, output = await _output(call, arguments, "why", before=[arguments.file])
    return Output(passed=code == 0, output=output[-_MOST_CHARACTERS:])


async def run_tests(call: Call, arguments: TestArguments) -> Output:
    """Test plugins."""
    only = [f"--plugin={each}" for each in arguments.plugins]
    takes = ("config", "ignore", "watch-code")
    code, output = await _output(call, arguments, "test", *only, takes=takes)
    return Output(passed=code == 0, output=output[-_MOST_CHARACTERS:])


async def _output(
    call: Call,
    arguments: PathArguments,
    *command: str,
    before: Sequence[str] = (),
    takes: Sequence[str] = _SELECTING,
    most: int = _MOST_BYTES,
) -> tuple[int, str]:
    """Run a command in the folder of the project; return its exit code and what it has printed.

    Unless told otherwise, it looks at what the dev server that runs looks at.

    Args:
        call: of the tool.
        arguments: say where.
        command: its name and options.
        before: what it takes before the paths; it may begin with a hyphen, as paths may.
        takes: those settings of the dev server that hold for the command, too.
        most: of its output, the last so many bytes are kept.

    Raises:
        ToolProblem: it cannot do this, or takes too long.
    """
    paths, folder, options = arguments.paths, str(call.connection.folder), list[str]()
    try:
        server = await call.connection.server()
    except NoServer:
        pass
    else:
        folder = server.folder or folder
        paths = paths or server.selection.get("paths", [])
        options += _options(server.selection, takes)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dagstack_dev", *command, *options, "--", *before, *paths),
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    process_groups.keep(process.pid)
    try:
        async with asyncio.timeout(arguments.timeout_seconds):
            output, errors = await asyncio.gather(
                _end(process.stdout, most), _end(process.stderr, _MOST_BYTES)
            )
            code = await process.wait()
    except TimeoutError:
        limit = f"not ended after {arguments.timeout_seconds:g} s"
        raise ToolProblem(f"{limit}; name fewer paths, or wait longer") from None
    finally:
        process_groups.kill(process.pid, signal.SIGKILL)
        process_groups.release(process.pid)
    if code not in {0, 1}:
        raise ToolProblem(errors.strip().removeprefix("dagstack-dev: ") or f"it ended with {code}")
    return code, output


def _options(selection: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Yield what a dev server looks at as options of a command, by these names."""
    for name in names:
        value = selection.get(name)
        if isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        else:
            values = [value] if isinstance(value, str) else value or []
            yield from (f"--{name}={each}" for each in values)


async def _end(stream: asyncio.StreamReader | None, most: int) -> str:
    """Return the last bytes of a stream as text; no more of it is ever held."""
    assert stream is not None  # noqa: S101 - it is piped
    end = bytearray()
    while piece := await stream.read(_PIECE_BYTES):
        end += piece
        del end[:-most]
    return end.decode(errors="replace")
