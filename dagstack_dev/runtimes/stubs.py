"""What stands in a plugin's own package when its class is imported by name from elsewhere.

An installed plugin keeps its modules under their own names, so that its absolute imports work and
the app sees the same ones. The stub imports the class, and thereby counts as what imports them:
they are code that this plugin shares, and are reloaded as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagstack_dev.core.sources import SourceFile
from dagstack_dev.runtimes.code import compile_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.runtimes.code import CodeFile

STUB_MODULE: Final = "entry"


def stub_of(manifest: PluginManifest) -> Mapping[str, CodeFile]:
    """The one file of the plugin's own package, by its relative path."""
    relative = f"{STUB_MODULE}.py"
    text = f"from {manifest.entry_module} import {manifest.entry_class}\n"
    path = f"<{manifest.ref}>/{relative}"
    return {relative: compile_file(path, SourceFile.of(text.encode()))}
