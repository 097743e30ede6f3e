"""What every error of the registry is: facts, and words for them.

The hierarchy is the specification's ("Ошибки реестра"), with further classes of this package's
own for what only a live system meets: a plugin that crashed, or takes too long, or is away.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from dagstack_dev.core.secrets import masked_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagstack_dev.core.refs import PluginRef


def said(error: BaseException) -> str:
    """Return the message of `error` without secrets, whatever its class makes of `str()`."""
    try:
        return masked_text(str(error))
    except BaseException as broken:  # noqa: BLE001 - it may raise anything
        return f"(its __str__ raised {type(broken).__name__})"


def shown(value: object) -> str:
    """Return the `repr()` of any value without secrets, or a note in its place when that raises."""
    try:
        return masked_text(repr(value))
    except BaseException as broken:  # noqa: BLE001 - it may raise anything
        return f"<{type(value).__name__}, whose __repr__ raised {type(broken).__name__}>"


def in_words(error: BaseException) -> str:
    """Type and message of `error` in one line."""
    message = said(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def add_note(error: BaseException, text: str) -> None:
    """Add a note to an exception of any class; one that cannot have notes goes without."""
    with suppress(Exception):
        error.add_note(text)


def place_of(path: str | None, line: int | None) -> str:
    """Path and line in one word, empty where there is no path."""
    return f"{path}:{line}" if path is not None and line else path or ""


class OldName:
    """`is_transient` by the name that it had, for one release."""

    def __get__(self, error: object, cls: Any) -> Any:
        warnings.warn("is_passing is called is_transient now", DeprecationWarning, stacklevel=2)
        return cls.is_transient


@dataclass_transform()
class PluginRegistryError(Exception):
    """Base of every error of the registry: facts, and one template that puts them into words.

    What a subclass annotates are its facts, as in a dataclass: they are given when it is made, in
    this order or by name, and `str()` fills them into its `template`; there, `{place}` stands for
    `path` and `line` in brackets, if there are any. What a subclass with an `__init__` of its own
    annotates are no facts.

    Attributes:
        ref: the plugin concerned, when it is known.
        path: the file or folder at fault, when there is one.
        line: the line in `path`, counted from 1.
        others: further errors of the same operation, so that all can be
            fixed at once.
        is_transient: whether the same thing may work when it is tried again, though nothing was
            edited: a server that is down, a process that died.
    """

    template: ClassVar[str] = ""
    is_transient: ClassVar[bool] = False
    is_passing = OldName()
    _facts: ClassVar[dict[str, str]] = {}  # And the type of each.
    _needed: ClassVar[tuple[str, ...]] = ()
    ref: PluginRef | None = None
    path: str | None = None
    line: int | None = None
    others: tuple[PluginRegistryError, ...] = ()

    def __init_subclass__(cls) -> None:
        annotated = {} if "__init__" in vars(cls) else cls.__annotations__
        kinds = {name: str(kind) for name, kind in annotated.items()}
        own = {name: kind for name, kind in kinds.items() if "ClassVar" not in kind}
        new = (name for name in own if name not in vars(cls) and name not in cls._facts)
        cls._needed = (*cls._needed, *new)
        cls._facts = cls._facts | own

    def __init__(self, *args: Any, **facts: Any) -> None:
        if not self._facts:
            super().__init__(*args)
            return
        given = dict(zip(self._facts, args, strict=False)) | facts
        is_any_lost = len(given) < len(args) + len(facts)
        if is_any_lost or not set(self._needed) <= given.keys() <= self._facts.keys():
            takes, needs = ", ".join(self._facts), ", ".join(self._needed) or "none"
            raise TypeError(f"{type(self).__name__} takes {takes}, each once; it needs {needs}")
        super().__init__(*(given[name] for name in self._needed))
        for name, value in given.items():
            is_sequence = self._facts[name].partition("[")[0].endswith("Sequence")
            setattr(self, name, tuple(value) if is_sequence else value)
        self._complete()

    def _complete(self) -> None:
        """Derive what follows from the facts."""

    def __str__(self) -> str:
        if not self.template:
            return super().__str__()
        return self.template.format(**vars(self), place=self._place)

    @property
    def _place(self) -> str:
        """`path` and `line` in brackets, to end a sentence with; empty where there is no path."""
        place = place_of(self.path, self.line)
        return f" ({place})" if place else ""

    def with_others(self, others: Sequence[PluginRegistryError]) -> PluginRegistryError:
        """This error, carrying `others` as facts and as notes of its traceback."""
        self.others = tuple(others)
        for other in others:
            self.add_note(f"also: {other}")
        return self
