"""Where calls of a plugin's plain methods run: the workers of `thread_cpu_bound` (ADR-3)."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from dagstack_dev.core.errors import ManifestInvalid, ManifestProblem
from dagstack_dev.core.manifest import ExecutionModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.manifest import PluginManifest
    from dagstack_dev.host.gate import Gate

MOST_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)
"""How many calls of one plugin run at the same time; further ones wait for a thread."""


def workers_for(manifest: PluginManifest, gate: Gate) -> Workers | None:
    """What runs the plain methods of the plugin behind `gate`; None for the caller's side."""
    if manifest.execution_model is ExecutionModel.THREAD_CPU_BOUND:
        return gate.workers or Workers(gate)
    return None


def refuse_process(manifest: PluginManifest) -> None:
    """Refuse a process of its own to a plugin object that the host has made in this one.

    Raises:
        ManifestInvalid: the manifest asks for one.
    """
    if manifest.execution_model is ExecutionModel.PROCESS_CPU_BOUND:
        message = (
            "'process_cpu_bound' is for plugins that are loaded from a folder; this object lives "
            "in this process already"
        )
        problem = ManifestProblem("execution_model", message)
        raise ManifestInvalid("<manifest>", [problem], ref=manifest.ref)


class Workers:
    """Runs calls of one plugin in worker threads.

    A plugin has a limit of its own, so that one whose calls hang takes no thread from the others.
    As with anyio and trio themselves, the cancellation of a caller waits until its thread has
    ended. One that asyncio's own `Task.cancel` brings about cannot be held back; therefore a
    thread has a mark at the gate besides that of its caller, and a drain counts it to its end.
    """

    __slots__ = ("_gate", "_limiter")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar("dagstack_workers")

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call `function` in a thread, in a copy of the caller's context variables.

        What it returns is awaited here when that can be: a decorator may hide an `async def`.
        """
        limiter = self._limiter.get(None)
        if limiter is None:  # One for each event loop, as they cannot wake each other.
            limiter = anyio.CapacityLimiter(MOST_THREADS)
            self._limiter.set(limiter)
        job = _Job(self._gate, function)
        try:
            result = await anyio.to_thread.run_sync(job, limiter=limiter)
        except BaseException:
            job.abandoned = True  # Before the caller's mark is lifted; see `_Job.__call__`.
            raise
        return await result if inspect.isawaitable(result) else result


class _Job:
    __slots__ = ("_function", "_gate", "abandoned")

    def __init__(self, gate: Gate, function: Callable[[], Any]) -> None:
        self._gate = gate
        self._function = function
        self.abandoned = False

    def __call__(self) -> Any:
        """In the thread. It marks itself before it looks: either mark covers the call."""
        gate = self._gate
        gate.in_flight.append(None)
        try:
            return None if self.abandoned else self._function()
        finally:
            gate.in_flight.pop()
            if gate.closed:
                gate.call_ended()
