"""The contract suite for every plugin below some folders, each among its own dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.core.errors.base import PluginRegistryError, in_words, said
from dagstack_dev.core.errors.life import TeardownErrors
from dagstack_dev.core.errors.registry import DependencyCycle
from dagstack_dev.core.refs import ref_called
from dagstack_dev.disk.paths import root_folder
from dagstack_dev.host.loop.tasks import is_interruption
from dagstack_dev.static.project import read_project
from dagstack_dev.testing.ambient_state import AmbientStateError, ambient_state
from dagstack_dev.testing.harness import ignore_fact, minimal_context
from dagstack_dev.testing.own_tests import SamplesInvalid, TestRun, read_samples, run_own_tests
from dagstack_dev.testing.suite import ALL_CHECKS, ContractResult, run_contract_suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from dagstack_dev.core.graph import DependencyGraph
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.services.context import PluginContext
    from dagstack_dev.static.project import Project


class NoSuchPlugin(Exception):
    """A plugin that was named is not there, or several may be meant."""


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What came of one plugin.

    Attributes:
        folder: where it lies.
        ref: kind and name, None where the manifest cannot be read.
        results: of the checks, in order.
        tests: of the plugin's own tests; None when it has none.
    """

    folder: str
    ref: PluginRef | None
    results: tuple[ContractResult, ...]
    tests: TestRun | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing has failed."""
        return all(each.passed for each in self.results) and (
            self.tests is None or self.tests.passed
        )


async def check_folders(
    paths: Iterable[str | Path],
    *,
    code_roots: Iterable[str | Path] = (),
    config: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    checks: Collection[str] | None = None,
    plugins: Iterable[str] = (),
) -> AsyncIterator[PluginReport]:
    """Run the contract suite and the own tests of every plugin below `paths`, one by one.

    Each plugin gets a registry in which the plugins that it depends on are set up, and no others.

    Args:
        paths: folders with plugins.
        code_roots: folders with further code that they import.
        config: with a table for each plugin, as `dagstack-dev watch --config` reads it.
        ignore: globs to leave out.
        checks: names from `ALL_CHECKS`; all of them, and the plugins' own tests, by default.
        plugins: only these, by kind and name or by name; all by default.

    Raises:
        FileNotFoundError: a folder does not exist.
        NoSuchPlugin: one of `plugins` is not there, or several may be meant.
    """
    globs = [*ignore]
    project = read_project(
        [root_folder(path) for path in paths],
        code_roots=[root_folder(path, holds="code") for path in code_roots],
        ignore=globs,
    )
    roots = (*project.roots, *project.code_roots)
    active = ALL_CHECKS if checks is None else frozenset(checks)
    refs = {source.folder: ref for ref, (_, source) in project.plugins.items()}
    known = [str(ref) for ref in refs.values()]
    try:
        only = {ref_called(each, known) for each in plugins}
    except LookupError as reason:
        raise NoSuchPlugin(str(reason)) from reason
    for folder, source in project.sources.items():
        if only and str(refs.get(folder)) not in only:
            continue
        error = project.errors.get(folder)
        if error is not None:
            yield PluginReport(folder, error.ref, (_failure("manifest", said(error), error),))
            continue
        ref = refs[folder]
        results = await _check(project, ref, config or {}, active)
        own = None
        if checks is None:
            own = await run_own_tests(ref, source, roots, globs)
        yield PluginReport(folder, ref, tuple(results), own)


def _registry(project: Project) -> PluginRegistry:
    registry = PluginRegistry(observer=ignore_fact)
    registry.resources.register_standard()
    for root in (*project.roots, *project.code_roots):
        registry.add_code_root(root, project.rules)
    return registry


async def _check(
    project: Project,
    ref: PluginRef,
    config: Mapping[str, Any],
    checks: frozenset[str],
) -> list[ContractResult]:
    """Run the suite for one plugin, in a registry where the plugins it depends on are ready."""
    source = project.plugins[ref][1]
    registry = _registry(project)
    ctx = minimal_context(registry, config)
    try:
        samples = read_samples(source)
        needed = [project.plugins[each][1] for each in _dependencies(project.graph, ref)]
        registry.register_revisions([registry.prepare(each) for each in needed])
    except SamplesInvalid as error:
        return [_failure("samples", said(error), error)]
    except PluginRegistryError as error:
        return [_failure("load", said(error), error)]
    try:
        await registry.setup_all(ctx)
    except BaseException as error:
        if is_interruption(error):
            raise
        message = f"a plugin that it depends on cannot be set up: {in_words(error)}"
        return [_failure("load", message, error)]
    try:
        return await _check_among(ctx, source, samples, checks)
    except PluginRegistryError as error:
        return [_failure("load", said(error), error)]
    finally:
        with suppress(TeardownErrors):  # Reported for the plugin itself.
            await registry.teardown_all()


async def _check_among(
    ctx: PluginContext,
    source: PluginSource,
    samples: dict[str, dict[str, Any]],
    checks: frozenset[str],
) -> list[ContractResult]:
    revision = ctx.registry.prepare(source)
    assert revision.prepared is not None, "read from disk"  # noqa: S101 - `prepare` has made it
    generation = revision.prepared.load()
    try:
        suite = await run_contract_suite(
            generation.instantiate,
            revision.manifest,
            checks=checks - {"ambient_state"},
            hook_samples={hook: table.get("arguments", {}) for hook, table in samples.items()},
            expected_outputs={hook: table.get("expected") for hook, table in samples.items()},
            ctx=ctx,
        )
    finally:
        generation.retire()
    results = list(suite.results)
    if "ambient_state" in checks:
        results.append(_ambient_state(source))
    return results


def _ambient_state(source: PluginSource) -> ContractResult:
    """Check every module of the plugin, those of its `tests` excepted."""
    lines, warnings = [], 0
    for relative, file in sorted(source.files.items()):
        if not relative.endswith(".py") or relative.startswith("tests/") or file.content is None:
            continue
        try:
            report = ambient_state(file.content)
        except (SyntaxError, ValueError):  # Nothing imports it, or the plugin would not load.
            continue
        warnings += len(report.warnings)
        lines += [
            f"{source.folder}/{relative}:{each.line}: {each.name}: {each.message}"
            for each in report.errors
        ]
    if lines:
        message = "\n".join(lines)
        error = AmbientStateError(message)
        return ContractResult("ambient_state", passed=False, error=error, message=message)
    return ContractResult(
        "ambient_state", passed=True, message=f"{warnings} warning(s)" if warnings else ""
    )


def _dependencies(graph: DependencyGraph, ref: PluginRef) -> list[PluginRef]:
    """Return what `ref` needs, directly or not, in the order in which it can be loaded.

    Raises:
        PluginRegistryError: something of it is missing, or in a cycle.
    """
    whole = [ref]
    for each in whole:  # It grows meanwhile.
        problem = graph.problem(each)
        if problem is not None:
            raise problem
        whole += [other for other in graph.dependencies(each) if other not in whole]
    cycle = graph.find_cycle({*whole})
    if cycle is not None:
        raise DependencyCycle(cycle)
    return graph.order({*whole[1:]}, lambda _: 0)


def _failure(check: str, message: str, error: BaseException) -> ContractResult:
    return ContractResult(check, passed=False, error=error, message=message)
