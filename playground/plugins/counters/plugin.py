"""Counts events for every plugin that asks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Counters:
    """Named counters, in memory: they are carried through reloads, and a restart empties them."""

    _ctx: PluginContext
    _counts: Counter[str]

    def setup(self, ctx: PluginContext) -> None:
        self._ctx = ctx
        self._counts = ctx.carry.setdefault("counts", Counter())

    def teardown(self) -> None:
        self._ctx.logger.info("counted", counts=self.snapshot())

    def count(self, event: str) -> None:
        self._counts[event] += 1

    def snapshot(self) -> dict[str, int]:
        return dict(self._counts.most_common())
