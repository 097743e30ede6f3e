"""How code is laid out: what hangs on one file, and which names are taken."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.graph import reach
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode
from dagstack_dev.static.findings import BLAST, STANDARD_SHADOWED, Finding
from dagstack_dev.static.modules import Module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.static.project import Project

_FEWEST: Final = 20
"""Plugins below which any part of them may hang on one file."""


def blast(project: Project) -> Iterator[Finding]:
    """Yield the files of shared code of which a save reloads more plugins than the limit.

    Of files that import each other only the one which most plugins import by themselves.
    """
    total = len(project.plugins)
    limit = project.blast_limit
    if limit is None:
        limit = total // 2 if total >= _FEWEST else total
    importers = project.modules.importers
    shared = [
        each
        for name in importers
        if isinstance(each := project.modules.find(name), Module)
        and each.ref is None
        and each.file is not None
        and not each.file.source.is_empty
    ]
    shared.sort(key=lambda each: (-sum(map(_is_plugin, importers[each.name])), each.name))
    explained = set[str]()
    for module in shared:
        if module.name in explained or module.file is None:
            continue
        start: list[PluginRef | str] = [module.name]
        reached = reach(start, lambda each: [*importers.get(str(each), ())])
        plugins = project.graph.downstream(each for each in reached if isinstance(each, PluginRef))
        if len(plugins) > limit:
            message = f"a save of this file reloads {len(plugins)} of {total} plugins"
            fix = f"split it, or raise the limit of {limit} by --blast-limit"
            yield Finding(BLAST, module.file.path, message, fix=fix)
            explained |= {each.name for each in project.modules.below(module.name)}


def _is_plugin(importer: PluginRef | str) -> bool:
    return isinstance(importer, PluginRef)


def shadowing(project: Project) -> Iterator[Finding]:
    """Yield modules of plugins that an import of one in the standard library may find."""
    for ref, (_, source) in project.plugins.items():
        revision, modules = project.revisions.get(ref), project.modules
        is_in_process = revision is not None and isinstance(revision.prepared, InProcessCode)
        named = {
            each.module.partition(".")[0]
            for module in modules.part_of(ref)
            for each in modules.imports_of(module)
            if not each.dots
        }
        for relative in source.files if source.module is None else ():
            name = relative.removesuffix("/__init__.py").removesuffix(".py")
            is_standard = relative.endswith(".py") and name in sys.stdlib_module_names
            if is_standard and (name in named or not is_in_process):
                message = f"{name!r} is a module of the standard library, too"
                fix = (
                    f"rename it: 'import {name}' is another module here than in a script beside it"
                )
                path = f"{source.folder}/{relative}"
                yield Finding(STANDARD_SHADOWED, path, message, fix=fix, ref=ref)
