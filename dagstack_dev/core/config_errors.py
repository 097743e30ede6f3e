"""A plugin's section of the configuration that does not fit what the plugin asks for."""

from __future__ import annotations

from dagstack_dev.core.errors import ManifestInvalid


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
