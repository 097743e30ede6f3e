"""What a plugin leaves behind when it is reloaded is told, and a clean reload tells nothing."""

from __future__ import annotations

import asyncio
import atexit
import logging
import signal
import threading
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest
from serving import Live, ref, serving
from trees import PluginTree

from dagstack_dev import Leaks, unwrap
from dagstack_dev.app import leaks
from dagstack_dev.core.events import PluginLeaked

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("idle_at_once"),
]


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """What ends the threads that plugins leave behind."""
    event = threading.Event()
    yield event
    event.set()


async def leaked_by(live: Live, tree: PluginTree, code: str) -> tuple[str, ...]:
    """Reload a plugin with the very same code once; what its first generation has left behind."""
    tree.plugin("base", code=dedent(code) + "\n# saved again\n")
    await live.looked_for_leaks()
    [leaked] = live.of(PluginLeaked)
    assert (leaked.ref, leaked.generation) == (ref("base"), 1)
    return leaked.holders


TASK = """
import asyncio

class Plugin:
    async def setup(self, ctx):
        self.task = asyncio.create_task(self.poll(), name="poller")

    async def poll(self):
        while True:
            await asyncio.sleep(600)
"""


async def test_a_task_of_the_old_generation_is_named_and_that_of_the_new_one_is_not(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code=TASK)
    async with serving(tree) as live:
        holders = await leaked_by(live, tree, TASK)
        place = f"{tree.root}/base/plugin.py:10"
        assert holders == (f"task 'poller' still runs Plugin.poll() at {place}",)
        for task in asyncio.all_tasks():
            if task.get_name() == "poller":
                task.cancel()


THREAD = """
import threading

class Plugin:
    def setup(self, ctx):
        begun, stop = threading.Event(), ctx.extras["stop"]
        threading.Thread(target=self.work, args=[begun, stop], name="worker").start()
        begun.wait()

    def work(self, begun, stop):
        stop.wait(begun.set())  # In one line, which is that where it is when it has begun.
"""


async def test_a_thread_of_the_old_generation_is_named_and_that_of_the_new_one_is_not(
    tree: PluginTree, stop: threading.Event
) -> None:
    tree.plugin("base", code=THREAD)
    async with serving(tree, extras={"stop": stop}) as live:
        holders = await leaked_by(live, tree, THREAD)
        place = f"{tree.root}/base/plugin.py:11"
        assert holders == (f"thread 'worker' still runs Plugin.work() at {place}",)


EXIT = """
import atexit

class Plugin:
    def setup(self, ctx):
        atexit.register(self.close)
        ctx.extras["registered"].append(self.close)

    def close(self): pass
"""


async def test_an_atexit_callback_is_named(tree: PluginTree) -> None:
    registered: list[Any] = []
    tree.plugin("base", code=EXIT)
    async with serving(tree, extras={"registered": registered}) as live:
        old = registered.pop()
        atexit.unregister(old)
        atexit.register(old)
        del old
        holders = await leaked_by(live, tree, EXIT)
        place = f"{tree.root}/base/plugin.py:9"
        assert holders == (f"atexit callback Plugin.close() at {place}",)
        for callback in registered:
            atexit.unregister(callback)


SIGNAL = """
import signal

def on_signal(number, frame): pass

class Plugin:
    def setup(self, ctx):
        signal.signal(ctx.extras["numbers"].pop(), on_signal)
"""


async def test_a_signal_handler_is_named(tree: PluginTree) -> None:
    before = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2)
    tree.plugin("base", code=SIGNAL)
    try:
        numbers = [signal.SIGUSR2, signal.SIGUSR1]
        async with serving(tree, extras={"numbers": numbers}) as live:
            place = f"{tree.root}/base/plugin.py:4"
            holders = await leaked_by(live, tree, SIGNAL)
            assert holders == (f"handler of SIGUSR1: on_signal() at {place}",)
    finally:
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGUSR2, before[1])


OWN_HANDLER = """
import logging

class Handler(logging.Handler):
    def emit(self, record): pass

class Plugin:
    def setup(self, ctx):
        logging.getLogger("app").addHandler(Handler())
"""

STREAM = """
import logging

class Stream:
    def write(self, text): pass
    def flush(self): pass

class Plugin:
    def setup(self, ctx):
        logging.getLogger().addHandler(logging.StreamHandler(Stream()))
"""

