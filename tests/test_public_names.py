"""What `import dagstack_dev` offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dagstack_dev


@pytest.mark.parametrize("name", [*dagstack_dev._HOME_OF, "__version__"])
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(dagstack_dev, name) is not None


def test_what_checkers_of_types_see_is_what_there_is() -> None:
    tree = ast.parse(Path(dagstack_dev.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.asname: str(each.module)
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for name in each.names
    }
    assert seen == {name: f"dagstack_dev.{home}" for name, home in dagstack_dev._HOME_OF.items()}
    assert {"__version__", *seen} == set(vars(dagstack_dev)["__all__"]) <= set(dir(dagstack_dev))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'PluginRegistri'"):
        dagstack_dev.PluginRegistri  # type: ignore[attr-defined] # noqa: B018


def test_help_imports_neither_the_registry_nor_the_terminal_libraries() -> None:
    script = (
        "import sys; sys.argv = ['dagstack-dev', '--help']\n"
        "from dagstack_dev.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print({'pydantic', 'rich', 'structlog', 'anyio'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.endswith("set()\n")
