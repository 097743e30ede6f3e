"""A clean life: after setup and teardown nothing of a plugin is left (contract, section 12)."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.host.calls.proxy import unwrap
from dagstack_dev.testing.harness import assert_manifest_valid, running_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.host.services.context import PluginContext


class LeakDetected(PluginRegistryError):
    """Something of a plugin is left after its teardown: a task, or the instance itself."""


async def assert_lifecycle_clean(
    plugin_class: Callable[[], object],
    manifest: PluginManifest | Mapping[str, Any],
    *,
    ctx: PluginContext | None = None,
) -> None:
    """Set a new instance up, tear it down, and look for what is left of it.

    Args:
        plugin_class: the plugin's class.
        manifest: its manifest.
        ctx: what it is given in `setup`.

    Raises:
        ManifestInvalid: the manifest cannot be used.
        LeakDetected: a task still runs, or the instance is still referred to.
        TeardownErrors: the teardown went wrong.
        Exception: whatever the plugin raised.
    """
    valid = assert_manifest_valid(manifest)
    before = _tasks()
    left = await _live(plugin_class, valid, ctx)
    await anyio.lowlevel.checkpoint()
    tasks = [task for task in _tasks() - before if not task.done()]
    if tasks:
        names = ", ".join(f"{task.get_name()} ({_place(task)})" for task in tasks)
        raise LeakDetected(
            f"{valid.ref} has left {len(tasks)} task(s) running: {names}; start them with "
            "ctx.start_soon, or cancel and await them in teardown"
        )
    gc.collect()
    gc.collect()  # What finalizers have let go of in the first.
    instance = left() if left is not None else None
    if instance is not None:
        holders = {f"a {type(each).__name__}" for each in gc.get_referrers(instance)}
        raise LeakDetected(
            f"{valid.ref}: the instance is still referred to after its teardown, by "
            + ", ".join(sorted(holders))
        )


async def _live(
    make: Callable[[], object], manifest: PluginManifest, ctx: PluginContext | None
) -> weakref.ref[object] | None:
    """Set up, tear down, and return a weak reference to the instance, where one can be made."""
    async with running_plugin(make, manifest, ctx=ctx) as plugin:
        try:
            return weakref.ref(unwrap(plugin))
        except TypeError:  # Slots without __weakref__.
            return None


def _tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks of the running loop; on trio, none are known."""
    try:
        return asyncio.all_tasks()
    except RuntimeError:  # No loop of asyncio runs here.
        return set()


def _place(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    return f"{stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else "not started"
