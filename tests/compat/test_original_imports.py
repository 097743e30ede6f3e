"""Plugins written for `dagstack.plugin_system`, with that package and without it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import pytest
from trees import PluginTree

import dagstack_dev
from dagstack_dev import PluginLoadError, PluginRegistry
from dagstack_dev.compat import imports
from dagstack_dev.runtimes.finalizers import clear_up


class WithoutOriginal(PathFinder):
    """Finds everything but the original package."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] == "dagstack":
            return None
        return super().find_spec(fullname, path, target)


def forget_original() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "dagstack"]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = forget_original()
    finders = [WithoutOriginal if each is PathFinder else each for each in sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    yield
    forget_original()
    sys.modules.update(before)


def plugin_class(tree: PluginTree, code: str) -> type:
    tree.plugin("old", code=code)
    return type(dagstack_dev.unwrap(PluginRegistry().discover(tree.root).resolve("old")))


@pytest.mark.usefixtures("not_installed")
def test_without_the_package_its_names_are_ours(tree: PluginTree) -> None:
    cls = plugin_class(
        tree,
        """
        import dagstack.plugin_system
        from dagstack import plugin_system
        from dagstack.plugin_system import PluginContext, PluginRegistryError
        from dagstack.plugin_system import errors
        from dagstack.plugin_system.context import PluginContext as Context
        from dagstack.plugin_system.hookspecs.tool import hookimpl

        class Plugin:
            NAMES = [PluginContext, Context, PluginRegistryError, errors.KindUnknown]
            VERSION = plugin_system.__version__
            SAME = dagstack.plugin_system.lifecycle.topo_sort is plugin_system.topo_sort

            @hookimpl
            def get_schema(self):
                return {}

            @hookimpl(tryfirst=True)
            def execute(self, args):
                return args
        """,
    )
    ours = [
        dagstack_dev.PluginContext,
        dagstack_dev.PluginContext,
        dagstack_dev.PluginRegistryError,
        dagstack_dev.KindUnknown,
    ]
    assert ours == cls.NAMES  # type: ignore[attr-defined]
    assert cls.VERSION == dagstack_dev.CORE_VERSION  # type: ignore[attr-defined]
    assert cls.SAME  # type: ignore[attr-defined]
    assert cls().execute({"a": 1}) == {"a": 1}


@pytest.mark.usefixtures("not_installed")
def test_without_the_package_what_is_not_ours_is_named(tree: PluginTree) -> None:
    code = "from dagstack.plugin_system import Nonsense\nclass Plugin: pass"
    with pytest.raises(PluginLoadError, match="Nonsense") as caught:
        plugin_class(tree, code)
    assert caught.value.line == 1


@pytest.mark.usefixtures("not_installed")
def test_an_app_still_sees_that_the_package_is_missing(tree: PluginTree) -> None:
    tree.plugin("old")
    PluginRegistry().discover(tree.root)
    with pytest.raises(ModuleNotFoundError):
        __import__("dagstack.plugin_system")


USER = """
from dagstack.plugin_system.registry import PluginRegistry

class Plugin:
    REGISTRY = PluginRegistry
"""


@pytest.mark.usefixtures("not_installed")
def test_our_registry_is_not_taken_for_the_packages(tree: PluginTree) -> None:
    assert plugin_class(tree, USER).REGISTRY is PluginRegistry  # type: ignore[attr-defined]
    registry = PluginRegistry()
    assert dagstack_dev.DevServer(tree.root, registry=registry).registry is registry


@pytest.mark.usefixtures("not_installed")
def test_nothing_stands_for_the_package_when_the_last_registry_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gc.collect()  # No registry of another test is to leave in the midst of this one.
    clear_up()
    others = [each for each in sys.meta_path if not isinstance(each, imports.OriginalFinder)]
    monkeypatch.setattr(sys, "meta_path", others)
    finder = imports.OriginalFinder()
    monkeypatch.setattr(imports, "_finder", finder)
    monkeypatch.setattr(imports, "_users", 0)
    monkeypatch.setattr(imports, "followed_importer", lambda: True)
    owners = [WithoutOriginal(), WithoutOriginal()]
    for each in owners:
        imports.answer_for(each)
    del each
    __import__("dagstack.plugin_system.errors")
    owners.pop()
    clear_up()
    assert "dagstack.plugin_system.errors" in sys.modules
    owners.pop()
    clear_up()
    with pytest.raises(ModuleNotFoundError):
        __import__("dagstack.plugin_system")


def test_the_names_that_we_lack_are_known() -> None:
    from dagstack import plugin_system

    lacking = set(plugin_system.__all__) - {*dir(dagstack_dev)}
    assert lacking == {"MCPHttpAdapter", "MCPPluginProxy", "MCPStdioAdapter", "MCPTransport"}


def test_where_the_package_is_installed_it_is_used(tree: PluginTree) -> None:
    cls = plugin_class(
        tree,
        """
        from dagstack.plugin_system import PluginContext

        class Plugin:
            CONTEXT = PluginContext
        """,
    )
    from dagstack.plugin_system import PluginContext

    assert cls.CONTEXT is PluginContext  # type: ignore[attr-defined]
