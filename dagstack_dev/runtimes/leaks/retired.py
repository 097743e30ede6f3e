"""What a retired generation consisted of, remembered without keeping any of it alive."""

from __future__ import annotations

import gc
import logging
import weakref
from contextlib import suppress
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.runtimes.leaks.garbage import module_of, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOTHING: Final[frozenset[str]] = frozenset()  # One for all: each takes 216 bytes.
_ANCHOR: Final = "__dagstack_retired__"

_YOUNG: Final = 1
"""An argument of `gc.collect`."""

_YOUNG_SECONDS: Final = 1.0
"""How long what a plugin makes in its setup is young: it is hardly ever looked at meanwhile."""


class _Anchor:
    """Lives in the globals of a retired module, and for just as long.

    Code keeps its globals alive, not its module, and a dict takes no weak reference: this does.
    """

    __slots__ = ("__weakref__", "module", "namespace")

    def __init__(self, module: str, namespace: dict[str, Any]) -> None:
        self.module = module
        self.namespace = namespace


def _classes_of(module: str, namespace: Mapping[str, Any]) -> list[type]:
    """Return the classes that a module has defined: an old enum member keeps only its own."""
    values = list(namespace.values())
    return [each for each in values if issubclass(type(each), type) and module_of(each) == module]


class RetiredGeneration:
    """Weak references to one generation's instances, modules and classes.

    Attributes:
        modules: the names of its modules, once it is retired.
    """

    def __init__(self, cls: type | None) -> None:
        self.modules = _NOTHING
        self._objects: list[tuple[str, weakref.ref[object]]] = []
        self._anchors: list[weakref.ref[_Anchor]] = []
        self._handlers: list[tuple[str, weakref.ref[logging.Handler]]] = []
        self._born = monotonic()
        if cls is not None:
            self._remember(f"class {name_of(cls)}", cls)

    def add_instance(self, instance: object) -> None:
        """Add one more instance; those that are gone are forgotten."""
        self._objects = [each for each in self._objects if each[1]() is not None]
        self._born = monotonic()
        self._remember(f"instance of {name_of(type(instance))}", instance)

    def note_handlers(self, modules: Iterable[str]) -> None:
        """Take note of what the loggers of its modules have; its teardown has left that there."""
        loggers = logging.Logger.manager.loggerDict
        self._handlers = [
            (name, weakref.ref(handler))
            for name in modules
            if isinstance(logger := loggers.get(name), logging.Logger)
            for handler in logger.handlers
        ]

    def stray_handlers(self) -> list[str]:
        """Return the handlers left on its modules' loggers, where a newer one now does the same."""
        found = []
        for name, ref in self._handlers:
            handlers = logging.getLogger(name).handlers
            if any(ref() is each for each in handlers):
                noted = [known() for _, known in self._handlers]
                kind = type(ref())
                if any(type(each) is kind and each not in noted for each in handlers):
                    found.append(f"logging handler {kind.__qualname__} of logger {name!r}")
        return found

    def add_modules(self, modules: Mapping[str, ModuleType]) -> None:
        """Add the modules that were taken out of `sys.modules` for good."""
        self.modules |= modules.keys()
        for name, module in modules.items():
            self._remember(f"module {name}", module)
            if issubclass(type(module), ModuleType):  # Not what a module puts in its own place.
                namespace = vars(module)
                namespace[_ANCHOR] = anchor = _Anchor(name, namespace)
                self._anchors.append(weakref.ref(anchor))
                for cls in _classes_of(name, namespace):
                    if all(ref() is not cls for _, ref in self._objects):
                        self._remember(f"class {name_of(cls)}", cls)

    def _remember(self, what: str, thing: object) -> None:
        with suppress(TypeError):  # A class whose __slots__ leave out __weakref__.
            self._objects.append((what, weakref.ref(thing)))

    @property
    def is_freed(self) -> bool:
        """Whether nothing of it exists, not even as garbage."""
        return not self.existing()[0]

    @property
    def is_old(self) -> bool:
        """Whether the garbage collector may count its newest instance as old by now."""
        return monotonic() - self._born > _YOUNG_SECONDS

    def existing(self) -> tuple[list[str], list[object]]:
        """Return what still exists, as descriptions and as the very objects.

        Before it is retired, its classes are there by right, and left out. The list holds the
        only references that this makes, so that references can be counted.
        """
        words: list[str] = []
        objects: list[object] = []
        for what, ref in self._objects:
            thing = ref()
            if thing is not None and (self.modules or not issubclass(type(thing), type)):
                words.append(what)
                objects.append(thing)
        for anchored in self._anchors:
            anchor = anchored()
            if anchor is not None:
                words += [f"the globals of {anchor.module}"] * 2
                objects += [anchor.namespace, anchor]
        return words, objects

    def owns(self, namespace: Mapping[str, object]) -> bool:
        """Return whether these are the globals of one of the modules."""
        anchor = namespace.get(_ANCHOR)
        return anchor is not None and any(ref() is anchor for ref in self._anchors)


class FailedGenerations:
    """Generations that have failed, and may hold a port or a lock as long as they exist."""

    def __init__(self) -> None:
        self._failed: list[RetiredGeneration] = []

    def add(self, failed: RetiredGeneration) -> None:
        """Have what is left of `failed` freed by the next `collect`."""
        self._failed.append(failed)

    def collect(self) -> None:
        """Free what has been added since the last time, garbage included.

        To be called before code of a plugin runs that may want just that. For what is young a
        small collection does; after a full one, too, it would be there if something holds it, and
        each new try of the plugin would take as long.
        """
        failed, self._failed = self._failed, []
        if all(each.is_freed for each in failed):
            return
        gc.collect(_YOUNG)
        if any(each.is_old and not each.is_freed for each in failed):
            gc.collect()
