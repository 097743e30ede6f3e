"""The JSON stream of a real run: one object a line, every transition once."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable

from command_runs import Watching, steps_of
from trees import CODE, PluginTree

FAILING = "class Plugin:\n    def setup(self, ctx):\n        raise RuntimeError('no key')\n"


def test_a_day_at_work_is_reported_completely(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("base")
    tree.plugin("top", depends_on=["base"])
    run = watch("plugins")
    started = run.event("watch.started")
    assert (started["plugins"], started["ready"]) == (2, 2)
    assert started["roots"] == [str(tree.root)]

    edited = tree.write("base/plugin.py", CODE.format(name="base", value=2))
    began = run.event("reload.started")
    assert began["changed"] == ["demo/base"]
    assert began["affected"] == ["demo/base", "demo/top"]
    assert began["paths"] == [str(edited)]
    done = run.event("reload.committed", reload_id=began["reload_id"])
    assert done["duration_ms"] > 0

    tree.plugin("base", code="class Plugin\n")
    rejected = run.event("plugin.rejected", plugin="demo/base")
    assert rejected["keeps_generation"] == 2
    assert rejected["error"]["path"] == str(tree.root / "base" / "plugin.py")
    assert rejected["error"]["line"] == 1
    skipped = run.event("reload.skipped", reload_id=rejected["reload_id"])
    assert skipped["duration_ms"] > 0

    tree.plugin("base", code=FAILING)
    rolled_back = run.event("reload.rolled_back")
    error = rolled_back["errors"]["demo/base"]
    assert error["type"] == "RuntimeError"
    assert error["message"] == "no key"
    assert error["path"] == str(tree.root / "base" / "plugin.py")
    assert error["line"] == 3
    assert rolled_back["running"] == {"demo/base": 2, "demo/top": 1}

    tree.plugin("base", code=CODE.format(name="base", value=5))
    run.event("reload.committed")
    tree.plugin("extra", code=FAILING)
    failed = run.event("reload.failed")
    assert failed["affected"] == ["demo/extra"]
    assert failed["errors"]["demo/extra"]["line"] == 3
    assert failed["duration_ms"] > 0

    assert run.end(signal.SIGINT) == 0
    events = run.events
    assert events[-1]["event"] == "watch.stopped"
    assert run.errors == ""
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", each["timestamp"])
        for each in events
    )
    assert all(
        each["event"] == f"plugin.{each['to_state']}" for each in events if "to_state" in each
    )
    fields = {"generation", "reload_id", "duration_ms", "reason"}
    assert all(fields <= each.keys() for each in events if "to_state" in each)
    for plugin in ("demo/base", "demo/top", "demo/extra"):
        steps = list(steps_of(events, plugin))
        assert steps[0] == (None, "discovered")
        assert [after for _, after in steps[:-1]] == [before for before, _ in steps[1:]]
    assert list(steps_of(events, "demo/top"))[-1] == ("tearing_down", "stopped")


def test_level_warning_leaves_failures_with_their_line_and_who_waits_for_whom(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("broken", code=FAILING)
    tree.plugin("top", depends_on=["broken"])
    run = watch("plugins", "--log-level", "warning")
    failed = run.event("plugin.failed")
    assert (failed["stage"], failed["level"]) == ("setup", "error")
    assert failed["error"]["line"] == 3
    blocked = run.event("plugin.blocked")
    assert (blocked["blocked_by"], blocked["level"]) == (["demo/broken"], "warning")
    assert run.end() == 0
    assert {event["level"] for event in run.events} <= {"warning", "error"}


def test_what_plugins_print_and_odd_values_leave_one_object_a_line(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin(
        "odd",
        code="""
        class Plugin:
            def setup(self, ctx):
                print("printed")
                circle = []
                circle.append(circle)
                ctx.logger.info("two\\nlines", keys={(1, 2): 3}, circle=circle, nan=float("nan"))
                ctx.logger.info("surrogate \\udc80 \\u2028")
                try:
                    1 / 0
                except ZeroDivisionError:
                    ctx.logger.exception("caught")
        """,
    )
    run = watch("plugins")
    assert run.event("two\nlines")["plugin"] == "demo/odd"
    run.until(lambda line: "surrogate" in line)
    assert "ZeroDivisionError" in run.event("caught")["exception"]
    run.event("watch.started")
    assert run.end() == 0
    assert run.errors == "printed\n"


def test_nothing_but_the_stream_reaches_standard_output(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin(
        "loud",
        code="""
        import os, subprocess, sys

        class Plugin:
            def setup(self, ctx):
                print("printed")
                os.write(1, b"written\\n")
                subprocess.run(["echo", "from a child"], check=True)
                print("dunder", file=sys.__stdout__, flush=True)
        """,
    )
    run = watch("plugins")
    run.event("watch.started")
    assert run.end() == 0
    for line in run.lines:
        json.loads(line)
    assert {"printed", "written", "from a child", "dunder"} <= set(run.errors.splitlines())


def test_a_folder_that_declares_what_another_is_says_what_that_is(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("first")
    run = watch("plugins")
    run.event("watch.started")
    tree.plugin("first", folder="second")
    rejected = run.event("plugin.rejected")
    assert (rejected["plugin"], rejected["keeps_generation"]) == ("demo/first", None)
    assert rejected["path"] == str(tree.root / "second")
    assert run.end() == 0
