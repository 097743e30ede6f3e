"""Files that say what they must not: manifests, hookspecs, configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from dagstack_dev.core.errors.base import PluginRegistryError, place_of
from dagstack_dev.core.refs import PluginRef


@dataclass(frozen=True, slots=True)
class ManifestProblem:
    """One thing that is wrong with a manifest.

    `field` is the dotted key below the plugin table (empty when the file as a whole is at
    fault); `line` counts from 1 and is None where no line can be named.
    """

    field: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        subject = f"{self.field}: " if self.field else ""
        return f"{place}{subject}{self.message}"


class Invalid(PluginRegistryError):
    """A file says what it must not; `problems` lists everything wrong with it at once."""

    path: str
    problems: Sequence[ManifestProblem]
    ref: PluginRef | None = None

    what: ClassVar[str]

    @classmethod
    def of(cls, path: str, message: str, line: int | None = None) -> Self:
        """Return the error for one problem, which is that of the file as a whole."""
        return cls(path, [ManifestProblem("", message, line)])

    def _complete(self) -> None:
        self.line = next((problem.line for problem in self.problems if problem.line), None)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            problem = self.problems[0]
            subject = f"{problem.field}: " if problem.field else ""
            return f"{place_of(self.path, problem.line)}: {subject}{problem.message}"
        listed = "".join(f"\n  {problem}" for problem in self.problems)
        return f"{self.path}: {len(self.problems)} problems in the {self.what}{listed}"


class ManifestInvalid(Invalid):
    """A manifest does not match the schema; `problems` lists everything wrong with it at once."""

    what = "manifest"


class ManifestComputed(ManifestInvalid):
    """A manifest is what code returns, and this looks at plugins without running any."""


class ServerMissing(ManifestInvalid):
    """A manifest names a program, a script, a secret or certificates that are not here.

    It says nothing wrong, but the MCP server cannot be started or reached from this machine.
    """


class AppFileInvalid(Invalid):
    """A file of the app, and of no plugin, says what it must not."""


class ConfigInvalid(AppFileInvalid):
    """A configuration file cannot be used; `problems` has the one reason."""

    what = "configuration"


class FolderGone(AppFileInvalid):
    """A watched folder is not there any more: what it had goes on, and its edits go unseen."""

    what = "folder"


class HookspecsInvalid(AppFileInvalid):
    """A hookspec cannot be used; `problems` lists everything wrong with it at once."""

    what = "hookspecs"


class ConfigSectionInvalid(ManifestInvalid):
    """A plugin's section does not fit its `config_schema` (contract, section 10).

    Attributes:
        path: the configuration file, or `<configuration>` where it comes from the host's code.
        problems: everything wrong with it at once; each `field` is the dotted key in the
            configuration, each `line` counts from 1 in the file.
        ref: the plugin.
    """

    def __str__(self) -> str:
        listed = "".join(f"\n  {problem}" for problem in self.problems)
        if len(self.problems) == 1:
            return f"{self.path}: the configuration of {self.ref}: {self.problems[0]}"
        return (
            f"{self.path}: {len(self.problems)} problems in the configuration of {self.ref}{listed}"
        )
