"""What a person may have meant is said beside what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from dagstack_dev import PluginContext
from dagstack_dev.disk.hints import hint


class Odd:
    def __dir__(self) -> list[str]:
        raise RuntimeError("not you")


def error_of(function: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is does not matter here
        function()
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A plugin's file, with a module and a package beside it."""
    (tmp_path / "helper.py").touch()
    (tmp_path / "parts").mkdir()
    return str(tmp_path / "plugin.py")


def test_attributes_that_are_spelt_wrong(plugin_context: PluginContext) -> None:
    error = error_of(lambda: plugin_context.checkpiont)  # type: ignore[attr-defined]  # the point
    assert hint(error, None) == "; did you mean 'checkpoint'?"


@pytest.mark.parametrize("obj", [Odd(), object()])
def test_attributes_that_nothing_is_known_of(obj: object) -> None:
    assert hint(error_of(lambda: obj.checkpiont), None) == ""  # type: ignore[attr-defined]  # the point


@pytest.mark.parametrize("name", ["helper", "parts"])
def test_a_module_beside_is_imported_by_a_relative_import(file: str, name: str) -> None:
    error = ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert hint(error, file) == f"; it lies beside this file, so write: from . import {name}"


def test_a_module_beside_that_is_spelt_wrong(file: str) -> None:
    name = "dagstack_plugins.tool.clock.helpr"
    assert hint(ModuleNotFoundError(name, name=name), file) == "; did you mean 'helper'?"


@pytest.mark.parametrize("name", ["theme", "dagstack_plugins.tool.theme"])
def test_another_plugin_is_no_module(tmp_path: Path, name: str) -> None:
    (tmp_path / "theme").mkdir()
    (tmp_path / "theme" / "dagstack.toml").touch()
    error = ModuleNotFoundError(name, name=name)
    says = "; theme is a plugin: add it to depends_on and use ctx.registry.get_plugin"
    assert hint(error, str(tmp_path / "greeter" / "plugin.py")) == says


def test_modules_from_elsewhere(file: str) -> None:
    error = error_of(lambda: import_module("dagstack_no_such_library"))
    assert hint(error, file) == ""
    assert hint(error, None) == ""
    assert hint(error, "/no/such/folder/plugin.py") == ""


@pytest.mark.parametrize(
    "error", [KeyError("x"), AttributeError("no 'clok'; did you mean 'clock'?", name="clok")]
)
def test_nothing_is_added_where_nothing_is_missing(error: Exception) -> None:
    assert hint(error, None) == ""
