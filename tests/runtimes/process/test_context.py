"""What a plugin in a process of its own finds in its context."""

from __future__ import annotations

import logging
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from trees import PluginTree

from dagstack_dev import PluginContext, PluginRegistry
from dagstack_dev.core.blame import plugin_frames
from dagstack_dev.core.errors.remote import NotTransferable, ProcessDied

MANIFEST = 'execution_model = "process_cpu_bound"\n'


class Now:
    def __init__(self, value: object) -> None:
        self.value = value


class Sink:
    """Keeps what is reported to it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def report(self, progress: Any) -> None:
        self.heard.append(("report", progress))

    def done(self) -> None:
        self.heard.append(("done", None))

    def error(self, exc: BaseException) -> None:
        self.heard.append(("error", exc))


class Lifetime:
    """Sets one plugin up and tears it down."""

    def __init__(self, tree: PluginTree, code: str, manifest: str = "") -> None:
        tree.plugin("it", code=code, manifest=MANIFEST + manifest)
        self.registry = PluginRegistry().discover(tree.root)

    async def __call__(self, **fields: Any) -> None:
        given = {"config": {}, "logger": structlog.get_logger(), "registry": self.registry}
        await self.registry.setup_all(PluginContext(**{**given, **fields}))
        await self.registry.teardown_all()


async def test_log_calls_reach_the_apps_logger(
    tree: PluginTree, captured_events: list[MutableMapping[str, Any]]
) -> None:
    code = """
    class Plugin:
        def setup(self, ctx):
            ctx.logger.bind(part="one").info("began", number=1, odd=object)
            try:
                {}["x"]
            except KeyError:
                ctx.logger.exception("missed")
    """
    await Lifetime(tree, code)()
    [began] = [each for each in captured_events if each["event"] == "began"]
    assert began == {
        "event": "began",
        "log_level": "info",
        "number": 1,
        "odd": object,
        "part": "one",
        "plugin": "demo/it",
    }
    [missed] = [each for each in captured_events if each["event"] == "missed"]
    assert isinstance(missed["exc_info"], KeyError)
    assert plugin_frames(missed["exc_info"])[0].function == "Plugin.setup"


async def test_standard_loggers_are_forwarded_under_their_names(
    tree: PluginTree, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
    import logging
    class Plugin:
        def setup(self, ctx):
            logging.getLogger(__name__).warning("careful with %s", "it")
    """
    await Lifetime(tree, code)()
    [record] = [each for each in caplog.records if each.getMessage() == "careful with it"]
    assert record.name.endswith(".demo.it.plugin")
    assert record.levelno == logging.WARNING


async def test_what_it_prints_goes_where_plugins_print(
    tree: PluginTree, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "class Plugin:\n    def setup(self, ctx):\n        print('hello', flush=True)\n"
    await Lifetime(tree, code)()
    assert "hello\n" in capfd.readouterr().out


async def test_a_crash_of_the_interpreter_names_the_line(
    tree: PluginTree, capfd: pytest.CaptureFixture[str]
) -> None:
    code = """
    import ctypes
    class Plugin:
        async def setup(self, ctx):
            ctypes.string_at(0)
    """
    with pytest.raises(ProcessDied, match="was killed by SIGSEGV"):
        await Lifetime(tree, code)()
    assert f'File "{tree.root}/it/plugin.py", line 5 in setup' in capfd.readouterr().err


async def test_its_section_its_metadata_and_extras_are_copies(tree: PluginTree) -> None:
    code = """
    class Plugin:
        def setup(self, ctx):
            found = dict(ctx.config), dict(ctx.metadata), ctx.extras
            assert found == ({"a": 1}, {"tenant_id": "t"}, {"x": [1]}), found
            ctx.extras["x"].append(2)
    """
    extras = {"x": [1]}
    config = {"demo": {"it": {"a": 1}, "other": {"b": 2}}}
    await Lifetime(tree, code)(config=config, metadata={"tenant_id": "t"}, extras=extras)
    assert extras == {"x": [1]}


async def test_a_resource_that_can_be_pickled_is_there(tree: PluginTree) -> None:
    code = """
    class Plugin:
        def setup(self, ctx):
            assert ctx.resources.seed == 7
            assert ctx.resources.maybe is None
    """
    manifest = '[plugin.resources]\nrequired = ["seed"]\noptional = ["maybe"]\n'
    life = Lifetime(tree, code, manifest)
    life.registry.resources.register("seed", 7)
    await life()


async def test_a_resource_that_cannot_go_there_is_named(tree: PluginTree) -> None:
    manifest = '[plugin.resources]\nrequired = ["lock"]\n'
    life = Lifetime(tree, "class Plugin: ...", manifest)
    life.registry.resources.register("lock", threading.Lock())
    with pytest.raises(NotTransferable, match="the resource 'lock' cannot be sent"):
        await life()


async def test_progress_reaches_the_hosts_sink(tree: PluginTree) -> None:
    code = """
    class Plugin:
        def setup(self, ctx):
            ctx.progress.report({"current": 1})
            ctx.progress.error(ValueError("oh"))
            ctx.progress.done()
    """
    sink = Sink()
    await Lifetime(tree, code)(progress=sink)
    names = [name for name, _ in sink.heard]
    assert names == ["report", "error", "done"]
    assert sink.heard[0][1] == {"current": 1}
    assert repr(sink.heard[1][1]) == "ValueError('oh')"


async def test_a_service_that_cannot_go_there_is_named_when_it_is_used(tree: PluginTree) -> None:
    code = """
    class Plugin:
        async def setup(self, ctx):
            await ctx.event_bus.publish("topic", {})
    """

    class Bus:
        lock = threading.Lock()

        def __init__(self) -> None:
            self.mine = threading.Lock()

        async def publish(self, topic: str, payload: object) -> None: ...

        def subscribe(self, topic: str, handler: object) -> None: ...

        def unsubscribe(self, subscription: object) -> None: ...

    with pytest.raises(Exception, match=r"ctx\.event_bus cannot be sent between the processes"):
        await Lifetime(tree, code)(event_bus=Bus())


async def test_what_it_owns_is_undone_there(tree: PluginTree, tmp_path: Path) -> None:
    code = """
    import anyio
    class Plugin:
        async def setup(self, ctx):
            self.path = ctx.config["path"]
            ctx.callback(self.note, "undone")
            ctx.start_soon(anyio.sleep_forever)
            ctx.run_thread(lambda stop: stop.wait())
        def note(self, text):
            with open(self.path, "a") as file:
                file.write(text + " ")
        def teardown(self):
            self.note("teardown")
    """
    path = tmp_path / "notes"
    await Lifetime(tree, code)(config={"demo": {"it": {"path": str(path)}}})
    assert path.read_text() == "teardown undone "


async def test_what_it_carries_must_be_such_as_can_be_sent(tree: PluginTree) -> None:
    code = """
    import threading
    class Plugin:
        def setup(self, ctx):
            ctx.carry["lock"] = threading.Lock()
            ctx.carry["number"] = 1
    """
    life = Lifetime(tree, code)
    with pytest.raises(Exception, match=r"ctx\.carry\['lock'\] cannot be sent"):
        await life()
