"""Lets the tests of one plugin import it as the server does; part of the pytest that runs them.

In a plugin's package relative imports work, and no file of it hides a module of the same name from
anybody. Tests are modules of that package, too. pytest knows them, and tests may know the plugin's
modules, by names that count from the plugin's folder; either name leads to the same module.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final

import pytest

from dagstack_dev.core.refs import PluginRef
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.runtimes.in_process import InProcessRuntime
from dagstack_dev.testing.own_tests import OWN_TESTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_runtime: Final = InProcessRuntime()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Make the plugin's package importable, before anything of its tests is imported."""
    about: dict[str, Any] = json.loads(os.environ[OWN_TESTS])
    folder, rules = about["folder"], IgnoreRules(about["ignore"])
    for root in about["roots"]:
        _runtime.shared.add_root(root, rules.excludes)
    home = next(root for root in about["roots"] if f"{folder}/".startswith(f"{root}/"))
    source, _ = read_plugin(folder, home, rules)
    package = _runtime.expose(PluginRef(about["kind"], about["name"]), source)
    # pytest's own finder comes before that of the package: tests are to show what they compare.
    pytests = [each for each in sys.meta_path if type(each).__module__.startswith("_pytest.")]
    others = [each for each in sys.meta_path if each not in pytests]
    below = _ShortNames(package, folder, is_top=False)
    sys.meta_path[:] = [below, *pytests, *others, _ShortNames(package, folder, is_top=True)]


class _ShortNames(MetaPathFinder):
    """Finds modules of the plugin's package by names that count from its folder.

    Args:
        package: the plugin's.
        folder: its folder.
        is_top: whether to find top-level modules. Those are looked for last: what is installed,
            and the standard library, keep their names.
    """

    def __init__(self, package: str, folder: str, *, is_top: bool) -> None:
        self._package = package
        self._folder = folder
        self._is_top = is_top

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002 - the import protocol
        /,
    ) -> ModuleSpec | None:
        """The spec of a file or folder of the plugin; None for anything else."""
        is_full = f"{fullname}.".startswith(f"{self._package.partition('.')[0]}.")
        if is_full or (path is None) is not self._is_top:
            return None
        for place in [self._folder] if path is None else path:
            stem = f"{place}/{fullname.rpartition('.')[2]}"
            if not stem.startswith(f"{self._folder}/"):
                continue
            relative = stem[len(self._folder) + 1 :].replace("/", ".")
            loader = _Same(f"{self._package}.{relative}")
            for file in (f"{stem}/__init__.py", f"{stem}.py"):
                if os.path.isfile(file):  # noqa: PTH113 - plain strings throughout
                    return ModuleSpec(fullname, loader, origin=file)
            if self._is_top and os.path.isdir(stem):  # noqa: PTH112 - likewise
                return ModuleSpec(fullname, loader)
        return None


class _Same(Loader):
    """Loads a module by giving the one that has another name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002 - the import protocol
        """The module itself, imported by its own name."""
        module = import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run; only its spec has been replaced meanwhile."""
        module.__spec__ = self._spec
