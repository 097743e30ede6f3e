"""docs/architecture.md is true: its map has every folder, and all that it names is there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from dagstack_dev.host.plugins.table import PluginTable

PACKAGE = Path(__file__).parents[2] / "dagstack_dev"
PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
(MAP,) = re.findall(r"```\n(dagstack_dev/\n.*?)```", PAGE, re.DOTALL)
ROOM = "|".join(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FILES = sorted(set(re.findall(rf"`((?:{ROOM})/[\w/]+\.py)`", PAGE)))
NAMES = sorted(set(re.findall(rf"`((?:{ROOM})(?:\.\w+)+)`", PAGE)))


def folders_on_the_map() -> set[str]:
    """Their paths; a line that is further to the right is a folder in the one above."""
    found = set()
    room = ""
    for indent, name in re.findall(r"^( +)(\w+)/", MAP, re.MULTILINE):
        if len(indent) <= 2:
            room = name
            found.add(name)
        else:
            found.add(f"{room}/{name}")
    return found


def test_the_map_has_every_folder_and_no_other() -> None:
    folders = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.glob("*/**/__init__.py")}
    assert folders_on_the_map() == folders


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_named_is_there(path: str) -> None:
    assert (PACKAGE / path).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_a_module_that_is_named_is_there(name: str) -> None:
    try:
        import_module(f"dagstack_dev.{name}")
    except ModuleNotFoundError:
        module, _, member = name.rpartition(".")
        assert hasattr(import_module(f"dagstack_dev.{module}"), member)


def test_a_method_that_recipes_call_is_there() -> None:
    assert re.findall(r"registry\.table\.(\w+)", PAGE) == ["publish"]
    assert hasattr(PluginTable, "publish")


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if not path.read_text(encoding="utf-8").startswith(('"""', "#"))
    ]
    assert silent == []
