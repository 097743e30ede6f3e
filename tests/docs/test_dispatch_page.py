"""The examples of docs/dispatch.md do what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from serving import context
from trees import PluginTree

from dagstack_dev import DispatchClass, PluginRegistry, parse_hookspecs
from dagstack_dev.core.hookspecs.classes import spec_of

PAGE = (Path(__file__).parents[2] / "docs" / "dispatch.md").read_text(encoding="utf-8")
PYTHON = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL))
[YAML] = re.findall(r"```yaml\n# kinds\.yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports_forgotten: None
) -> dict[str, Any]:
    """Every module that the page shows, imported."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in PYTHON.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    return {name: __import__(name) for name in PYTHON}


def test_the_page_explains_every_dispatch_class() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(DispatchClass)


def test_the_two_forms_declare_the_same_hooks(modules: dict[str, Any]) -> None:
    [written] = parse_hookspecs(YAML)
    declared = spec_of(modules["kinds"].Search)
    assert declared is not None
    assert (declared.kind, declared.api_major) == (written.kind, written.api_major)
    assert [(hook.name, hook.dispatch) for hook in declared.hooks] == [
        (hook.name, hook.dispatch) for hook in written.hooks
    ]


async def test_the_app_searches(
    modules: dict[str, Any], tree: PluginTree, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
    class Plugin:
        def __init__(self):
            self.texts = []

        def find(self, ctx, query):
            return [text for text in self.texts if query in text]

        async def rank(self, ctx, value):
            return sorted(value)

        def parse(self, ctx, document):
            return document["text"].lower()

        def store(self, ctx, text):
            self.texts.append(text)
    """
    tree.plugin("texts", kind="search", code=code, manifest='supports_extensions = [".txt"]\n')
    tree.plugin("broken", kind="search", code="class Plugin:\n    def find(self, *_): 1 / 0\n")
    search = modules["search"]
    registry = search.registry.discover(tree.root)
    ctx = context(registry=registry)
    await registry.setup_all(ctx)
    search.add(ctx, "b.txt", "B WORD")
    search.add(ctx, "a.txt", "A WORD")
    assert await search.search(ctx, "word") == ["a word", "b word"]
    assert capsys.readouterr().out == (
        "1 plugin failed in a broadcast: broken: ZeroDivisionError: division by zero\n"
    )
    await registry.teardown_all()


async def test_the_app_works(modules: dict[str, Any], tree: PluginTree) -> None:
    code = """
    class Plugin:
        async def execute(self, ctx, args):
            return args["path"]
    """
    tree.plugin("resize", code=code, manifest="[plugin.unit_of_work]\ndeclared = true\n")
    registry = PluginRegistry().discover(tree.root)
    assert await modules["work"].work(registry, context(registry=registry)) == "queued"
    await registry.teardown_all()
    assert "search" in sys.modules
