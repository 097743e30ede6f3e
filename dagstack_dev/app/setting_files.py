"""The single files that say how a server is to run its plugins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagstack_dev.app.config import ConfigFile
    from dagstack_dev.app.hookspec_files import HookspecFiles


@dataclass(frozen=True, slots=True)
class SettingFiles:
    """The configuration file and the files of hookspecs."""

    config: ConfigFile
    hookspecs: HookspecFiles

    @property
    def paths(self) -> frozenset[str]:
        """Where events tell of any of them."""
        return self.config.paths | self.hookspecs.paths
