"""What the options of `watch` do to a real run."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest
from command_runs import GUARD_SECONDS, Watching
from serving import edit
from trees import PluginTree

CONFIGURED = """
class Plugin:
    def setup(self, ctx):
        ctx.logger.info("configured", size=ctx.config.get("size"))
"""


def test_a_changed_config_reloads_the_plugins_whose_table_changed(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a", code=CONFIGURED)
    tree.plugin("b", code=CONFIGURED)
    config = tmp_path / "config.toml"
    config.write_text("[demo.a]\nsize = 1\n[demo.b]\nsize = 2\n", encoding="utf-8")
    run = watch("plugins", "--config", "config.toml")
    assert run.event("configured", plugin="demo/a")["size"] == 1
    run.event("watch.started")

    config.write_text("[demo.a]\nsize = 1\n[demo.b]\nsize = 3\n", encoding="utf-8")
    assert run.event("reload.started")["changed"] == ["demo/b"]
    assert run.event("configured", plugin="demo/b")["size"] == 3
    run.event("reload.committed", affected=["demo/b"])

    config.write_text("[demo.a]\nsize = \n", encoding="utf-8")
    rejected = run.event("plugin.rejected", plugin=None, path=str(config))
    assert (rejected["error"]["path"], rejected["error"]["line"]) == (str(config), 2)

    config.write_text("[demo.a]\nsize = 4\n[demo.b]\nsize = 3\n", encoding="utf-8")
    run.event("reload.committed", affected=["demo/a"])
    assert run.end() == 0


def test_declared_kinds_are_the_only_ones_and_may_be_edited(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a")
    tree.plugin("b", kind="demos")
    kinds = tmp_path / "kinds.yaml"
    kinds.write_text("kind: demo\nhooks: []\n", encoding="utf-8")
    run = watch("plugins", "--hookspecs", "kinds.yaml")
    failed = run.event("plugin.failed", plugin="demos/b")
    assert "did you mean 'demo'?" in failed["error"]["message"]
    run.event("watch.started", ready=1)

    kinds.write_text("kind: demo\nhoks: []\n", encoding="utf-8")
    rejected = run.event("plugin.rejected", plugin=None, path=str(kinds))
    assert rejected["error"]["type"] == "HookspecsInvalid"

    kinds.write_text("kind: demo\nhooks: []\n---\nkind: demos\nhooks: []\n", encoding="utf-8")
    run.event("plugin.ready", plugin="demos/b")
    assert run.end() == 0


def test_ignored_folders_are_no_plugins_and_several_folders_are_watched_by_polling(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("kept")
    tree.plugin("draft", folder="drafts/draft")
    more = PluginTree(tmp_path / "more")
    more.plugin("other")
    run = watch("plugins", "more", "--ignore", "drafts", "--ignore", "*.csv", "--polling")
    started = run.event("watch.started")
    assert started["roots"] == [str(tree.root), str(more.root)]
    assert (started["ready"], started["polling"]) == (2, True)
    tree.write("kept/data.csv", "1,2")
    more.plugin("other", value=2)
    assert run.event("reload.started")["changed"] == ["demo/other"]
    assert run.end() == 0
    assert not any("draft" in line for line in run.lines)


def test_a_log_file_in_the_watched_folder_gets_every_event_and_does_not_loop(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    folder = tree.plugin("a")
    options = ("--log-file", "plugins/a/trace.json", "--log-format", "console")
    run = watch("plugins", *options, "--log-level", "debug")
    line = run.line("plugin.ready")  # With debug the console shows events too.
    assert " demo/a  plugin.ready  from_state=setting_up  to_state=ready" in line
    run.line("Ctrl-C to stop")
    tree.plugin("a", value=2)
    run.line("↻ demo/a")
    assert run.end() == 0
    assert stat.S_IMODE((folder / "trace.json").stat().st_mode) == 0o600
    text = (folder / "trace.json").read_text(encoding="utf-8")
    events = [json.loads(line) for line in text.splitlines()]
    assert [
        event["event"] for event in events if event["event"].startswith(("reload", "watch"))
    ] == [
        "watch.started",
        "reload.planned",
        "reload.started",
        "reload.committed",
        "watch.stopped",
    ]


def test_logfmt_has_the_same_fields_on_one_level_and_the_core_version_decides_who_may_run(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a")
    run = watch("plugins", "--log-format", "logfmt", "--settle", "20", "--core-version", "2.0")
    line = run.line("event=plugin.failed")
    assert line.startswith("timestamp=")
    assert " level=error event=plugin.failed plugin=demo/a from_state=discovered" in line
    assert " error_type=VersionIncompatible " in line
    assert ' error_message="demo/a needs core_version >=0.1.0,<1.0.0, this core is 2.0;' in line
    run.line("event=watch.started")
    assert run.end() == 0


@pytest.mark.parametrize("spelling", ["plugins", "plugins/../plugins"])
def test_output_redirected_into_a_plugin_is_no_change_of_it(
    tree: PluginTree, spelling: str
) -> None:
    folder = tree.plugin("a")
    out = folder / "out.json"
    command = [sys.executable, "-m", "dagstack_dev", "watch", spelling]
    with out.open("w") as stdout:
        process = subprocess.Popen(command, cwd=tree.root.parent, stdout=stdout)
    try:
        wait_for_text(out, "watch.started")
        edit(folder / "plugin.py", "VALUE = 1", "VALUE = 2")
        wait_for_text(out, "reload.committed")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(GUARD_SECONDS) == 0
    events = [json.loads(line)["event"] for line in out.read_text("utf-8").splitlines()]
    assert events.count("reload.started") == 1
    assert "reload.skipped" not in events


def wait_for_text(path: Path, text: str) -> None:
    """Look until `text` is in a file that another process writes."""
    give_up_at = monotonic() + GUARD_SECONDS
    while text not in path.read_text(encoding="utf-8"):
        assert monotonic() < give_up_at, path.read_text(encoding="utf-8")
        sleep(0.01)
