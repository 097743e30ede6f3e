"""Plugin code that breaks what all share: the stream and the reloads go on."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent

import pytest
from command_runs import Watching
from trees import PluginTree

Watch = Callable[..., Watching]
StillReloads = Callable[[Watching], None]

BREAKS = {
    "print": "import builtins; builtins.print = None",
    "import": (
        "import builtins\nold = builtins.__import__\n"
        "builtins.__import__ = lambda *a, **k: old(*a, **k)"
    ),
    "streams gone": "import sys; sys.stdout = sys.stderr = None",
    "streams closed": "import sys; sys.stdout.close(); sys.stderr.close()",
    "descriptors closed": "import os; os.close(1); os.close(2)",
    "own module": "import sys; del sys.modules[__name__]",
    "every plugin's modules": (
        "import sys\nfor name in [n for n in sys.modules if n.startswith('dagstack_plugins')]:\n"
        "    del sys.modules[name]"
    ),
    "server's modules": (
        "import sys\nfor name in [n for n in sys.modules if n.startswith('dagstack_dev')]:\n"
        "    del sys.modules[name]"
    ),
    "sys.path": "import sys; sys.path.clear()",
    "sys.meta_path": "import sys; sys.meta_path.clear()",
    "basicConfig": "import logging; logging.basicConfig(force=True)",
    "disable": "import logging; logging.disable()",
    "dictConfig": "import logging.config; logging.config.dictConfig({'version': 1})",
    "structlog": "import structlog; structlog.configure(processors=[lambda *_: 1 / 0])",
    "warnings": "import warnings; warnings.simplefilter('error')",
    "collector": "import gc; gc.disable(); gc.freeze()",
    "recursion": "import sys; sys.setrecursionlimit(80)",
    "switches": "import sys; sys.setswitchinterval(100)",
    "hooks": "import sys, threading; sys.excepthook = threading.excepthook = None",
    "fault handler": "import faulthandler; faulthandler.disable()",
    "environment": "import os; os.environ.clear()",
    "mask": "import os; os.umask(0o777)",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "folder": "import os; os.chdir('/')",
    "folder gone": "import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
    "loop's handler": (
        "import asyncio\n"
        "asyncio.get_running_loop().set_exception_handler(lambda *_: 1 / 0)\n"
        "asyncio.get_running_loop().call_soon(lambda: 1 / 0)"
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_stream_and_the_reloads_go_on(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads, name: str
) -> None:
    body = indent(f"{BREAKS[name]}\nctx.logger.info('done')", " " * 8)
    tree.plugin("breaker", code=f"class Plugin:\n    def setup(self, ctx):\n{body}\n")
    run = watch("plugins")
    assert run.event("done")["plugin"] == "demo/breaker"
    run.event("watch.started", ready=2)
    still_reloads(run)
    assert run.end() == 0
    assert run.events[-1]["event"] == "watch.stopped"
    assert "Traceback" not in run.errors


def test_a_plugin_that_goes_elsewhere_changes_no_path(tree: PluginTree, watch: Watch) -> None:
    tree.plugin("goer", code="import os\nos.chdir('/')\nclass Plugin: ...\n")
    run = watch("plugins", columns=100)
    run.line("dagstack-dev watching plugins")
    tree.plugin("goer", code="class Plugin\n")
    run.line("plugins/goer/plugin.py:1")
    assert run.end() == 0
    assert str(tree.root) not in run.screen


def test_the_view_for_a_person_outlives_a_replaced_standard_output(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("thief", code="import io, sys\nsys.stdout = io.StringIO()\nclass Plugin: ...\n")
    run = watch("plugins", columns=100)
    run.line("1 ready")
    tree.plugin("another")
    run.line("+ demo/another")
    assert run.end() == 0
    assert "2 plugins torn down" in run.screen


def test_what_cannot_go_on_is_reported_in_one_line_that_names_the_cause(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("breaker", code="import builtins\nbuiltins.open = None\nclass Plugin: ...\n")
    run = watch("plugins")
    run.event("watch.started")
    tree.plugin("another")
    assert run.ended() == 1
    assert run.errors.startswith(
        "dagstack-dev: plugin code replaced builtins.open, and that ended it: TypeError: "
    )
    assert len(run.errors.splitlines()) == 1


def test_a_plugin_that_cancels_every_task_is_reported_as_the_end(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin(
        "canceller",
        code="""
        import asyncio

        class Plugin:
            async def setup(self, ctx):
                asyncio.get_running_loop().call_soon(self.cancel)

            def cancel(self):
                for task in asyncio.all_tasks():
                    task.cancel()
        """,
    )
    run = watch("plugins")
    assert run.ended() == 1
    assert run.errors.startswith("dagstack-dev: plugin code cancelled the server's own task")
    assert len(run.errors.splitlines()) == 1
    assert run.events[-1]["event"] == "watch.stopped"


REPRS = ("raise OSError", "raise SystemExit", "return repr(self)")


@pytest.mark.parametrize("form", ["json", "logfmt", "console"])
def test_an_event_with_a_value_that_cannot_be_written_comes_out_with_a_note(
    tree: PluginTree, watch: Watch, form: str
) -> None:
    log = "ctx.logger.info('kept', value=X(), nested=[X()])"
    standard = "import logging; logging.getLogger('any').warning('kept too: %r', X())"
    values = [f"class X:\n    def __repr__(self): {each}\n{log}\n{standard}" for each in REPRS]
    body = indent("\n".join(values), " " * 8)
    tree.plugin("odd", code=f"class Plugin:\n    def setup(self, ctx):\n{body}\n")
    run = watch("plugins", "--log-format", form)
    for _ in REPRS:
        kept = run.line("kept")
        assert "__repr__ raised" in kept or "not written as meant" in kept
        assert "not written as meant" in run.line("kept too")
    assert run.end() == 0
    assert run.errors == ""


def test_a_megabyte_and_ten_thousand_events_all_come_out(tree: PluginTree, watch: Watch) -> None:
    tree.plugin(
        "chatty",
        code="""
        class Plugin:
            def setup(self, ctx):
                ctx.logger.info("big", text="x" * 1_000_000)
                for number in range(10_000):
                    ctx.logger.info("many", number=number)
        """,
    )
    run = watch("plugins")
    assert len(run.event("big")["text"]) == 1_000_000
    run.event("watch.started")
    assert run.end() == 0
    numbers = [event["number"] for event in run.events if event["event"] == "many"]
    assert numbers == list(range(10_000))
