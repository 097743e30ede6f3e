"""Lets the tests of one plugin import it as the server does; part of the pytest that runs them.

In a plugin's package relative imports work, and no file of it hides a module of the same
name. Tests are modules of that package, too. pytest knows them, and tests may know the plugin's
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

from dagstack_dev.compat.imports import answer_for
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.reading import read_plugin
from dagstack_dev.runtimes.in_process.runtime import InProcessRuntime
from dagstack_dev.testing.own_tests import OWN_TESTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_runtime: Final = InProcessRuntime()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Make the plugin's package importable, before anything of its tests is imported."""
    answer_for(_runtime)
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
    sys.meta_path[:] = [_ShortNames(package, folder), *pytests, *others]


class _ShortNames(MetaPathFinder):
    """Finds modules of the plugin's package by names that count from its folder.

    What else goes by a name keeps it: the standard library, what is installed, shared code.

    Args:
        package: the plugin's.
        folder: its folder.
    """

    def __init__(self, package: str, folder: str) -> None:
        self._package = package
        self._inside = f"{folder}/"

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002 - the import protocol
        /,
    ) -> ModuleSpec | None:
        """Return the spec of a file or folder of the plugin; None for anything else."""
        if f"{fullname}.".startswith(f"{self._package.partition('.')[0]}."):
            return None
        is_top = path is None
        for place in [self._inside[:-1]] if path is None else path:
            stem = f"{place}/{fullname.rpartition('.')[2]}"
            if not stem.startswith(self._inside):
                continue
            files = (f"{stem}/__init__.py", f"{stem}.py")
            file = next(filter(os.path.isfile, files), None)
            if file is None and not (is_top and os.path.isdir(stem)):  # noqa: PTH112 - plain strings
                continue
            if is_top and self._is_elsewhere(fullname):
                return None
            relative = stem[len(self._inside) :].replace("/", ".")
            return ModuleSpec(fullname, _Same(f"{self._package}.{relative}"), origin=file)
        return None

    def _is_elsewhere(self, name: str) -> bool:
        """Return whether a top-level module is there that is none of the plugin's files."""
        if name in sys.stdlib_module_names:
            return True
        for other in sys.meta_path:
            spec = None if other is self else other.find_spec(name, None)
            if spec is not None and spec.origin is not None:
                return not spec.origin.startswith(self._inside)
        return False


class _Same(Loader):
    """Loads a module by giving the one that has another name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002 - the import protocol
        """Return the module itself, imported by its own name."""
        module = import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run; only its spec has been replaced meanwhile."""
        module.__spec__ = self._spec
