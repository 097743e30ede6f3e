"""`dagstack.plugin_system`, for plugins written for it, where that package is not installed.

Where it is (PyPI `dagstack-plugin-system`), it is found first and this finder is never asked. Where
it is not, a plugin that imports it gets modules of the same names, whose attributes are those of
this package: the public names are the same in both.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from dagstack_dev._version import __version__
from dagstack_dev.runtimes.finalizers import when_gone
from dagstack_dev.runtimes.shared.imports import followed_importer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

F = TypeVar("F")

PACKAGE: Final = "dagstack.plugin_system"

_PACKAGES: Final = frozenset(
    {"dagstack", PACKAGE, f"{PACKAGE}.contract", f"{PACKAGE}.hookspecs", f"{PACKAGE}.adapters"}
)
_MODULES: Final = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "context",
        "contract.ambient_state",
        "contract.determinism",
        "contract.lifecycle",
        "contract.serialization",
        "contract.suite",
        "discovery",
        "dispatch",
        "errors",
        "helpers",
        "hookspecs.tool",
        "lifecycle",
        "manifest",
        "registry",
        "resources",
        "sinks",
    )
)


class OriginalFinder(MetaPathFinder, Loader):
    """Finds `dagstack.plugin_system` for the code of plugins, where no other finder has.

    It stands last in `sys.meta_path`. Code that is no plugin's, nor shared by plugins, is not
    answered: an app that imports the package still learns whether it is installed.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for the package and those of its modules that plugins use."""
        del path, target
        known = fullname in _PACKAGES or fullname in _MODULES
        if not known or followed_importer() is None:
            return None
        return ModuleSpec(fullname, self, is_package=fullname in _PACKAGES)

    def exec_module(self, module: ModuleType) -> None:
        """Let every public name of ours be found in the module."""
        if module.__name__ == "dagstack":
            return
        module.__doc__ = f"{module.__name__}, as dagstack-dev {__version__} understands it."

        def attribute(name: str) -> Any:
            return _public(module.__name__, name)

        module.__dict__["__getattr__"] = attribute


_finder: Final = OriginalFinder()
_users = 0


def answer_for(owner: object) -> None:
    """Answer from now on, until `owner` and all others are gone."""
    global _users  # noqa: PLW0603 - `sys.meta_path` is one for the process, too
    _users += 1
    when_gone(owner, _leave)
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


def _leave() -> None:
    global _users  # noqa: PLW0603 - likewise
    _users -= 1
    if not _users and _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
        for name in _PACKAGES | _MODULES:
            if getattr(sys.modules.get(name), "__loader__", None) is _finder:
                del sys.modules[name]  # Others are to find that the package is missing.


def _public(module: str, name: str) -> Any:
    """Return what `name` of the original's `module` is here.

    Raises:
        AttributeError: there is no such thing.
    """
    if name in {"hookimpl", "hookspec"}:
        return _marker
    if f"{module}.{name}" in _PACKAGES | _MODULES:
        return import_module(f"{module}.{name}")
    ours = import_module("dagstack_dev")
    if name == "__version__":
        return ours.CORE_VERSION
    if name.startswith("__") or not hasattr(ours, name):
        raise AttributeError(
            f"dagstack-dev has no {name!r} in place of {module}.{name}; "
            "pip install dagstack-plugin-system to have the original",
            name=name,
            obj=sys.modules.get(module),
        )
    return getattr(ours, name)


@overload
def _marker(function: F, /) -> F: ...
@overload
def _marker(function: None = None, /, **options: object) -> Callable[[F], F]: ...
def _marker(function: Any = None, /, **_options: object) -> Any:
    """Stand for the decorators of pluggy; hooks are found by their names here."""
    return function if function is not None else lambda marked: marked
