"""The runtime `mcp_stdio`: plugins in any language, each a process that speaks MCP."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from dagstack_dev.core.errors.files import ManifestProblem, ServerMissing
from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.manifest.mcp import CALL_SECONDS, McpStdio
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.runtimes.code import compile_all, named_files
from dagstack_dev.runtimes.mcp.generation import McpCode, McpRuntime
from dagstack_dev.runtimes.mcp.process import ServerProcess
from dagstack_dev.runtimes.mcp.snapshot_copy import SnapshotCopy
from dagstack_dev.runtimes.mcp.stdio_settings import StdioSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import Prepared
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.runtimes.mcp.server_log import ServerLog


class McpStdioRuntime(McpRuntime):
    """Runs each plugin as a child process (contract, section 13)."""

    name: Final = "mcp_stdio"

    def prepare(
        self,
        manifest: PluginManifest,
        source: PluginSource,
        previous: Prepared | None = None,
    ) -> McpCode:
        """Look for the program and for the script that the manifest's command names.

        Raises:
            ServerMissing: one of them is not there.
            PluginLoadError: the script is written in Python, and does not compile.
        """
        if isinstance(previous, McpCode) and isinstance(previous.endpoint, StdioEndpoint):
            previous.endpoint.files.note_later(source)
        settings = StdioSettings.of(manifest)
        if found := settings.problem_in(source.home):
            problem = ManifestProblem(*found, _line_of(found[0], source))
            raise ServerMissing(source.manifest_path, [problem], ref=manifest.ref)
        _check_python(manifest.ref, settings, source)
        endpoint = StdioEndpoint(
            settings,
            SnapshotCopy(source),
            call_timeout=(manifest.mcp_stdio or McpStdio()).timeout_sec or CALL_SECONDS,
            teardown_seconds=manifest.teardown_timeout_sec,
        )
        return self.code(previous, manifest, endpoint)


@dataclass(frozen=True, slots=True)
class StdioEndpoint:
    """How one plugin's process is started; see `endpoint.Endpoint`.

    Attributes:
        settings: how it is started.
        files: what it runs.
        call_timeout: seconds.
        teardown_seconds: how long stopping it may take.
    """

    settings: StdioSettings
    files: SnapshotCopy = field(compare=False)
    call_timeout: float
    teardown_seconds: float

    call_timeout_option = "mcp_stdio.timeout_sec"
    may_come_back = False  # What a process does not know of MCP, it will not learn.

    @asynccontextmanager
    async def connect(self, ref: PluginRef, log: ServerLog) -> AsyncIterator[ServerProcess]:
        """Start the process."""
        settings, files = self.settings, self.files
        own, place = files.folder, await anyio.to_thread.run_sync(files.place)
        if place != own:
            log.say("its folder holds something newer than this generation, which runs from a copy")
        script = settings.script_place
        if script is not None and not files.holds(script):
            hint = "build into a folder of another name, such as out"
            text = f"changes of {settings.script} are not noticed, for it is ignored; {hint}"
            log.say(text, "warning")
        process = await ServerProcess.start(
            ref,
            [
                place + word[len(own) :] if word.startswith(own + "/") else word
                for word in settings.command
            ],
            folder=settings.folder_in(place),
            env=settings.environment(),
            log=log,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.note_exit)
            tasks.start_soon(process.log_stderr)
            try:
                yield process
            finally:
                # One second is for what else there is to undo.
                await process.stop(max(self.teardown_seconds - 1, 0.5))
                tasks.cancel_scope.cancel()


def _line_of(field: str, source: PluginSource) -> int | None:
    """Return the line of a field, wherever the manifest gives it."""
    places = (field, f"mcp_stdio.{field}", "entry_point")
    return next((line for each in places if (line := line_in(source, each))), None)


def _check_python(ref: PluginRef, settings: StdioSettings, source: PluginSource) -> None:
    """Compile a Python script, where this very interpreter is to run it, and what it may import.

    Raises:
        PluginLoadError: one of these files does not compile.
    """
    program, script = settings.program(), settings.script_place
    if script is None or not script.endswith(".py") or program is None:
        return
    if os.path.realpath(program) != os.path.realpath(sys.executable):
        return  # Another version may know another syntax.
    files = compile_all(source)
    reached = {script, *named_files(files)}
    for relative, file in files.items():
        if relative in reached and file.error is not None:
            problem, line = file.problem
            raise PluginLoadError(ref, "compile", problem, path=file.path, line=line)
