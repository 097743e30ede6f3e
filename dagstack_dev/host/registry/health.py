"""Asks one plugin how it is (contract, section 5; ADR-2)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import anyio

from dagstack_dev.core.blame import plugin_frames
from dagstack_dev.core.errors.base import in_words, shown
from dagstack_dev.core.errors.calls import PluginUnavailable
from dagstack_dev.core.errors.life import BlockedTooLong, HealthCheckInvalid, PluginUnhealthy
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.recorded import recorded
from dagstack_dev.host.loop.limits import move_on_after
from dagstack_dev.host.loop.tasks import is_interruption, is_stray

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.blame import Frame
    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.host.plugins.entry import Entry
    from dagstack_dev.host.plugins.table import PluginTable

METHOD: Final = "health"
"""What is called where the manifest names no `health_check`."""

_VERDICTS: Final = ("ok", "healthy")
"""Keys of a mapping under which a check may answer False."""


def method_of(entry: Entry) -> str:
    """Return what is called to ask the plugin."""
    return entry.manifest.health_check or METHOD


def has_health(entry: Entry) -> bool:
    """Return whether the plugin can be asked, or its manifest says that it can."""
    if entry.manifest.health_check:
        return True
    # Not of the instance, which may have any attribute. What needs arguments, as a tool of that
    # name may, is something else.
    if not callable(getattr(type(entry.instance), METHOD, None)):
        return False
    try:
        return _needs_nothing(getattr(entry.instance, METHOD))
    except Exception:  # noqa: BLE001 - as a property may raise; when it is asked, that will show
        return True


def _needs_nothing(method: Callable[..., object]) -> bool:
    """Return whether `method` can be called without arguments, as far as its signature says."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return True
    free = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return all(each.default is not each.empty or each.kind in free for each in parameters)


def can_be_asked(table: PluginTable, entry: Entry) -> bool:
    """Return whether the plugin is ready and not about to be torn down."""
    return table.states[entry.ref] is State.READY and not entry.gate.closed


async def ask(table: PluginTable, entry: Entry, *, seconds: float) -> PluginRegistryError | None:
    """Call the health check of a plugin that `can_be_asked`, as any caller would: by its proxy.

    Args:
        table: where the plugin is.
        entry: the plugin.
        seconds: how long it may take.

    Returns:
        What is wrong with it; None when nothing is, or when it is not there to answer any more.
    """
    name = method_of(entry)
    stuck: list[Frame] = []
    try:
        method = getattr(table.proxy(entry), name, None)
        if not callable(method):
            known = [each for each in dir(entry.instance) if not each.startswith("_")]
            return HealthCheckInvalid.missing(entry.ref, name, known)
        if entry.manifest.health_check and not _needs_nothing(method):
            return HealthCheckInvalid.needs_arguments(entry.ref, name)
        with table.watchdog.watching(), move_on_after(seconds) as scope:
            complaint = _complaint(await _answer(table, entry, method, seconds, stuck))
    except BlockedTooLong as error:
        return did_not_end(entry, seconds, error)
    except BaseException as error:
        if is_interruption(error) and not is_stray(error):
            raise
        if isinstance(error, PluginUnavailable) and error.ref == entry.ref:
            return None
        failure = PluginUnhealthy(entry.ref, f"{name}() raised {in_words(error)}")
        failure.__cause__ = recorded(error)
        return failure
    if scope.cancelled_caught:
        return did_not_end(entry, seconds, *stuck[-1:])
    return PluginUnhealthy(entry.ref, f"{name}() {complaint}") if complaint else None


async def _answer(
    table: PluginTable, entry: Entry, method: Any, seconds: float, stuck: list[Frame]
) -> object:
    """Call a check and await what it returns; if it is cancelled, add where it was to `stuck`."""
    calling = table.watchdog.calling(entry.ref, method_of(entry), entry.revision.folder, seconds)
    try:
        with calling:
            result = method()
        return await result if inspect.isawaitable(result) else result
    except anyio.get_cancelled_exc_class() as error:
        stuck += plugin_frames(error)
        raise


def did_not_end(
    entry: Entry, seconds: float, at: Frame | BlockedTooLong | None = None
) -> PluginUnhealthy:
    """Return the failure of a check that takes longer than it may.

    Args:
        entry: the plugin.
        seconds: how long the check may take.
        at: the line that it was at, if that is known.
    """
    failure = PluginUnhealthy(entry.ref, f"{method_of(entry)}() did not end within {seconds:g} s")
    if at is not None:
        failure.path, failure.line = at.path, at.line
    return failure


def _complaint(answer: object) -> str | None:
    """Return what a check says is wrong; None when it says that nothing is."""
    if answer is False:
        return "returned False"
    if isinstance(answer, Mapping) and any(answer.get(key) is False for key in _VERDICTS):
        return f"returned {shown(answer)}"
    return None
