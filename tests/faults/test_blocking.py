"""A plain method that blocks the event loop for ever is broken off when its time is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from command_runs import Watching
from trees import PluginTree

LIMITS = "startup_timeout_sec = 1\nteardown_timeout_sec = 1\n"

WAYS = {
    "lock": "LOCK.acquire()",
    "loop": "while True: pass",
    "child process": "subprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)'])",
    "obstinate": "hold_out()",
}

CODE = """
import subprocess, sys, threading, time

LOCK = threading.Lock()
LOCK.acquire()

def hold_out():
    while True:
        try:
            time.sleep(1000)
        except Exception:
            pass

class Plugin:
    def setup(self, ctx):
        {setup}

    def teardown(self):
        {teardown}
"""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_setup_that_blocks_for_ever_is_broken_off_and_rolled_back(
    tree: PluginTree, watch: Callable[..., Watching], way: str
) -> None:
    tree.plugin("stuck", manifest=LIMITS)
    tree.plugin("other", depends_on=["stuck"])
    run = watch("plugins")
    run.event("watch.started")
    code = CODE.format(setup=way, teardown="pass")
    path = tree.plugin("stuck", manifest=LIMITS, code=code) / "plugin.py"
    assert run.event("plugin.blocking", plugin="demo/stuck")["path"] == str(path)
    failed = run.event("plugin.failed", plugin="demo/stuck")
    assert failed["error"]["type"] == "SetupTimeout"
    assert failed["error"]["path"] == str(path)
    assert run.event("reload.rolled_back")["running"] == {"demo/other": 1, "demo/stuck": 1}
    assert run.end() == 0


def test_a_teardown_that_blocks_for_ever_is_broken_off_and_the_rest_goes_on(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    code = CODE.format(setup="pass", teardown="time.sleep(1000)")
    path = tree.plugin("stuck", manifest=LIMITS, code=code) / "plugin.py"
    run = watch("plugins")
    run.event("watch.started")
    path.write_text(CODE.format(setup="pass", teardown="pass"), encoding="utf-8")
    failed = run.event("plugin.teardown_failed", plugin="demo/stuck")
    assert failed["error"]["type"] == "TeardownTimeout"
    run.event("reload.committed")
    assert run.end() == 0


def test_an_import_that_blocks_for_ever_is_broken_off(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    code = "import time\ntime.sleep(1000)\nclass Plugin: ...\n"
    path = tree.plugin("stuck", manifest=LIMITS, code=code) / "plugin.py"
    run = watch("plugins")
    failed = run.event("plugin.failed", plugin="demo/stuck")
    assert "kept the event loop busy for more than 1 s" in failed["error"]["message"]
    assert (failed["error"]["path"], failed["error"]["line"]) == (str(path), 2)
    run.event("watch.started")
    assert run.end() == 0


def failures(run: Watching) -> int:
    """How often a plugin has failed so far."""
    return sum(event["event"] == "plugin.failed" for event in run.events)


@pytest.mark.parametrize(
    ("where", "edited"),
    [("import", "its own code"), ("setup", "shared code"), ("setup", "what it depends on")],
)
def test_what_blocks_for_ever_is_broken_off_by_a_fix(
    tree: PluginTree, watch: Callable[..., Watching], where: str, edited: str
) -> None:
    by = "helpers.OK"
    if edited == "what it depends on":
        by = "ctx.registry.get_plugin('demo', 'library').value() == 2"
    hang = f"time.sleep(0 if {by} else 1000)"
    at_import, in_setup = (hang, "pass") if where == "import" else ("", hang)
    code = f"""
import time
import helpers
{at_import}
class Plugin:
    def setup(self, ctx):
        {in_setup}
"""
    tree.write("helpers.py", "OK = False\n")
    tree.plugin("library")
    manifest = "startup_timeout_sec = 600\n"
    tree.plugin("stuck", manifest=manifest, code=code, depends_on=["library"])
    run = watch("plugins")
    assert run.event("plugin.blocking", plugin="demo/stuck")["method"] == where
    if edited == "its own code":
        tree.write("stuck/plugin.py", "class Plugin: ...\n")
    elif edited == "shared code":
        tree.write("helpers.py", "OK = True\n")
    else:
        tree.plugin("library", value=2)
    assert run.event("plugin.failed", plugin="demo/stuck")["error"]["type"] == "SetupPreempted"
    run.event("plugin.ready", plugin="demo/stuck")
    assert failures(run) == 1
    assert run.end() == 0


def test_what_blocks_is_not_tried_again_without_the_edit_for_which_it_was_broken_off(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    code = "import time\n\nclass Plugin:\n    def setup(self, ctx): time.sleep(SECONDS)\n"
    folder = tree.plugin(
        "stuck", manifest="startup_timeout_sec = 600\n", code=f"SECONDS = 1000\n{code}"
    )
    run = watch("plugins")
    for seconds in (2000, 0):
        run.event("plugin.blocking", plugin="demo/stuck")
        new = tree.write("../new.py", f"SECONDS = {seconds}\n{code}")
        new.replace(folder / "plugin.py")  # At once: a file that is empty is an edit, too.
        assert run.event("plugin.failed")["error"]["type"] == "SetupPreempted"
    run.event("plugin.ready", plugin="demo/stuck")
    assert failures(run) == 2
    assert run.end() == 0