TWICE = """
import logging

class Plugin:
    def setup(self, ctx):
        logging.getLogger(__name__).addHandler(logging.StreamHandler())
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (OWN_HANDLER, "logging handler Handler of logger 'app'"),
        (STREAM, "logging handler StreamHandler of the root logger"),
        (TWICE, "logging handler StreamHandler of logger '{namespace}.demo.base.plugin'"),
    ],
    ids=["its class", "its stream", "one more on its own logger"],
)
async def test_a_logging_handler_is_named(tree: PluginTree, code: str, words: str) -> None:
    root = list(logging.root.handlers)
    tree.plugin("base", code=code)
    try:
        async with serving(tree) as live:
            holders = await leaked_by(live, tree, code)
            assert holders == (words.format(namespace=live.namespace),)
    finally:
        logging.root.handlers[:] = root
        logging.getLogger("app").handlers.clear()


async def test_a_handler_that_a_newer_generation_goes_on_using_is_no_leak(
    tree: PluginTree,
) -> None:
    code = """
    import logging
    log = logging.getLogger(__name__)
    if not log.handlers:
        log.addHandler(logging.StreamHandler())
    class Plugin: pass
    """
    tree.plugin("base", code=code)
    async with serving(tree) as live:
        tree.plugin("base", code=dedent(code) + "\n#\n")
        await live.looked_for_leaks()
        assert live.of(PluginLeaked) == []


class Keeper:
    kept: object = None


async def test_each_leak_is_reported_once_and_every_generation_for_itself(tree: PluginTree) -> None:
    tree.plugin("base")
    keepers = [Keeper(), Keeper()]
    async with serving(tree) as live:
        for number, keeper in enumerate(keepers):
            keeper.kept = unwrap(live.plugin("base"))
            tree.plugin("base", value=number + 2)
            await live.looked_for_leaks()
        await live.looked_for_leaks()
        told = [(each.generation, each.is_error) for each in live.of(PluginLeaked)]
        assert told == [(1, False), (2, False)]


async def test_what_lets_go_before_the_last_look_is_no_leak(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        keeper = Keeper()
        keeper.kept = unwrap(live.plugin("base"))
        looks: list[object] = []
        look = live.server._loop.leaks.look

        async def let_go_after_the_first(is_wanted: Any) -> None:
            await look(is_wanted)
            looks.append(keeper.kept is not None)
            keeper.kept = None

        live.server._loop.leaks.look = let_go_after_the_first  # type: ignore[method-assign]
        tree.plugin("base", value=2)
        await live.looked_for_leaks()
        assert looks[0] is True
        assert live.of(PluginLeaked) == []


async def test_off_looks_for_nothing(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree, leaks=Leaks.OFF) as live:
        keeper = Keeper()
        keeper.kept = unwrap(live.plugin("base"))
        tree.plugin("base", value=2)
        await live.server.wait_idle()
        assert live.server._loop.leaks.idle_seconds is None
        assert live.of(PluginLeaked) == []


async def test_with_error_what_waits_for_a_look_is_reported_before_the_end(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "IDLE_SECONDS", 600.0)
    tree.plugin("base")
    keeper = Keeper()
    async with serving(tree, leaks=Leaks.ERROR) as live:
        keeper.kept = unwrap(live.plugin("base"))
        tree.plugin("base", value=2)
        await live.server.wait_idle()
        assert live.of(PluginLeaked) == []
    [leaked] = live.of(PluginLeaked)
    assert leaked.is_error


CLEAN = """
import asyncio
import logging
import threading
from typing import Optional

class Part:
    def method(self): pass

def take(part: Optional[Part]) -> list[Part]: ...

class Handler(logging.Handler):
    def emit(self, record): pass

class Plugin:
    async def setup(self, ctx):
        self.ctx = ctx
        self.me = self
        self.task = asyncio.create_task(self.poll())
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.stop.wait)
        self.thread.start()
        self.handler = Handler()
        logging.getLogger("app").addHandler(self.handler)

    async def poll(self):
        while True:
            await asyncio.sleep(600)

    async def teardown(self):
        self.task.cancel()
        self.stop.set()
        self.thread.join()
        logging.getLogger("app").removeHandler(self.handler)

    def value(self):
        return 0
"""


async def test_fifty_clean_reloads_of_a_busy_plugin_report_nothing(tree: PluginTree) -> None:
    tree.plugin("base", code=CLEAN)
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        for number in range(50):
            assert live.plugin("base").value() == number
            tree.plugin("base", code=CLEAN.replace("return 0", f"return {number + 1}"))
            await (live.looked_for_leaks() if number % 10 == 0 else live.server.wait_idle())
        await live.looked_for_leaks()
        assert live.of(PluginLeaked) == []
