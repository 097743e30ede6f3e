"""Hooks that survive JSON, and that answer equal calls equally (contract, section 12)."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.blame import is_plugin_code
from dagstack_dev.core.errors.base import shown
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.testing.harness import (
    assert_manifest_valid,
    in_a_loop,
    minimal_context,
    running_plugin,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.host.services.context import PluginContext


FEWEST_ITERATIONS: Final = 2
_CONTEXT_NAMES: Final = frozenset({"ctx", "context"})


class SerializationError(Exception):
    """An argument or a result of a hook does not survive JSON unchanged."""


class DeterminismError(Exception):
    """A hook answers equal calls differently, or not as expected."""


async def check_boundaries(
    plugin_class: Callable[[], object],
    manifest: PluginManifest | Mapping[str, Any],
    *,
    hook_samples: Mapping[str, Mapping[str, Any]] | None = None,
    ctx: PluginContext | None = None,
) -> None:
    """Check that arguments and results of hooks survive JSON unchanged (ADR-3).

    Args:
        plugin_class: the plugin's class.
        manifest: its manifest.
        hook_samples: by hook, the arguments of one call by name. Without any, the plugin is only
            set up and torn down.
        ctx: what the plugin is given.

    Raises:
        SerializationError: a value does not survive, or there is no such hook.
        Exception: whatever the plugin raised.
    """
    async with running_plugin(plugin_class, manifest, ctx=ctx) as plugin:
        for hook, arguments in (hook_samples or {}).items():
            method = _hook(plugin, hook, SerializationError)
            where = f"{hook}{_place(method)}"
            for name, value in arguments.items():
                _survives(value, f"argument {name!r} of {where}")
            _survives(await _call(method, arguments, ctx), f"the result of {where}")


async def check_determinism(
    plugin_class: Callable[[], object],
    manifest: PluginManifest | Mapping[str, Any],
    *,
    hook_name: str,
    hook_kwargs: Mapping[str, Any],
    expected_output: Any = None,
    iterations: int = 3,
    ctx: PluginContext | None = None,
) -> None:
    """Check that a hook answers the same call the same, from a fresh instance each time (ADR-3).

    Args:
        plugin_class: the plugin's class.
        manifest: its manifest.
        hook_name: the hook.
        hook_kwargs: its arguments by name.
        expected_output: what it is to answer; None for whatever it answers first.
        iterations: how many times, 2 or more.
        ctx: what the plugin is given.

    Raises:
        DeterminismError: the answers differ, or there is no such hook.
        ValueError: fewer than two iterations.
        Exception: whatever the plugin raised.
    """
    if iterations < FEWEST_ITERATIONS:
        raise ValueError(f"iterations is {iterations}; one answer cannot be compared")
    valid = assert_manifest_valid(manifest)
    answers, place = [], ""
    for _ in range(iterations):
        async with running_plugin(plugin_class, valid, ctx=ctx) as plugin:
            method = _hook(plugin, hook_name, DeterminismError)
            place = _place(method)
            answers.append(_normal(await _call(method, hook_kwargs, ctx)))
    first = answers[0]
    what = f"{valid.ref}: {hook_name}{place}"
    for number, answer in enumerate(answers[1:], start=2):
        if answer != first:
            raise DeterminismError(
                f"{what} has answered {first} first, and call {number} with {answer}"
            )
    if expected_output is not None and first != _normal(expected_output):
        raise DeterminismError(
            f"{what} answers {first}, and {_normal(expected_output)} was expected"
        )


# For tests without an event loop; plugins may be asynchronous all the same.
assert_json_serializable_boundaries = in_a_loop(check_boundaries)
assert_deterministic = in_a_loop(check_determinism)


async def _call(
    method: Callable[..., Any], arguments: Mapping[str, Any], ctx: PluginContext | None
) -> Any:
    """Call a hook, with a context in front as dispatchers do if it takes one."""
    front: tuple[PluginContext, ...] = ()
    if _takes_context(method, arguments):
        front = (minimal_context(registry=None) if ctx is None else ctx,)
    result = method(*front, **arguments)
    return await result if inspect.isawaitable(result) else result


def _takes_context(method: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Return whether the first parameter is for a context that `arguments` does not give."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return False
    first = next(iter(parameters), None)
    if first is None or first.name in arguments or first.name not in _CONTEXT_NAMES:
        return False
    return first.kind in {first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD}


def _hook(plugin: Any, name: str, error: type[Exception]) -> Callable[..., Any]:
    method = getattr(plugin, name, None)
    if not callable(method):
        hint = did_you_mean(name, [each for each in dir(plugin) if not each.startswith("_")])
        raise error(f"the plugin has no hook {name!r}{hint}")
    found: Callable[..., Any] = method
    return found


def _place(method: Callable[..., Any]) -> str:
    """Return where a plugin defines a hook, in brackets; nothing where its code is not known."""
    function = inspect.unwrap(method)
    code = getattr(function, "__code__", None)
    if code is None or not is_plugin_code(getattr(function, "__globals__", {})):
        return ""
    return f" ({code.co_filename}:{code.co_firstlineno})"


def _survives(value: object, what: str) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise SerializationError(
            f"{what} cannot be written as JSON: {error}; convert dates, sets, bytes, decimals "
            "and objects of classes to plain values"
        ) from error
    if not _equal(value, json.loads(text)):
        raise SerializationError(
            f"{what} comes back from JSON as something else: {shown(value)} as {text}; "
            "tuples come back as lists, keys that are no strings as strings"
        )


def _equal(value: Any, read: Any) -> bool:
    if isinstance(value, dict) and isinstance(read, dict):
        return value.keys() == read.keys() and all(_equal(value[k], read[k]) for k in value)
    if isinstance(value, list) and isinstance(read, list):
        return len(value) == len(read) and all(map(_equal, value, read))
    return bool(value == read)


def _normal(value: object) -> str:
    """Return a value as text that is equal for equal values; JSON where that is possible."""
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError):
        return shown(value)
