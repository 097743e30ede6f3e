"""The two ways by which code imports, wrapped so that an observer hears of each import.

A statement asks `builtins.__import__`, also for what is loaded already and also from inside a
function; `importlib.import_module` goes another way. Both are wrapped for as long as there is an
observer; code that is not followed pays one look-up for each import.

A thread of a pool that is to run `import_module` has no frame of the plugin. So each module that is
followed gets an `import_module` that knows who has asked for it; and what a plugin's context
variables reach counts for the plugin.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from contextlib import suppress
from functools import wraps
from importlib.util import resolve_name
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.runtimes.shared.imports import ImportGraph, followed, followed_importer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dagstack_dev.runtimes.shared.observer import ImportObserver


def _noting_import(ask: Callable[..., ModuleType]) -> FunctionType:
    @wraps(ask)
    def __import__(  # noqa: A001, N807 - tracebacks show it under the name it stands for
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of the original
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - likewise
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if globals is None:  # A plain call, by a library or a thread's pool maybe.
            globals = sys._getframe(1).f_globals  # noqa: A001, SLF001 - as the original does
            imports, importer = followed_importer() or (None, "")
        else:
            importer = globals.get("__name__", "")
            imports = followed.get(importer)
        observer = None if imports is None else _observers.get(imports)
        if observer is None:
            return ask(name, globals, locals, fromlist, level)
        if NAMESPACE in name and not level:
            name = observer.own_name(name)
        if observer.modules.stale:
            observer.before(importer, _absolute(name, globals, level), fromlist or ())
        try:
            module = ask(name, globals, locals, fromlist, level)
        except BaseException as error:
            absolute = _absolute(name, globals, level)
            observer.note_failure(importer, absolute, fromlist or (), error)
            raise
        if observer.imports.is_news(importer, (name, tuple(fromlist or ()), level)):
            observer.note(importer, _absolute(name, globals, level), fromlist or ())
        return module

    return __import__  # type: ignore[return-value]  # it is one


def _absolute(name: str, around: Mapping[str, Any], level: int) -> str:
    if not level:
        return name
    package = around.get("__package__")
    if package is None:
        package = around["__name__"].rpartition(".")[0]
    return ".".join([*package.split(".")[: 1 - level or None], *([name] if name else [])])


def _noting_import_module(ask: Callable[..., ModuleType], asker: str = "") -> FunctionType:
    """Return what stands for `ask`, and counts for `asker` where no frame is that of a module."""

    @wraps(ask)
    def import_module(name: str, package: str | None = None) -> ModuleType:
        imports, importer = followed_importer(asker) or (None, "")
        observer = None if imports is None else _observers.get(imports)
        meant = ""
        with suppress(ImportError, AttributeError):  # No module can be meant, and `ask` says so.
            meant = resolve_name(name, package)
        if observer is None or not meant:
            return ask(name, package)
        meant = observer.own_name(meant)
        observer.before(importer, meant, ())
        try:
            module = ask(meant)
        except BaseException as error:
            observer.note_failure(importer, meant, (), error)
            raise
        observer.note(importer, meant, ())
        return module

    return import_module  # type: ignore[return-value]  # it is one


class _Importlib(ModuleType):
    """What `importlib` is an object of while imports are observed.

    Each module that is followed sees an `import_module` of its own, which knows who has asked for
    it; all others see the one in the namespace of `importlib`.
    """

    @property
    def import_module(self) -> Any:
        default = vars(self)["import_module"]
        asker = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001 - who has asked
        if asker not in followed or not _is_ours(default):
            return default
        own = _import_module_of.get(asker)
        if own is None:
            own = _import_module_of[asker] = _noting_import_module(default.__wrapped__, asker)
            own.__code__ = default.__code__
        return own

    @import_module.setter
    def import_module(self, value: object) -> None:
        vars(self)["import_module"] = value


_import_module_of: Final[dict[str, FunctionType]] = {}
"""By the name of the module that sees it."""


_INTERNAL: Final = "<importlib._bootstrap, noted by dagstack_dev>"
"""By such a file name `warnings` knows what to look behind for the line that imports."""

_replaced: Final[list[tuple[ModuleType, str, Any, FunctionType]]] = []

_observers: Final[dict[ImportGraph, ImportObserver]] = {}
"""By where each notes the imports of its modules."""


def _is_ours(function: object) -> bool:
    return any(function is wrapped for *_, wrapped in _replaced)


def install(observer: ImportObserver) -> None:
    """Have `observer` hear of imports from now on."""
    _observers[observer.imports] = observer
    if _replaced:
        return
    for where, name, wrap in (
        (builtins, "__import__", _noting_import),
        (importlib, "import_module", _noting_import_module),
    ):
        original = getattr(where, name)
        wrapped = wrap(original)
        wrapped.__code__ = wrapped.__code__.replace(co_filename=_INTERNAL)
        setattr(where, name, wrapped)
        _replaced.append((where, name, original, wrapped))
    importlib.__class__ = _Importlib


def uninstall(observer: ImportObserver) -> None:
    """Put the originals back after the last observer, unless others have wrapped ours."""
    _observers.pop(observer.imports, None)
    if not _observers:
        for each in list(_replaced):
            where, name, original, wrapped = each
            if getattr(where, name) is wrapped:
                setattr(where, name, original)
                _replaced.remove(each)
        if not _replaced:
            importlib.__class__ = ModuleType
            _import_module_of.clear()
