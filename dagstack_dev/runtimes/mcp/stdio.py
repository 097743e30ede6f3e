"""The runtime `mcp_stdio`: plugins in any language, each a process that speaks MCP."""

from __future__ import annotations

import math
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from dagstack_dev.core.errors.files import ManifestInvalid, ManifestProblem
from dagstack_dev.core.manifest.mcp import CALL_SECONDS, McpStdio
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.runtimes.mcp.command import (
    StdioSettings,
    check_python,
    environment,
    place_of,
    problems_of,
    script_of,
)
from dagstack_dev.runtimes.mcp.generation import McpCode
from dagstack_dev.runtimes.mcp.kept import KeptFolder
from dagstack_dev.runtimes.mcp.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import Prepared
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.runtimes.mcp.server_log import ServerLog


class McpStdioRuntime:
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
            ManifestInvalid: one of them is not there.
            PluginLoadError: the script is written in Python, and does not compile.
        """
        if isinstance(previous, McpCode) and isinstance(previous.endpoint, StdioEndpoint):
            previous.endpoint.kept.note_later(source)
        settings = StdioSettings.of(manifest)
        problems = problems_of(settings, _below(source.home, settings))
        if problems:
            raise _invalid(manifest, source, problems)
        check_python(manifest.ref, settings, source)
        endpoint = StdioEndpoint(
            settings,
            KeptFolder(source),
            call_timeout=(manifest.mcp_stdio or McpStdio()).timeout_sec or CALL_SECONDS,
            startup_timeout=manifest.startup_timeout_sec,
            teardown_seconds=manifest.teardown_timeout_sec,
        )
        return McpCode.after(previous, manifest, endpoint)

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:  # noqa: ARG002 - of nobody
        """Nobody imports the code of another process."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class StdioEndpoint:
    """How one plugin's process is started; see `endpoint.Endpoint`.

    `kept` is what it runs. A call, the start and stopping it may take so many seconds.
    """

    settings: StdioSettings
    kept: KeptFolder = field(compare=False)
    call_timeout: float
    startup_timeout: float
    teardown_seconds: float

    call_timeout_option = "mcp_stdio.timeout_sec"
    may_come_back = False  # What a process does not know of MCP, it will not learn.

    @asynccontextmanager
    async def connect(self, ref: PluginRef, log: ServerLog) -> AsyncIterator[ServerProcess]:
        """Start the process."""
        from dagstack_dev.runtimes.mcp.messages import (  # noqa: PLC0415 - it imports the SDK
            MessageReader,
            OpenRequests,
            write_messages,
        )

        settings, kept = self.settings, self.kept
        own, place = kept.folder, await anyio.to_thread.run_sync(kept.place)
        if place != own:
            log.say("its folder holds something newer than this generation, which runs from a copy")
        script = script_of(settings.command)
        if script is not None and not kept.holds(place_of(script, settings)):
            hint = "build into a folder of another name, such as out"
            log.say(f"changes of {script} are not noticed, for it is ignored; {hint}", "warning")
        process = await ServerProcess.start(
            ref,
            [
                place + word[len(own) :] if word.startswith(own + "/") else word
                for word in settings.command
            ],
            folder=_below(place, settings),
            env=environment(settings.env),
            log=log,
        )
        # The SDK counts the time of a call from when it is sent, so that must not have to wait.
        send, receive = anyio.create_memory_object_stream[Any](math.inf)
        requests = OpenRequests()
        reader = MessageReader(process.stdout, process.lost, log, requests)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.note_exit)
            tasks.start_soon(process.log_stderr)
            tasks.start_soon(write_messages, receive, process, requests)
            try:
                with send:
                    process.streams = reader, send
                    yield process
            finally:
                # One second is for what else there is to undo.
                await process.stop(max(self.teardown_seconds - 1, 0.5))
                tasks.cancel_scope.cancel()


def _below(folder: str, settings: StdioSettings) -> str:
    return os.path.normpath(Path(folder, settings.working_dir or "."))


def _invalid(
    manifest: PluginManifest, source: PluginSource, problems: Mapping[str, str]
) -> ManifestInvalid:
    found = [
        ManifestProblem(field, message, _line_of(field, source))
        for field, message in problems.items()
    ]
    return ManifestInvalid(source.manifest_path, found, ref=manifest.ref)


def _line_of(field: str, source: PluginSource) -> int | None:
    """The line of a field, wherever the manifest gives it."""
    places = (field, f"mcp_stdio.{field}", "entry_point")
    return next((line for each in places if (line := line_in(source, each))), None)
