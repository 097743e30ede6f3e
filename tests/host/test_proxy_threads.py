"""Proxies that several threads ask for at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from dagstack_dev import PluginRegistry
from dagstack_dev.host.calls.proxy import make_proxy


def test_threads_that_ask_first_at_the_same_time_get_the_same_proxy(
    registry: PluginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plugin:
        pass

    registry.register_manifest(
        {
            "name": "it",
            "kind": "demo",
            "core_version": ">=0.1",
            "runtime": "in_process",
            "entry_point": "plugin:Plugin",
        },
        Plugin(),
    )
    both = Barrier(2)

    def make_together(*args: Any) -> Any:
        with suppress(BrokenBarrierError):  # Nobody else comes: one of the two waits elsewhere.
            both.wait(timeout=1)
        return make_proxy(*args)

    monkeypatch.setattr("dagstack_dev.host.plugins.table.make_proxy", make_together)
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: registry.get_plugin("demo", "it"), range(2))
    assert one is other
    assert registry.get_plugin("demo", "it") is one
