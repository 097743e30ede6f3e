"""The runtime `mcp_stdio`: plugins in any language, each a process that speaks MCP."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from dagstack_dev.core.errors.files import ManifestInvalid, ManifestProblem
from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.manifest.mcp import CALL_SECONDS, McpStdio
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.core.refs import closest
from dagstack_dev.runtimes.code import compile_all, named_files
from dagstack_dev.runtimes.mcp.generation import McpCode
from dagstack_dev.runtimes.mcp.process import ServerProcess
from dagstack_dev.runtimes.mcp.snapshot_copy import SnapshotCopy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.ports import Prepared
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.runtimes.mcp.server_log import ServerLog


_SCRIPTS: Final = (".py", ".js", ".mjs", ".cjs", ".ts", ".mts", ".sh", ".rb", ".pl", ".php", ".jar")

_USUAL: Final = ("python", "python3", "node", "npx", "uv", "uvx", "deno", "bun", "ruby", "java")


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
            previous.endpoint.files.note_later(source)
        settings = StdioSettings.of(manifest)
        problems = problems_of(settings, _below(source.home, settings))
        if problems:
            raise _invalid(manifest, source, problems)
        check_python(manifest.ref, settings, source)
        endpoint = StdioEndpoint(
            settings,
            SnapshotCopy(source),
            call_timeout=(manifest.mcp_stdio or McpStdio()).timeout_sec or CALL_SECONDS,
            teardown_seconds=manifest.teardown_timeout_sec,
        )
        return McpCode.after(previous, manifest, endpoint)

    def importers(self, ref: PluginRef) -> frozenset[PluginRef]:  # noqa: ARG002 - of none
        """Nobody imports the code of another process."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class StdioSettings:
    """How a plugin's process is started."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    working_dir: str | None

    @classmethod
    def of(cls, manifest: PluginManifest) -> StdioSettings:
        """Return what a valid manifest with the runtime `mcp_stdio` says, wherever it says it."""
        table = manifest.mcp_stdio or McpStdio()
        written = manifest.command or table.command
        words = written or tuple(shlex.split(manifest.entry_point or ""))
        return cls(words, {**manifest.env, **table.env}, table.working_dir)


@dataclass(frozen=True, slots=True)
class StdioEndpoint:
    """How one plugin's process is started; see `endpoint.Endpoint`.

    `files` is what it runs. A call and stopping it may take so many seconds.
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
        script = script_of(settings.command)
        if script is not None and not files.holds(place_of(script, settings)):
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
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.note_exit)
            tasks.start_soon(process.log_stderr)
            try:
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
    """Return the line of a field, wherever the manifest gives it."""
    places = (field, f"mcp_stdio.{field}", "entry_point")
    return next((line for each in places if (line := line_in(source, each))), None)


def environment(added: Mapping[str, str]) -> dict[str, str]:
    """Return our own environment and what is added to it.

    Programs of the virtual environment that we run in come first, as if it had been activated:
    `python` is the interpreter that the project's packages are installed for.
    """
    env = {**os.environ, **added}
    path = env.get("PATH", os.defpath)
    if sys.prefix != sys.base_prefix and "PATH" not in added:
        own = str(Path(sys.executable).parent)
        path = os.pathsep.join([own, *(part for part in path.split(os.pathsep) if part != own)])
    return {**env, "PATH": path}


def problems_of(settings: StdioSettings, folder: str) -> dict[str, str]:
    """Return what is not there of what a command needs, by the field of the manifest.

    `folder` is where it is to run.
    """
    if not Path(folder).is_dir():
        return {"mcp_stdio.working_dir": f"there is no folder {folder}"}
    path = environment(settings.env)["PATH"]
    problem = _program_problem(settings.command[0], folder, path) or _script_problem(
        settings.command, folder
    )
    return {"command": problem} if problem else {}


def _program_problem(program: str, folder: str, path: str) -> str | None:
    if "/" in program:
        file = Path(folder, program)
        if not file.is_file():
            return f"there is no file {file}"
        if not os.access(file, os.X_OK):
            return f"{file} is not executable; chmod +x it, or name its interpreter"
        return None
    if shutil.which(program, path=path) is not None:
        return None
    guess = closest(program, [each for each in _USUAL if shutil.which(each, path=path)])
    hint = f"; did you mean {guess!r}?" if guess else "; install it or give its path"
    return f"there is no program {program!r} on PATH{hint}"


def _script_problem(command: tuple[str, ...], folder: str) -> str | None:
    script = script_of(command)
    if script is None or Path(folder, script).is_file():
        return None
    files = [each.name for each in Path(folder).glob(f"*{Path(script).suffix}")]
    guess = closest(script, files)
    hint = f"; did you mean {guess!r}?" if guess else "; add the file"
    return f"there is no {script} in {folder}{hint}"


def script_of(command: tuple[str, ...]) -> str | None:
    """Return the first argument that looks like a script; what follows it may mean anything."""
    arguments = command[1:]
    if arguments and arguments[0] in {"-m", "-c", "-e"}:
        return None
    script = next((each for each in arguments if each.endswith(_SCRIPTS)), None)
    return None if script is None or script.startswith("-") else script


def place_of(script: str, settings: StdioSettings) -> str:
    """Return a script's path relative to the plugin's folder, if it is below that."""
    return os.path.normpath(Path(settings.working_dir or ".", script))


def check_python(ref: PluginRef, settings: StdioSettings, source: PluginSource) -> None:
    """Compile a Python script, where this very interpreter is to run it, and what it may import.

    Raises:
        PluginLoadError: one of these files does not compile.
    """
    program = shutil.which(settings.command[0], path=environment(settings.env)["PATH"])
    script = script_of(settings.command)
    if script is None or not script.endswith(".py") or program is None:
        return
    if os.path.realpath(program) != os.path.realpath(sys.executable):
        return  # Another version may know another syntax.
    files = compile_all(source)
    reached = {place_of(script, settings), *named_files(files)}
    for relative, file in files.items():
        if relative in reached and file.error is not None:
            problem, line = file.problem
            raise PluginLoadError(ref, "compile", problem, path=file.path, line=line)
