"""What it takes to start an MCP server: its command, environment and folder."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.manifest.mcp import McpStdio
from dagstack_dev.core.refs import closest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest

_SCRIPTS: Final = (".py", ".js", ".mjs", ".cjs", ".ts", ".mts", ".sh", ".rb", ".pl", ".php", ".jar")

_USUAL: Final = ("python", "python3", "node", "npx", "uv", "uvx", "deno", "bun", "ruby", "java")


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

    def folder_in(self, home: str) -> str:
        """Return where the process runs, for a plugin in the folder `home`."""
        return os.path.normpath(Path(home, self.working_dir or "."))

    @property
    def script(self) -> str | None:
        """The first argument that looks like a script; what follows it may mean anything."""
        arguments = self.command[1:]
        if arguments and arguments[0] in {"-m", "-c", "-e"}:
            return None
        script = next((each for each in arguments if each.endswith(_SCRIPTS)), None)
        return None if script is None or script.startswith("-") else script

    @property
    def script_place(self) -> str | None:
        """The path of the script relative to the plugin's folder, if it is below that."""
        script = self.script
        return None if script is None else os.path.normpath(Path(self.working_dir or ".", script))

    def environment(self) -> dict[str, str]:
        """Return our own environment and what the manifest adds to it.

        Programs of the virtual environment that we run in come first, as if it had been activated:
        `python` is the interpreter that the project's packages are installed for.
        """
        env = {**os.environ, **self.env}
        path = env.get("PATH", os.defpath)
        if sys.prefix != sys.base_prefix and "PATH" not in self.env:
            own = str(Path(sys.executable).parent)
            path = os.pathsep.join([own, *(part for part in path.split(os.pathsep) if part != own)])
        return {**env, "PATH": path}

    def program(self) -> str | None:
        """Return the path of the program, if it is on the `PATH`."""
        return shutil.which(self.command[0], path=self.environment()["PATH"])

    def problem_in(self, home: str) -> tuple[str, str] | None:
        """Return a field of the manifest, and what is not there of what it names; None if all is.

        Args:
            home: the plugin's folder.
        """
        folder = self.folder_in(home)
        if not Path(folder).is_dir():
            return "mcp_stdio.working_dir", f"there is no folder {folder}"
        problem = self._program_problem(folder) or self._script_problem(folder)
        return ("command", problem) if problem else None

    def _program_problem(self, folder: str) -> str | None:
        program = self.command[0]
        if "/" in program:
            file = Path(folder, program)
            if not file.is_file():
                return f"there is no file {file}"
            if not os.access(file, os.X_OK):
                return f"{file} is not executable; chmod +x it, or name its interpreter"
            return None
        if self.program() is not None:
            return None
        path = self.environment()["PATH"]
        guess = closest(program, [each for each in _USUAL if shutil.which(each, path=path)])
        hint = f"; did you mean {guess!r}?" if guess else "; install it or give its path"
        return f"there is no program {program!r} on PATH{hint}"

    def _script_problem(self, folder: str) -> str | None:
        script = self.script
        if script is None or Path(folder, script).is_file():
            return None
        files = [each.name for each in Path(folder).glob(f"*{Path(script).suffix}")]
        guess = closest(script, files)
        hint = f"; did you mean {guess!r}?" if guess else "; add the file"
        return f"there is no {script} in {folder}{hint}"
