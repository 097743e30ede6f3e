"""An exception is placed in the plugin's own code, not in ours or a library's."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagstack_dev.core.blame import NAMESPACE, Blame, Frame, blame, plugin_frames, root_error
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.life import PluginCancelled, PluginLoadError
from dagstack_dev.core.refs import PluginRef

REF = PluginRef("tool", "a")

PLUGIN = """\
class Plugin:
    def run(self, callback):
        return self.helper(callback)

    def helper(self, callback):
        return callback()
"""


def plugin_module(path: str = "plugins/a/plugin.py", name: str = f"{NAMESPACE}.tool.a") -> Any:
    """Code as the in-process runtime executes it: in a module below the namespace."""
    module = ModuleType(name)
    exec(compile(PLUGIN, path, "exec"), module.__dict__)
    return module.Plugin()


def caught(run: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as info:  # noqa: PT011 - any error at all
        run()
    return info.value


def test_a_frame_of_code_that_plugins_share_counts_as_theirs() -> None:
    shared, other = (plugin_module(f"src/{name}.py", name) for name in ("names", "other"))
    shared.run.__globals__["__loader__"] = SimpleNamespace(is_shared_code=True)
    error = caught(lambda: plugin_module().run(lambda: shared.run(lambda: other.run(int, 1))))
    assert blame(error).path == "src/names.py"
    assert [frame.path for frame in plugin_frames(error)] == [
        *["plugins/a/plugin.py"] * 2,
        *["src/names.py"] * 2,
    ]


def test_the_innermost_plugin_frame_is_blamed_not_the_library_below_it() -> None:
    error = caught(lambda: plugin_module().run(lambda: json.loads("{")))
    found = blame(error)
    assert (found.type, found.path, found.line) == ("JSONDecodeError", "plugins/a/plugin.py", 6)
    assert plugin_frames(error) == (
        Frame("plugins/a/plugin.py", 3, "Plugin.run"),
        Frame("plugins/a/plugin.py", 6, "Plugin.helper"),
    )


def test_with_two_plugins_in_a_row_the_inner_one_is_blamed() -> None:
    inner = plugin_module("plugins/b/plugin.py", f"{NAMESPACE}_2.tool.b")

    def fail() -> object:
        raise KeyError("x")

    error = caught(lambda: plugin_module().run(lambda: inner.run(fail)))
    assert blame(error) == Blame("KeyError", "'x'", "plugins/b/plugin.py", 6)


def test_an_error_without_plugin_frames_has_no_place() -> None:
    assert blame(ValueError("x")) == Blame("ValueError", "x", None, None)
    assert blame(caught(lambda: json.loads("{"))).path is None


def test_a_syntax_error_is_placed_at_the_line_it_names() -> None:
    error = caught(lambda: compile("a = 1\nb = (\n", "plugins/a/plugin.py", "exec"))
    found = blame(error)
    assert (found.type, found.message) == ("SyntaxError", "'(' was never closed")
    assert (found.path, found.line) == ("plugins/a/plugin.py", 2)


def test_a_registry_error_knows_its_own_place() -> None:
    error = PluginLoadError(REF, "import", "no", path="p.py", line=4)
    assert blame(error) == Blame("PluginLoadError", str(error), "p.py", 4)


def test_a_load_error_speaks_where_what_it_wraps_says_nothing() -> None:
    error = PluginLoadError(REF, "compile", "MemoryError: too complex", path="/p/plugin.py")
    error.__cause__ = MemoryError()
    found = blame(error)
    assert (found.type, found.message) == ("MemoryError", "MemoryError: too complex")


def test_the_root_is_what_a_load_error_wraps_or_the_first_of_a_group() -> None:
    cause = ValueError("x")
    wrapped = PluginLoadError(REF, "import", "no")
    wrapped.__cause__ = cause
    group = BaseExceptionGroup("g", [ExceptionGroup("h", [wrapped]), KeyError("y")])
    assert root_error(group) is cause
    assert root_error(wrapped) is cause
    alone = PluginRegistryError("alone")
    assert root_error(alone) is alone


def test_a_group_is_blamed_on_its_first_error() -> None:
    inner = caught(lambda: plugin_module().run(lambda: json.loads("{")))
    assert isinstance(inner, Exception)
    assert blame(ExceptionGroup("several", [inner, ValueError()])).line == 6


def test_a_cancellation_of_the_plugins_own_is_reported_by_its_own_error() -> None:
    error = PluginCancelled(PluginRef("demo", "a"), "setup")
    error.__cause__ = RuntimeError()
    assert root_error(error) is error
