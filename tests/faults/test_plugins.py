"""Whatever plugin code raises, answers or looks like: it is the plugin's failure alone."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent

import pytest
from command_runs import Watching
from trees import PluginTree

Watch = Callable[..., Watching]
StillReloads = Callable[[Watching], None]

RAISES = {
    "SystemExit": "import sys; sys.exit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "Odd": "class Odd(BaseException): pass\nraise Odd",
    "RecursionError": "def down(): down()\ndown()",
    "PluginCancelled": "import asyncio; raise asyncio.CancelledError",
}
"""What ends a whole program elsewhere, by the type that is logged."""


def in_method(name: str, body: str, *, define: str = "def") -> str:
    """A plugin whose method does just this."""
    return f"class Plugin:\n    {define} {name}(self, *_):\n{indent(body, ' ' * 8)}\n"


def test_what_would_end_a_program_is_the_failure_of_the_plugin_that_raises_it_in_setup(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    for type_, body in RAISES.items():
        tree.plugin(f"plain-{type_.lower()}", code=in_method("setup", body))
        tree.plugin(f"async-{type_.lower()}", code=in_method("setup", body, define="async def"))
    run = watch("plugins")
    started = run.event("watch.started")
    assert (started["plugins"], started["ready"]) == (13, 1)
    still_reloads(run)
    assert run.end() == 0
    failed = {e["plugin"]: e for e in run.events if e["event"] == "plugin.failed"}
    for type_ in RAISES:
        for how in ("plain", "async"):
            event = failed[f"demo/{how}-{type_.lower()}"]
            assert (event["stage"], event["error"]["type"]) == ("setup", type_)
            assert event["error"]["path"].endswith("plugin.py")
    assert run.errors == ""


def test_what_would_end_a_program_is_the_failure_of_the_plugin_that_raises_it_at_import(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    for type_, body in RAISES.items():
        tree.plugin(f"import-{type_.lower()}", code=f"class Plugin: ...\n{body}\n")
        tree.plugin(f"construct-{type_.lower()}", code=in_method("__init__", body))
    run = watch("plugins")
    run.event("watch.started", ready=1)
    still_reloads(run)
    assert run.end() == 0
    failed = {e["plugin"]: e["error"] for e in run.events if e["event"] == "plugin.failed"}
    for type_ in RAISES:
        name = type_.replace("PluginCancelled", "CancelledError")
        for stage in ("import", "construct"):
            error = failed[f"demo/{stage}-{type_.lower()}"]
            assert error["type"] == name
            assert error["line"]
    assert run.errors == ""


def test_what_would_end_a_program_hinders_no_other_teardown(tree: PluginTree, watch: Watch) -> None:
    for type_, body in RAISES.items():
        tree.plugin(f"plain-{type_.lower()}", code=in_method("teardown", body))
        tree.plugin(f"async-{type_.lower()}", code=in_method("teardown", body, define="async def"))
    run = watch("plugins")
    run.event("watch.started", ready=12)
    assert run.end() == 0
    failed = {e["plugin"]: e["error"] for e in run.events if e["event"] == "plugin.teardown_failed"}
    assert {plugin: error["type"] for plugin, error in failed.items()} == {
        f"demo/{how}-{type_.lower()}": type_ for type_ in RAISES for how in ("plain", "async")
    }
    assert len(run.events[-1]["errors"]) == 12
    assert run.errors == ""


@pytest.mark.parametrize("raised", ["SystemExit", "KeyboardInterrupt"])
def test_in_a_task_group_of_the_plugin_it_ends_that_plugin_alone(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads, raised: str
) -> None:
    tree.plugin(
        "bad",
        code=f"""
        import anyio

        class Plugin:
            async def setup(self, ctx):
                self.group = anyio.create_task_group()
                await self.group.__aenter__()
                self.group.start_soon(self.background)

            async def background(self):
                await anyio.sleep(0.01)
                raise {raised}(3)

            async def teardown(self):
                await self.group.__aexit__(None, None, None)
        """,
    )
    run = watch("plugins")
    told = run.event("plugin.overstepped", plugin="demo/bad")
    assert raised in told["message"] or "sys.exit(3)" in told["message"]
    assert told["line"] == 12
    failed = run.event("plugin.failed", plugin="demo/bad")
    assert (failed["stage"], failed["error"]["type"]) == ("run", raised)
    assert failed["error"]["line"] == 12
    still_reloads(run)
    assert run.end() == 0
    assert run.errors == ""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("loop.call_soon(sys.exit, 3)", "called sys.exit(3) in a task or callback"),
        ("loop.call_later(0.01, sys.exit, 3)", "called sys.exit(3) in a task or callback"),
        ("self.task = loop.create_task(quit())", "called sys.exit(3) in a task or callback"),
        ("self.task = loop.create_task(interrupt())", "raised KeyboardInterrupt in a task"),
        ("loop.stop()", "wanted to stop the event loop"),
        ("await loop.shutdown_default_executor()", "wanted to end the threads"),
    ],
)
def test_what_would_end_the_event_loop_is_reported_with_the_plugin_and_the_loop_goes_on(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads, body: str, says: str
) -> None:
    tree.plugin(
        "bad",
        code=f"""
        import asyncio, sys

        async def quit():
            await asyncio.sleep(0.01)
            sys.exit(3)

        async def interrupt():
            raise KeyboardInterrupt

        class Plugin:
            async def setup(self, ctx):
                loop = asyncio.get_running_loop()
                {body}
        """,
    )
    run = watch("plugins")
    assert says in run.event("plugin.overstepped", plugin="demo/bad")["message"]
    still_reloads(run)
    assert run.end() == 0
    assert [e["plugin"] for e in run.events if e["event"] == "plugin.stopped"][-1] == "demo/bad"
    assert run.errors == ""


def test_a_stop_that_cannot_be_enforced_is_reported_all_the_same(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    tree.plugin(
        "bad",
        code="""
        import asyncio, threading

        class Plugin:
            async def setup(self, ctx):
                loop = asyncio.get_running_loop()
                threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,)).start()
        """,
    )
    run = watch("plugins")
    told = run.event("plugin.overstepped")
    assert told["message"] == "stopped the event loop; the server goes on"
    still_reloads(run)
    assert run.end() == 0


def test_a_plugin_that_exits_in_a_call_fails_its_caller_alone(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    tree.plugin("bad", code=in_method("value", "raise SystemExit(3)"))
    caller = in_method("setup", "_[0].registry.get_plugin('demo', 'bad').value()")
    tree.plugin("caller", code=caller, depends_on=["bad"])
    run = watch("plugins")
    failed = run.event("plugin.failed", plugin="demo/caller")
    assert failed["error"]["path"] == str(tree.root / "bad" / "plugin.py")
    still_reloads(run)
    assert run.end() == 0


OBJECTS = {
    "slots": ("class Plugin:\n    __slots__ = ()\n", True),
    "eq": ("class Plugin:\n    def __eq__(self, o): return self == o\n", True),
    "delete": ("class Plugin:\n    def __del__(self): raise ValueError\n", True),
    "delete-exit": ("class Plugin:\n    def __del__(self): raise SystemExit\n", True),
    "number": (in_method("setup", "return 42"), True),
    "list": (in_method("setup", "return [object()] * 3"), True),
    "generator": (in_method("setup", "yield 1"), True),
    "stream": (in_method("setup", "yield 1", define="async def"), True),
    "getattr": ("class Plugin:\n    def __getattr__(self, n): return getattr(self, n)\n", False),
    "getattribute": ("class Plugin:\n    def __getattribute__(self, n): raise OSError\n", False),
    "property": ("class Plugin:\n    @property\n    def setup(self): raise OSError\n", False),
    "teardown-property": (
        "class Plugin:\n    @property\n    def teardown(self): raise OSError\n",
        False,
    ),
    "no-function": ("class Plugin:\n    setup = 5\n", False),
    "odd-await": (
        "class W:\n    def __await__(self): return 5\n" + in_method("setup", "return W()"),
        False,
    ),
    "odd-yield": (
        "class W:\n    def __await__(self): yield 'x'\n" + in_method("setup", "return W()"),
        False,
    ),
    "metaclass": (
        "class M(type):\n    def __call__(cls): raise OSError\nclass Plugin(metaclass=M): ...\n",
        False,
    ),
    "dark-class": (
        (
            "class M(type):\n"
            "    def __getattribute__(cls, name): raise OSError(name)\n"
            "class Plugin(metaclass=M): ...\n"
        ),
        False,
    ),
    "metaclass-module": (
        (
            "class M(type):\n    @property\n    def __module__(cls): raise OSError\n"
            "class Part(metaclass=M): ...\nclass Plugin: ...\n"
        ),
        True,
    ),
}
"""Plugins that look odd, and whether they come up."""


def test_odd_objects_come_up_or_fail_alone_and_are_replaced_like_any_other(
    tree: PluginTree, watch: Watch
) -> None:
    for name, (code, _) in OBJECTS.items():
        tree.plugin(name, code=code)
    run = watch("plugins")
    run.event("watch.started", plugins=len(OBJECTS))
    up = {e["plugin"] for e in run.events if e["event"] == "plugin.ready"}
    assert up == {f"demo/{name}" for name, (_, ready) in OBJECTS.items() if ready}
    for name in OBJECTS:
        tree.plugin(name, code="class Plugin: ...\n")
        run.event("plugin.ready", plugin=f"demo/{name}", reason="plugin.py changed")
    assert run.end() == 0
    assert "dagstack-dev:" not in run.errors


ERRORS = {
    "str": (
        "class E(Exception):\n    def __str__(self): raise OSError\nraise E",
        "(its __str__ raised OSError)",
    ),
    "str-exit": (
        "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
        "(its __str__ raised SystemExit)",
    ),
    "no-str": (
        "class E(Exception):\n    def __str__(self): return 5\nraise E",
        "(its __str__ raised TypeError)",
    ),
    "group": ("raise ExceptionGroup('g', [ValueError('first'), KeyError()])", "first"),
    "lines": ("raise ValueError('line\\n' * 100_000)", "line"),
    "circle": (
        "a, b = ValueError('a'), ValueError('b')\na.__cause__, b.__cause__ = b, a\nraise a",
        "a",
    ),
    "own-circle": (
        (
            "from dagstack_dev import PluginRegistryError as E\n"
            "a, b = E('a'), E('b')\na.__cause__, b.__cause__ = b, a\nraise a"
        ),
        "a",
    ),
    "notes": ("e = ValueError('noted')\ne.__notes__ = 5\nraise e", "noted"),
    "syntax": ("raise SyntaxError('by hand', ('f', 'a', None, 3))", "by hand"),
    "deep": (
        (
            "import sys\nsys.setrecursionlimit(20_000)\n"
            "def down(n):\n    if n: down(n - 1)\n    else: raise ValueError('deep')\ndown(10_000)"
        ),
        "deep",
    ),
}
"""Exceptions that are hard to show, and what is shown of them."""


@pytest.mark.parametrize("form", ["json", "logfmt", "console"])
def test_every_exception_can_be_shown(tree: PluginTree, watch: Watch, form: str) -> None:
    for name, (body, _) in ERRORS.items():
        tree.plugin(name, code=in_method("setup", body))
    run = watch("plugins", "--log-format", form)
    run.line("watch.started" if form != "console" else "0 ready")
    assert run.end() == 0
    for name, (_, shown) in ERRORS.items():
        assert any(name in line for line in run.lines)
        assert shown in run.screen
    assert run.errors == ""


def test_a_huge_message_is_cut_at_the_terminal(tree: PluginTree, watch: Watch) -> None:
    tree.plugin("huge", code=in_method("setup", "raise ValueError('x' * 1_000_000)"))
    run = watch("plugins", columns=100)
    run.line("more characters")
    run.line("0 ready")
    assert run.end() == 0
    assert len(run.screen) < 10_000
