"""What a person sees on a real terminal, in a real run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from command_runs import Watching
from trees import PluginTree

TALKING = """
class Plugin:
    def setup(self, ctx):
        ctx.logger.info("tick", greeting="Hello, world!")
"""
BROKEN = "class Plugin\n    pass\n"


def test_a_start_with_a_broken_plugin_says_so_and_waits_for_the_fix(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("base", code=BROKEN)
    tree.plugin("top", depends_on=["base"])
    run = watch("plugins", columns=100)
    run.line("demo/base cannot be loaded (D301)")
    run.line("SyntaxError: expected ':'")
    run.line("plugins/base/plugin.py:1")
    run.line("❱    1  class Plugin")
    run.line("demo/base  failed")
    run.line("demo/top  blocked by demo/base")
    assert "0 ready, 2 not" in run.line("waiting for a fix")
    tree.plugin("base", code=TALKING)
    line = run.line("tick")
    assert re.fullmatch(r"\d\d:\d\d:\d\d demo/base  tick  greeting='Hello, world!'", line)
    assert re.search(r"↻ demo/base \+ 1 dependent  plugin.py changed  [\d.]+ m?s", run.line("↻"))
    assert run.end() == 0
    assert run.errors == ""
    assert "2 plugins torn down" in run.screen
    assert "plugin.ready" not in run.screen  # The view says it; the events stay out of it.
    assert _colours(run)


def test_an_error_in_code_that_plugins_share_is_shown_at_its_own_line(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    tree.plugin("parrot", code="from helpers.words import WORD\nclass Plugin: ...\n")
    run = watch("plugins", columns=100)
    run.line("1 ready")
    tree.write("helpers/words.py", "WORD = 'new'\nraise OSError('no words')\n")
    run.line("demo/parrot failed")
    run.line("OSError: no words")
    run.line("plugins/parrot/plugin.py:1 in <module>")
    run.line("plugins/helpers/words.py:2 in <module>")
    run.line("❱    2  raise OSError('no words')")
    run.line("↩ rolled back after")
    assert run.end() == 0


def test_an_empty_folder_is_waited_with(tree: PluginTree, watch: Callable[..., Watching]) -> None:
    run = watch("plugins", columns=100)
    run.line("dagstack-dev watching plugins")
    run.line("no plugins yet; a folder with a dagstack.toml will be one")
    tree.plugin("first")
    assert re.match(r"\d\d:\d\d:\d\d \+ demo/first  ", run.line("demo/first"))
    assert run.end() == 0


def test_a_bad_edit_shows_its_own_text_and_what_keeps_running(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("base")
    tree.plugin("top", depends_on=["base"])
    run = watch("plugins", columns=100)
    run.line("2 ready")
    failing = "class Plugin:\n    def setup(self, ctx):\n        raise OSError('no disk')\n"
    tree.plugin("base", code=BROKEN)
    run.line("demo/base rejected, still running generation 1")
    run.line("❱    1  class Plugin")
    tree.plugin("base", code=failing)
    run.line("demo/base failed")
    run.line("❱    3          raise OSError('no disk')")
    run.line("still running: demo/base generation 1, demo/top")
    assert run.end() == 0
    assert "Traceback" not in run.screen
    assert "dagstack_dev/" not in run.screen


def test_a_narrow_terminal_without_colours_is_fine_and_paths_are_relative(
    tree: PluginTree, tmp_path: Path, watch: Callable[..., Watching]
) -> None:
    tree.plugin("a", code="class Plugin:\n    def setup(self, ctx): raise OSError('x' * 100)\n")
    run = watch(tree.root, columns=30, environment={"NO_COLOR": "1"})
    run.until(lambda line: line.endswith("stop"))  # Where lines break, depends on the duration.
    assert run.end() == 0
    assert max(map(len, run.screen.splitlines())) <= 30
    assert str(tmp_path) not in run.screen
    assert not _colours(run)


def _colours(run: Watching) -> list[str]:
    return [code for line in run.lines for code in re.findall(r"\x1b\[[\d;]*?3\dm", line)]


def test_a_folder_that_cannot_be_used_stands_in_the_banner_and_is_counted(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("first")
    tree.write("unreadable/dagstack.toml", "[plugin")
    run = watch("plugins", columns=120)
    run.line("plugins/unreadable rejected")
    run.line("demo/first  ready")
    run.line("plugins/unreadable  cannot be used")
    assert "2 plugins, 1 ready, 1 not" in run.line("waiting for a fix")
    assert run.end() == 0


NEEDS_BASE = "class Plugin:\n    def setup(self, ctx):\n        raise RuntimeError('no key')\n"


def test_what_is_reloaded_beside_a_plugin_that_has_never_run_has_its_line(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("base")
    tree.plugin("broken", depends_on=["base"], code=NEEDS_BASE)
    tree.plugin("top", depends_on=["base"])
    run = watch("plugins", columns=120)
    run.line("waiting for a fix")
    tree.plugin("base", value=2)
    run.line("! demo/broken fails as before: RuntimeError: no key")
    line = run.line("↻")
    assert re.search(r"↻ demo/base \+ 1 dependent  plugin.py changed  [\d.]+ m?s", line)
    assert run.end() == 0


def test_what_is_saved_while_a_dependent_is_pending_is_told_by_lines_that_agree(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("base")
    tree.plugin("broken", depends_on=["base"])
    run = watch("plugins", columns=120)
    run.line("2 ready")
    tree.plugin("broken", depends_on=["base"], code=NEEDS_BASE)
    run.line("demo/broken failed")
    run.line("↩ rolled back after")
    tree.plugin("base", value=2)
    run.line("! demo/broken fails as before")
    assert run.line("↩").endswith("still running: demo/broken generation 1")
    line = run.line("↻")
    assert re.search(r"↻ demo/base \+ 1 dependent  plugin.py changed  [\d.]+ m?s", line)
    assert run.end() == 0
