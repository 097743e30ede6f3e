"""All that can be known of plugins without running them: every checker, over one project."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.config import belongs_to_none, misspelt_sections, sections
from dagstack_dev.core.errors.registry import AmbiguousPlugin, DependencyCycle, DependencyMissing
from dagstack_dev.core.manifest.parsing import line_in
from dagstack_dev.disk.faults import FaultKind, faults_of
from dagstack_dev.host.plugins.preparation import locate
from dagstack_dev.static import findings
from dagstack_dev.static.findings import Finding, findings_of
from dagstack_dev.static.imports import imports
from dagstack_dev.static.layout import blast, shadowing
from dagstack_dev.static.lifecycle import lifecycle

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.static.project import Project


def check(project: Project) -> list[Finding]:
    """Return what is wrong with the plugins of `project`, by file and line."""
    with warnings.catch_warnings(action="ignore"):  # The compiler's, of odd strings.
        found = {_in_a_file(each, project) for checker in CHECKERS for each in checker(project)}
    project.modules.cache.save()
    return sorted(found, key=lambda each: (each.path, each.line or 0, each.rule, each.message))


def _in_a_file(finding: Finding, project: Project) -> Finding:
    """Return what is said of a plugin as said of its manifest: of its folder, of our own code."""
    source = project.sources.get(finding.path)
    if finding.path.startswith("<") and finding.ref is not None:
        source = project.plugins[finding.ref][1]
        finding = replace(finding, line=None, column=None)
    return finding if source is None else replace(finding, path=source.manifest_path)


def unbuildable(project: Project) -> Iterator[Finding]:
    """Yield why plugins cannot be built: manifests, versions, runtimes, code that does not load.

    Likewise sections of the configuration that do not fit, and why a file of it or of hookspecs or
    an entry point cannot be used.
    """
    for place, error in project.errors.items():
        yield from findings_of(error, place)


def left_out(project: Project) -> Iterator[Finding]:
    """Yield what of the disk is not taken: folders, files, manifests beside others."""
    for folder, reason in project.denied.items():
        words = f"cannot be searched: {reason}; plugins in it are not found"
        yield Finding.of(findings.UNREADABLE, folder, words)
    for source in project.sources.values():
        for fault in faults_of(source):
            yield Finding.of(_OF_FAULT[fault.kind], fault.path, fault.message)


_OF_FAULT: Final = {
    FaultKind.UNREADABLE: findings.UNREADABLE,
    FaultKind.MANIFEST_IGNORED: findings.MANIFEST_IGNORED,
    FaultKind.TOO_MANY_FILES: findings.TOO_MANY_FILES,
}


def second_fallbacks(project: Project) -> Iterator[Finding]:
    """Yield every plugin beyond the first of its kind that takes what no other takes."""
    firsts: dict[str, PluginRef] = {}
    for ref, (manifest, source) in project.plugins.items():
        if manifest.fallback and firsts.setdefault(ref.kind, ref) != ref:
            error = AmbiguousPlugin.fallback([firsts[ref.kind], ref], source.folder)
            error.path, error.line = source.manifest_path, line_in(source, "fallback")
            yield from findings_of(error, source.folder)


def unresolved(project: Project) -> Iterator[Finding]:
    """Yield dependencies that are missing, ambiguous, or go round in a circle."""
    broken = {str(each) for ref in project.broken for each in (ref, ref.name)}
    for ref in project.graph.refs:
        problem = project.graph.problem(ref)
        if isinstance(problem, DependencyMissing):
            problem.missing = tuple(each for each in problem.missing if each not in broken)
            problem = problem if problem.missing else None
        if problem is not None:
            locate(problem, project.plugins[ref][1])
            yield from findings_of(problem, project.plugins[ref][1].folder)
    left = set(project.graph.refs)
    while (cycle := project.graph.find_cycle(left)) is not None:
        left.difference_update(cycle)
        error = DependencyCycle(cycle)
        locate(error, project.plugins[cycle[0]][1])
        yield from findings_of(error, project.plugins[cycle[0]][1].folder)


def unused_sections(project: Project) -> Iterator[Finding]:
    """Yield tables of the configuration that no plugin sees.

    Those that neither resemble a plugin's nor are of the kind of one may be the app's.
    """
    config = project.config
    if config is None:
        return
    known = project.plugins.keys() | project.broken
    misspelt, kinds = misspelt_sections(config, known), {ref.kind for ref in known}
    for table in sections(config):
        if table not in known and (table in misspelt or table.kind in kinds):
            words = belongs_to_none(table, misspelt.get(table))
            yield Finding.of(findings.CONFIG_UNUSED, config.path, words, config.line_of(table))


CHECKERS: Final[tuple[Callable[[Project], Iterator[Finding]], ...]] = (
    unbuildable,
    left_out,
    second_fallbacks,
    unresolved,
    unused_sections,
    imports,
    lifecycle,
    shadowing,
    blast,
)
