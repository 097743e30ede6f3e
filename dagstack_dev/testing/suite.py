"""The contract suite: every check of a plugin, in one call (contract, section 12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.blame import blame
from dagstack_dev.core.errors.base import in_words, place_of, said
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.host.loop.tasks import is_interruption, is_stray
from dagstack_dev.testing.ambient_state import assert_no_ambient_state
from dagstack_dev.testing.boundaries import check_boundaries, check_determinism
from dagstack_dev.testing.harness import assert_manifest_valid
from dagstack_dev.testing.lifecycle import assert_lifecycle_clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from types import ModuleType

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.host.services.context import PluginContext

_IN_ORDER: Final = ("manifest", "lifecycle", "serialization", "ambient_state", "determinism")
ALL_CHECKS: Final = frozenset(_IN_ORDER)


@dataclass(frozen=True, slots=True)
class ContractResult:
    """What came of one check; `message` says what is wrong, or why it was skipped."""

    check_name: str
    passed: bool
    error: BaseException | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What came of all of them, in the order in which they ran."""

    results: list[ContractResult] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether none has failed."""
        return not self.failed

    @property
    def ok(self) -> bool:
        """As `passed`."""
        return self.passed

    @property
    def failed(self) -> list[ContractResult]:
        """Those that have failed."""
        return [each for each in self.results if not each.passed]

    def summary(self) -> str:
        """Return a line for each check, below one that counts them."""
        passed = len(self.results) - len(self.failed)
        lines = [f"contract: {passed} of {len(self.results)} checks passed"]
        for each in self.results:
            word = "ok" if each.passed else "FAILED"
            lines.append(f"  {each.check_name}: {word}{each.message and f' ({each.message})'}")
        return "\n".join(lines)

    def format_failures(self) -> str:
        """Return a line for each that has failed."""
        return "\n".join(f"{each.check_name}: {each.message}" for each in self.failed)


async def run_contract_suite(  # noqa: PLR0913 - the contract's own call shape
    plugin_class: Callable[[], object],
    manifest: PluginManifest | Mapping[str, Any],
    *,
    checks: Iterable[str] | None = None,
    hook_samples: Mapping[str, Mapping[str, Any]] | None = None,
    determinism_hooks: Mapping[str, Mapping[str, Any]] | None = None,
    expected_outputs: Mapping[str, Any] | None = None,
    module: ModuleType | None = None,
    ctx: PluginContext | None = None,
    determinism_iterations: int = 3,
) -> SuiteResult:
    """Run the checks of the contract against a plugin; one that fails never stops the others.

    Args:
        plugin_class: the plugin's class.
        manifest: its manifest.
        checks: names from `ALL_CHECKS`; all of them by default.
        hook_samples: by hook, the arguments of one call by name.
        determinism_hooks: likewise, for the determinism check alone; `hook_samples` by default.
        expected_outputs: by hook, what it is to answer.
        module: the module to look for ambient state in.
        ctx: what the plugin is given.
        determinism_iterations: how many times each hook is called, 2 or more.

    Raises:
        ValueError: there is no such check.
    """
    active = ALL_CHECKS if checks is None else frozenset(checks)
    for name in sorted(active - ALL_CHECKS):
        raise ValueError(f"there is no check {name!r}{did_you_mean(name, ALL_CHECKS)}")
    samples = dict(hook_samples or {})
    repeated = samples if determinism_hooks is None else determinism_hooks

    async def run(name: str) -> str:
        match name:
            case "manifest":
                assert_manifest_valid(manifest)
            case "lifecycle":
                await assert_lifecycle_clean(plugin_class, manifest, ctx=ctx)
            case "serialization":
                await check_boundaries(plugin_class, manifest, hook_samples=samples, ctx=ctx)
                return "" if samples else "skipped: no hook samples"
            case "ambient_state":
                if module is None:
                    return "skipped: no module"
                warnings = len(assert_no_ambient_state(module).warnings)
                return f"{warnings} warning(s)" if warnings else ""
            case _:
                for hook, arguments in repeated.items():
                    await check_determinism(
                        plugin_class,
                        manifest,
                        hook_name=hook,
                        hook_kwargs=arguments,
                        expected_output=(expected_outputs or {}).get(hook),
                        iterations=determinism_iterations,
                        ctx=ctx,
                    )
                return "" if repeated else "skipped: no hook samples"
        return ""

    return SuiteResult([await _result(name, run) for name in _IN_ORDER if name in active])


async def _result(name: str, run: Callable[[str], Awaitable[str]]) -> ContractResult:
    try:
        return ContractResult(name, passed=True, message=await run(name))
    except BaseException as error:
        if is_interruption(error) and not is_stray(error):
            raise  # Anything else that a plugin raises is a finding.
        own = type(error).__module__.startswith("dagstack_dev")
        found = blame(error)
        place = f" ({place_of(found.path, found.line)})" if found.path else ""
        message = said(error) if own else f"{in_words(error)}{place}"
        return ContractResult(name, passed=False, error=error, message=message)
