"""When the process of a plugin starts, what runs in it, and what goes wrong meanwhile."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
import structlog
from trees import PluginTree

from dagstack_dev import PluginContext, PluginLoadError, PluginRegistry, PluginUnavailable
from dagstack_dev.core.blame import blame

MANIFEST = 'execution_model = "process_cpu_bound"\n'

CODE = """
import os

class Plugin:
    def pid(self):
        return os.getpid()
"""


def context(registry: PluginRegistry) -> PluginContext:
    return PluginContext(config={}, logger=structlog.get_logger(), registry=registry)


async def test_it_can_be_set_up_again(tree: PluginTree) -> None:
    tree.plugin("it", code=CODE, manifest=MANIFEST)
    registry = PluginRegistry().discover(tree.root)
    plugin = registry.get_plugin("demo", "it")
    with pytest.raises(PluginUnavailable, match="its process starts with its setup"):
        await plugin.pid()
    await registry.setup_all(context(registry))
    first = await plugin.pid()
    await registry.teardown_all()
    await registry.setup_all(context(registry))
    second = await plugin.pid()
    await registry.teardown_all()
    assert first != second


def test_none_of_its_code_runs_here(
    tree: PluginTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("TRACE", str(trace))
    code = """
    import os
    with open(os.environ["TRACE"], "a") as file:
        print(os.getpid(), file=file)

    class Plugin:
        def pid(self):
            return os.getpid()
    """
    tree.plugin("it", code=code, manifest=MANIFEST)
    registry = PluginRegistry().discover(tree.root)
    assert not trace.exists()

    async def main() -> int:
        await registry.setup_all(context(registry))
        pid: int = await registry.get_plugin("demo", "it").pid()
        await registry.teardown_all()
        return pid

    assert trace.exists() is False
    pid = anyio.run(main, backend="trio")
    assert trace.read_text().split() == [str(pid)]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('not today')\nclass Plugin: ...", "import failed: RuntimeError: not"),
        ("class Plugin:\n    def __init__(self): 1 / 0", "construct failed: ZeroDivisionError"),
    ],
)
async def test_what_fails_before_the_setup_fails_the_setup(
    tree: PluginTree, code: str, message: str
) -> None:
    folder = tree.plugin("it", code=code, manifest=MANIFEST)
    registry = PluginRegistry().discover(tree.root)
    with pytest.raises(PluginLoadError, match=message) as caught:
        await registry.setup_all(context(registry))
    assert caught.value.path == f"{folder}/plugin.py"
    assert blame(caught.value).line is not None


async def test_the_app_may_be_a_second_registry(tree: PluginTree) -> None:
    code = "class Plugin:\n    def name(self):\n        return __name__\n"
    tree.plugin("it", code=code, manifest=MANIFEST)
    registry = PluginRegistry().discover(tree.root)
    await registry.setup_all(context(registry))
    name = await registry.get_plugin("demo", "it").name()
    await registry.teardown_all()
    namespace = registry.runtimes["in_process"].namespace  # type: ignore[attr-defined]
    assert name == f"{namespace}.demo.it.plugin"
