"""The contract suite for every plugin below some folders, each among its own dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dagstack_dev.app.registry import PluginRegistry
from dagstack_dev.core.errors.base import PluginRegistryError, in_words, said
from dagstack_dev.core.errors.life import TeardownErrors
from dagstack_dev.core.errors.registry import AmbiguousPlugin, DependencyCycle
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.disk.discovery import plugin_sources
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.paths import root_folder
from dagstack_dev.host.loop.tasks import is_interruption
from dagstack_dev.host.plugins.preparation import prepare
from dagstack_dev.testing.ambient_state import AmbientStateError, ambient_state
from dagstack_dev.testing.harness import ignore_fact, minimal_context
from dagstack_dev.testing.own_tests import SamplesInvalid, TestRun, read_samples, run_own_tests
from dagstack_dev.testing.suite import ALL_CHECKS, ContractResult, run_contract_suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.sources import PluginSource
    from dagstack_dev.host.plugins.entry import Offer
    from dagstack_dev.host.services.context import PluginContext


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What came of one plugin.

    Attributes:
        folder: where it lies.
        ref: kind and name, as far as the manifest tells.
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


@dataclass(slots=True)
class _Tree:
    """The plugins below some folders, as far as their manifests tell."""

    roots: list[str]
    sources: dict[str, PluginSource] = field(default_factory=dict)
    folders: dict[PluginRef, str] = field(default_factory=dict)
    errors: dict[str, PluginRegistryError] = field(default_factory=dict)
    graph: DependencyGraph = field(default_factory=DependencyGraph)


async def check_folders(
    paths: Iterable[str | Path],
    *,
    config: Mapping[str, Any] | None = None,
    ignore: Iterable[str] = (),
    checks: Collection[str] | None = None,
) -> AsyncIterator[PluginReport]:
    """Run the contract suite and the own tests of every plugin below `paths`, one by one.

    Each plugin gets a registry in which the plugins that it depends on are set up, and no others.

    Args:
        paths: folders with plugins.
        config: with a table for each plugin, as `dagstack-dev watch --config` reads it.
        ignore: globs to leave out.
        checks: names from `ALL_CHECKS`; all of them, and the plugins' own tests, by default.

    Raises:
        FileNotFoundError: a folder does not exist.
    """
    globs = [*ignore]
    rules = IgnoreRules(globs)
    tree = _read([root_folder(path) for path in paths], rules)
    active = ALL_CHECKS if checks is None else frozenset(checks)
    refs = {folder: ref for ref, folder in tree.folders.items()}
    for folder, source in tree.sources.items():
        error = tree.errors.get(folder)
        if error is not None:
            yield PluginReport(folder, error.ref, (_failure("manifest", said(error), error),))
            continue
        ref = refs[folder]
        results = await _check(tree, ref, rules, config or {}, active)
        own = None
        if checks is None:
            own = await run_own_tests(ref, source, tree.roots, globs)
        yield PluginReport(folder, ref, tuple(results), own)


def _read(roots: list[str], rules: IgnoreRules) -> _Tree:
    tree = _Tree(roots)
    registry = _registry(tree, rules)
    wants = {}
    for source in plugin_sources(roots, rules):
        folder = source.folder
        tree.sources[folder] = source
        try:
            offer = _prepare(source, registry)
        except PluginRegistryError as error:
            tree.errors[folder] = error
            continue
        owner = tree.folders.setdefault(offer.ref, folder)
        if owner != folder:
            tree.errors[folder] = AmbiguousPlugin.duplicate(offer.ref, [owner, folder])
        else:
            wants[offer.ref] = offer.manifest.depends_on
    tree.graph = DependencyGraph(wants)
    return tree


def _registry(tree: _Tree, rules: IgnoreRules) -> PluginRegistry:
    registry = PluginRegistry(observer=ignore_fact)
    registry.resources.register_standard()
    for root in tree.roots:
        registry.add_code_root(root, rules)
    return registry


def _prepare(source: PluginSource, registry: PluginRegistry) -> Offer:
    return prepare(source, core_version=registry.core_version, runtimes=registry.runtimes)


async def _check(
    tree: _Tree,
    ref: PluginRef,
    rules: IgnoreRules,
    config: Mapping[str, Any],
    checks: frozenset[str],
) -> list[ContractResult]:
    """Run the suite for one plugin, in a registry where the plugins it depends on are ready."""
    source = tree.sources[tree.folders[ref]]
    registry = _registry(tree, rules)
    ctx = minimal_context(registry, config)
    try:
        samples = read_samples(source)
        needed = [tree.sources[tree.folders[each]] for each in _dependencies(tree.graph, ref)]
        registry.register_offers([_prepare(each, registry) for each in needed])
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
        with suppress(TeardownErrors):  # The report on the plugin that it happens to tells.
            await registry.teardown_all()


async def _check_among(
    ctx: PluginContext,
    source: PluginSource,
    samples: dict[str, dict[str, Any]],
    checks: frozenset[str],
) -> list[ContractResult]:
    offer = _prepare(source, ctx.registry)
    assert offer.prepared is not None, "read from disk"  # noqa: S101 - `prepare` has made it
    generation = offer.prepared.load()
    try:
        suite = await run_contract_suite(
            generation.instantiate,
            offer.manifest,
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
    """That of every module of the plugin; what is in its `tests` is none of it."""
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
