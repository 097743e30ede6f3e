"""A plugin's section of the configuration that does not fit what the plugin asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors import ManifestInvalid, ManifestProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagstack_dev.core.refs import PluginRef


class ConfigSectionInvalid(ManifestInvalid):
    """A plugin's section does not fit its `config_schema` (contract, section 10).

    Attributes:
        path: the configuration file, or `<configuration>` where it comes from the host's code.
        problems: everything wrong with it at once; each `field` is the dotted key in the
            configuration, each `line` counts from 1 in the file.
        ref: the plugin.
    """

    def __init__(
        self, path: str, problems: Sequence[ManifestProblem], ref: PluginRef | None = None
    ) -> None:
        super().__init__(path, problems, ref=ref)

    def __str__(self) -> str:
        listed = "".join(f"\n  {problem}" for problem in self.problems)
        if len(self.problems) == 1:
            return f"{self.path}: the configuration of {self.ref}: {self.problems[0]}"
        return (
            f"{self.path}: {len(self.problems)} problems in the configuration of {self.ref}{listed}"
        )
