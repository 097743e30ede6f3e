"""What the standard library keeps by the names of modules does not grow with reloads."""

from __future__ import annotations

import copyreg
import typing

import pytest
from serving import edit, serving
from trees import PluginTree

OVERLOADED = """
import copyreg
from typing import get_overloads, overload

@overload
def f(a: int) -> int: ...
@overload
def f(a: str) -> str: ...
def f(a): return a

class Part: ...

copyreg.add_extension(__name__, "Part", CODE)

class Plugin:
    def setup(self, ctx):
        pass
    def overloads(self):
        return len(get_overloads(f))
"""

CODES = (0x70000001, 0x70000002)


@pytest.fixture
def overloaded(tree: PluginTree) -> PluginTree:
    tree.plugin("it", code=OVERLOADED.replace("CODE", str(CODES[0])))
    return tree


async def test_what_is_registered_by_a_modules_name_is_that_of_the_last_import(
    overloaded: PluginTree,
) -> None:
    async with serving(overloaded) as live:
        path = overloaded.root / "it/plugin.py"
        edit(path, "import copyreg", "\n\nimport copyreg")
        edit(path, str(CODES[0]), str(CODES[1]))
        await live.settle()
        assert live.status("it").generation == 2
        assert live.plugin("it").overloads() == 2
        name = f"{live.namespace}.demo.it.plugin"
        known = copyreg._extension_registry  # type: ignore[attr-defined]
        assert {key: code for key, code in known.items() if key[0] == name} == {
            (name, "Part"): CODES[1]
        }
        (overloaded.root / "it/plugin.py").unlink()
        (overloaded.root / "it/dagstack.toml").unlink()
        await live.settle()
        assert name not in typing._overload_registry  # type: ignore[attr-defined]
        assert not [key for key in known if key[0] == name]


async def test_a_roll_back_brings_it_back(overloaded: PluginTree) -> None:
    async with serving(overloaded) as live:
        edit(overloaded.root / "it/plugin.py", "        pass", "\n\n        raise ValueError")
        edit(overloaded.root / "it/plugin.py", "import copyreg", "\n\nimport copyreg")
        await live.settle()
        assert live.status("it").pending
        assert live.plugin("it").overloads() == 2
        assert (f"{live.namespace}.demo.it.plugin", "Part") in copyreg._extension_registry  # type: ignore[attr-defined]
