"""What `import dagstack_dev` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dagstack_dev


@pytest.mark.parametrize("name", dagstack_dev.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(dagstack_dev, name) is not None


def test_the_lazy_names_are_the_public_ones() -> None:
    assert {*dagstack_dev._HOME_OF, "__version__"} == set(dagstack_dev.__all__)
    assert set(dagstack_dev.__all__) <= set(dir(dagstack_dev))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'PluginRegistri'"):
        dagstack_dev.PluginRegistri  # noqa: B018


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
