"""A plugin that imports another one's code gets the new code when that one changes."""

from __future__ import annotations

from textwrap import indent

import pytest
from serving import make_live, serving
from trees import PluginTree

from dagstack_dev.core.events import ReloadCommitted

BASE = """
class Plugin:
    WORD = {word!r}

WORD = {word!r}
"""
FIRST = {
    "absolute": "from {namespace}.demo.base.plugin import WORD",
    "relative": "from ..base.plugin import WORD",
    "relative, the module": "from ..base import plugin\nWORD = plugin.WORD",
    "relative, the package": "from .. import base\nWORD = base.plugin.WORD",
    "relative, through the kind": "from ...demo.base.plugin import WORD",
    "relative, the kind": "from ... import demo\nWORD = demo.base.plugin.WORD",
    "relative, oddly written": "from. \\\n  .base.plugin import (\n  WORD)",
}
IMPORTS = {
    **{case: ("plugin.py", f"{line}\n") for case, line in FIRST.items()},
    "in a subpackage": ("sub/__init__.py", "from ...base import plugin\nWORD = plugin.WORD\n"),
    "in a module of a subpackage": ("sub/words.py", "from ...base.plugin import WORD\n"),
    "deep down": ("a/b/words.py", "from ....base.plugin import WORD\n"),
    "beside the package's own": (
        "sub/words.py",
        "from ..own import OWN\nfrom ...base.plugin import WORD\n",
    ),
}


def write_user(tree: PluginTree, path: str, lines: str, *, depends_on: tuple[str, ...]) -> None:
    """A plugin `user` whose `value` is the WORD that `lines` in `path` bind."""
    tree.plugin("user", depends_on=depends_on, code="")
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    head = lines if path == "plugin.py" else f"from .{module} import WORD\n"
    tree.write("user/own.py", "OWN = 1\n")
    if path != "plugin.py":
        tree.write(f"user/{path}", lines)
    tree.write(
        "user/plugin.py", f"{head}class Plugin:\n    def value(self):\n        return WORD\n"
    )


@pytest.mark.parametrize("depends_on", [("base",), ("middle",)], ids=["direct", "indirect"])
@pytest.mark.parametrize(("path", "lines"), IMPORTS.values(), ids=IMPORTS.keys())
async def test_a_change_of_borrowed_code_reaches_its_importers(
    tree: PluginTree, path: str, lines: str, depends_on: tuple[str, ...]
) -> None:
    live = make_live(tree)
    tree.plugin("base", code=BASE.format(word="old"))
    tree.plugin("middle", depends_on=["base"])
    write_user(tree, path, lines.format(namespace=live.namespace), depends_on=depends_on)
    async with live.server:
        assert live.plugin("user").value() == "old"
        tree.plugin("base", code=BASE.format(word="new"))
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("user").value() == "new"


async def test_a_lazy_relative_import_counts_like_one_at_the_top(tree: PluginTree) -> None:
    tree.plugin("base", code=BASE.format(word="old"))
    lazy = indent("global WORD\nfrom ..base.plugin import WORD\n", "    ")
    lines = f"WORD = None\ndef fetch():\n{lazy}fetch()\n"
    write_user(tree, "plugin.py", lines, depends_on=("base",))
    async with serving(tree) as live:
        assert live.plugin("user").value() == "old"
        tree.plugin("base", code=BASE.format(word="new"))
        await live.settle()
        assert live.plugin("user").value() == "new"
        assert live.status("user").generation == 2


async def test_relative_imports_within_the_plugin_make_no_importer(tree: PluginTree) -> None:
    tree.plugin("base", code=BASE.format(word="old"))
    tree.plugin("own", depends_on=["base"])
    write_user(
        tree,
        "sub/words.py",
        "from ..own import OWN as WORD  # not from ...base\n",
        depends_on=("base",),
    )
    async with serving(tree) as live:
        tree.plugin("base", code=BASE.format(word="new"))
        await live.settle()
        assert live.status("user").generation == 1


async def test_an_import_beyond_the_namespace_fails_that_plugin_alone(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("lost", code="from .....base import plugin\nclass Plugin: ...\n")
    async with serving(tree) as live:
        assert live.states == {"base": "ready", "lost": "failed"}
        assert "beyond top-level package" in str(live.status("lost").error)
