"""What `import dagstack_dev` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dagstack_dev


@pytest.mark.parametrize("name", getattr(dagstack_dev, "__all__"))  # noqa: B009 - the stub has none
def test_every_public_name_can_be_imported_and_is_listed(name: str) -> None:
    assert getattr(dagstack_dev, name) is not None
    assert name in dir(dagstack_dev)


def test_a_star_import_gives_the_public_names() -> None:
    given: dict[str, object] = {}
    exec("from dagstack_dev import *", given)
    assert {"PluginRegistry", "DevServer", "PluginRegistryError", "__version__"} <= given.keys()


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
