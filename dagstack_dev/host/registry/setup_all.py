"""Brings all plugins of a registry up, and down again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dagstack_dev.core.errors.base import add_note, in_words
from dagstack_dev.core.errors.life import EventLoopClosed, TeardownErrors
from dagstack_dev.core.lifecycle import State
from dagstack_dev.host.loop.gc_pause import rare_collections
from dagstack_dev.host.loop.tasks import run_to_the_end
from dagstack_dev.host.plugins.sections import section_problem
from dagstack_dev.host.registry.registration import full_order, load_all
from dagstack_dev.host.reload.schedule import Setups
from dagstack_dev.host.reload.waiting import watching

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.reload.runner import LifecycleRunner
    from dagstack_dev.host.services.context import PluginContext


class SetupAll:
    """The `setup_all` and `teardown_all` of a registry; what they raise is said there.

    Args:
        runner: takes the steps.

    Attributes:
        is_set_up: whether plugins are up, or a dev server brings them up.
    """

    def __init__(self, runner: LifecycleRunner) -> None:
        self._runner = runner
        self._table = runner.table
        self.is_set_up = False
        self._is_taken_over = False

    def take_over(self, ctx: PluginContext) -> None:
        """Count as set up from now on: a dev server brings plugins up one by one."""
        self._runner.context = ctx
        self.is_set_up = self._is_taken_over = True

    async def set_up(self, ctx: PluginContext) -> None:
        """See `Registry.setup_all`."""
        if self._is_taken_over:
            return
        async with self._runner.lock.exclusive():
            self._runner.look_at_loop()
            for ref in self._runner.ended_with_loop:
                error = self._table.entries[ref].error
                if isinstance(error, EventLoopClosed):
                    raise EventLoopClosed(ref, error.what)
            with rare_collections(adds_only=True):
                if self.is_set_up:
                    await self._set_up_late(ctx)
                else:
                    await self._set_up_everything(ctx)

    async def _set_up_everything(self, ctx: PluginContext) -> None:
        table = self._table
        order = full_order(self._table)
        self._load_again(order)
        for ref in order:
            entry = table.entries[ref]
            if table.states[ref] is not State.LOADED:
                table.loaded(entry, entry.instance, "set up again")
        self._runner.context = ctx
        self._runner.crashes.clear()
        await self._set_up(order, ctx)
        self.is_set_up = True

    async def _set_up_late(self, ctx: PluginContext) -> None:
        """Set up what was registered after the others had been set up."""
        states = self._table.states
        if State.LOADED in states.values():
            order = full_order(self._table)
            await self._set_up([ref for ref in order if states[ref] is State.LOADED], ctx)

    def _load_again(self, order: Iterable[PluginRef]) -> None:
        """Load what a dev server has left without code, and what a teardown has undone."""
        entries = {ref: self._table.entries[ref] for ref in order}
        undone = self._table.code.undone({ref: each.generation for ref, each in entries.items()})
        old = [each for ref in undone if (each := entries[ref].generation) is not None]
        for generation in old:
            generation.unload()
        left = [
            ref
            for ref, each in entries.items()
            if not each.revision.by_hand and (each.generation is None or ref in undone)
        ]
        with self._table.watchdog.watching():
            load_all(self._runner, left, "set up again")
        for generation in old:
            generation.retire()

    def _check_sections(self, order: Iterable[PluginRef], ctx: PluginContext) -> None:
        """Refuse sections that do not fit the manifests, before anything is set up."""
        found = (section_problem(self._table.entries[ref].revision, ctx.config) for ref in order)
        problems = [problem for problem in found if problem is not None]
        if problems:
            raise problems[0].with_others(problems[1:])

    async def _set_up(self, order: Sequence[PluginRef], ctx: PluginContext) -> None:
        """Set up the plugins of `order`, all or none."""
        failures = await self._bring_up(order, ctx)
        if failures:  # Its traceback will have this frame, which must not lead back to it.
            raise failures.pop()[1]

    async def _bring_up(
        self, order: Sequence[PluginRef], ctx: PluginContext
    ) -> list[tuple[PluginRef, BaseException]]:
        """Do so, and return what it failed with, if it did, for others to raise."""
        table = self._table
        for ref in order:
            table.provide(table.entries[ref], ctx)
        self._check_sections(order, ctx)
        everything = set(order)
        undo = partial(self._undo, everything)
        setups = Setups(
            self._runner, dict.fromkeys(order, "setup_all"), give_up=lambda *_: everything
        )
        try:
            with watching(table, order):
                await setups.run()
        except BaseException as error:
            for ref, failure in await run_to_the_end(undo):
                add_note(error, _note("teardown", ref, failure))
            raise
        failed = [*setups.failed.items()]
        setups.failed.clear()  # A frame of the plugin leads here, too, by those that called it.
        if not failed:
            return []
        notes = [_note("setup", ref, failure) for ref, failure in failed[1:]]
        del failed[1:]
        notes += [_note("teardown", ref, each) for ref, each in await run_to_the_end(undo)]
        for note in notes:
            add_note(failed[0][1], note)
        return failed

    async def tear_down(self) -> None:
        """See `Registry.teardown_all`."""
        await run_to_the_end(self._tear_down_all)  # Also in a host that is being cancelled.

    async def _tear_down_all(self) -> None:
        async with self._runner.lock.exclusive():
            self._runner.look_at_loop()
            places = self._table.setup_order | self._runner.ended_with_loop
            refs = sorted(places, key=places.__getitem__, reverse=True)
            self._refuse_elsewhere(refs)
            failures = await self._tear_down(refs)
            self._table.watchdog.stop()
            crashes = self._runner.crashes
            failures += crashes.items()
            crashes.clear()
            self.is_set_up = self._is_taken_over = False
            refusal = "it has been torn down; await registry.setup_all(...) first"
            for entry in self._table.present():
                self._table.ended(entry, refusal)
            if failures:
                raise TeardownErrors(failures)

    def _refuse_elsewhere(self, refs: Iterable[PluginRef]) -> None:
        for ref in refs:
            running = self._table.entries[ref].running
            if running is not None and running.is_elsewhere:
                raise RuntimeError(
                    f"{ref} was set up in another event loop, which has not been closed, and has "
                    "to be torn down there: asyncio.run_coroutine_threadsafe("
                    "registry.teardown_all(), loop) while that loop runs in its thread, "
                    "loop.run_until_complete(registry.teardown_all()) else"
                )

    async def _tear_down(self, refs: Sequence[PluginRef]) -> list[tuple[PluginRef, BaseException]]:
        """Tear plugins down in this order, and return what went wrong."""
        steps = [(self._table.entries[ref], "teardown_all") for ref in refs]
        with watching(self._table, refs):
            return await self._runner.take_down(steps, down=self._table.present())

    async def _undo(self, refs: Collection[PluginRef]) -> list[tuple[PluginRef, BaseException]]:
        """Tear down what of `refs` has been set up; all of them are loaded again, and no more."""
        table = self._table
        ready = [ref for ref in reversed(table.ready_refs()) if ref in refs]
        failures = await self._tear_down(ready)
        for entry in table.present():
            if entry.ref not in refs:
                continue
            if table.states[entry.ref] in {State.STOPPED, State.FAILED}:
                table.loaded(entry, entry.instance, "setup_all failed", is_open=True)
            else:
                table.release(entry)
        return failures


def _note(method: str, ref: PluginRef, error: BaseException) -> str:
    return f"besides, the {method} of {ref} raised {in_words(error)}"
