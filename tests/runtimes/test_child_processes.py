"""Processes that plugins start: they find the code of plugins by the names it has here."""

from __future__ import annotations

import multiprocessing.spawn
from pathlib import Path

import pytest
from trees import PluginTree

from dagstack_dev import PluginRegistry
from dagstack_dev.runtimes.finalizers import clear_up

WORK = """
from dataclasses import dataclass
from .helper import FACTOR

@dataclass
class Answer:
    value: int

def work(number):
    from wording import WORD
    return Answer(number * FACTOR), WORD
"""

POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from .work import work

class Plugin:
    def mapped(self, method):
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool:
            return pool.map(work, [1])
    def submitted(self, method):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return [pool.submit(work, 1).result()]
"""


@pytest.mark.parametrize("call", ["mapped", "submitted"])
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_pool_of_any_start_method_runs_functions_of_a_plugin(
    tree: PluginTree, tmp_path: Path, method: str, call: str
) -> None:
    tree.write(tmp_path / "shared/wording.py", "WORD = 'shared'\n")
    tree.write("it.s/work.py", WORK)
    tree.write("it.s/helper.py", "FACTOR = 7\n")
    tree.plugin("it.s", code=POOL)
    registry = PluginRegistry().discover(tree.root)
    registry.runtimes["in_process"].shared.add_root(str(tmp_path / "shared"), lambda _: False)  # type: ignore[attr-defined]
    [(answer, word)] = getattr(registry.get_plugin("demo", "it.s"), call)(method)
    assert (answer.value, word) == (7, "shared")
    assert type(answer).__module__.endswith(".demo.it%2Es.work")


def test_multiprocessing_is_as_it_was_when_no_registry_is_left(tree: PluginTree) -> None:
    clear_up()
    before = multiprocessing.spawn.get_preparation_data
    tree.plugin("one")
    registry = PluginRegistry().discover(tree.root)
    assert registry.get_plugin("demo", "one").value() == 1
    [links] = multiprocessing.spawn.get_preparation_data("")["sys_path"][-1:]
    assert list(Path(links).glob("*/demo/one/plugin.py"))
    registry.runtimes["in_process"]._finder.uninstall()  # type: ignore[attr-defined]
    assert links not in before("")["sys_path"]
