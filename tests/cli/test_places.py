"""Places as links, and the editor that opens them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runs import Watching
from trees import PluginTree

BROKEN = "class Plugin\n    pass\n"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ([], "file://[^/]*{path}"),
        (["--editor", "code -g {path}:{line}"], "vscode://file{path}:1"),
        (["--editor", "idea://open?file={path}&line={line}"], r"idea://open\?file={path}&line=1"),
        (["--editor", "vim +{line} {path}"], "file://[^/]*{path}"),
    ],
)
def test_a_place_is_a_link_where_the_terminal_knows_links(
    tree: PluginTree, watch: Callable[..., Watching], options: list[str], url: str
) -> None:
    tree.plugin("base", code=BROKEN)
    run = watch("plugins", *options, columns=100, environment={"TERM_PROGRAM": "vscode"})
    run.line("plugins/base/plugin.py:1")
    target = url.format(path=re.escape(str(tree.root / "base/plugin.py")))
    assert re.search(
        rf"\x1b]8;[^;]*;{target}\x1b\\(\x1b\[\d+m)?plugins/base/plugin.py:1", run.lines[-1]
    )
    assert run.end() == 0


@pytest.mark.parametrize(
    ("columns", "environment"),
    [(100, {}), (100, {"TERM_PROGRAM": "vscode", "FORCE_HYPERLINK": "0"}), (None, {})],
    ids=["unknown terminal", "not wanted", "no terminal"],
)
def test_there_are_no_links_elsewhere(
    tree: PluginTree,
    watch: Callable[..., Watching],
    columns: int | None,
    environment: dict[str, str],
) -> None:
    tree.plugin("base", code=BROKEN)
    run = watch("plugins", "--log-format", "console", columns=columns, environment=environment)
    run.line("plugins/base/plugin.py:1")
    assert run.end() == 0
    assert "\x1b]8" not in "".join(run.lines)


def test_a_key_opens_the_line_of_the_last_failure(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    editor = tree.root.parent / "edit"
    editor.write_text('#!/bin/sh\necho "$1" > opening\nmv opening opened\n')
    editor.chmod(0o755)
    tree.plugin("base", code=BROKEN)
    run = watch(
        "plugins",
        columns=300,
        typing=True,
        environment={"DAGSTACK_DEV_EDITOR": f"{editor} {{path}}:{{line}}"},
    )
    run.line("press h for help")
    os.write(run.terminal, b"f")
    run.line("opening plugins/base/plugin.py:1")
    while not (tmp_path / "opened").exists():
        time.sleep(0.01)
    assert (tmp_path / "opened").read_text() == f"{tree.root}/base/plugin.py:1\n"
    editor.unlink()
    os.write(run.terminal, b"f")
    run.line(f"plugin.py:1 cannot be opened: {editor} cannot be started: No such file")
    tree.plugin("later", code=f"\n{BROKEN}")
    run.line("demo/later failed")
    os.write(run.terminal, b"f")
    run.line("opening plugins/later/plugin.py:2")
    tree.plugin("later")
    run.line("↻ demo/later")
    os.write(run.terminal, b"f")
    run.line("opening plugins/base/plugin.py:1")
    tree.plugin("base")
    run.line("↻ demo/base")
    os.write(run.terminal, b"f")
    run.line("there is no failure to open")
    assert run.end() == 0


@pytest.mark.parametrize("template", ["code", "code {file}", "code {path", "'{path}"])
def test_an_editor_that_cannot_be_filled_in_is_wrong_usage(
    tree: PluginTree, watch: Callable[..., Watching], template: str
) -> None:
    run = watch(tree.root, "--editor", template)
    assert run.ended() == 2
    assert run.errors.startswith("dagstack-dev: --editor")
