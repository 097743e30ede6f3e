"""What can go wrong, as exceptions that carry facts; `str()` puts the facts into words.

The hierarchy is the specification's ("Ошибки реестра"), with further classes of this package's
own for what only a live system meets: a plugin that crashed, or takes too long, or is away.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, dataclass_transform

from dagstack_dev.core.core_version import admitting
from dagstack_dev.core.refs import PluginRef, closest, did_you_mean
from dagstack_dev.core.secrets import masked_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


def said(error: BaseException) -> str:
    """The message of `error` without secrets, whatever a plugin's own class makes of `str()`."""
    try:
        return masked_text(str(error))
    except BaseException as broken:  # noqa: BLE001 - it may raise anything
        return f"(its __str__ raised {type(broken).__name__})"


def shown(value: object) -> str:
    """The `repr()` of any value without secrets, or a note in its place when that raises."""
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


def _place(path: str | None, line: int | None) -> str:
    if path is None:
        return ""
    return f"{path}:{line}" if line else path


def _in_place(path: str | None, line: int | None) -> str:
    place = _place(path, line)
    return f" ({place})" if place else ""


def _spell(refs: Iterable[PluginRef]) -> str:
    return ", ".join(str(ref) for ref in refs)


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
        others: further errors of the same operation, so that nobody mends one only to meet
            the next.
        is_passing: whether the same thing may work when it is tried again, though nothing was
            edited: a server that is down, a process that died.
    """

    template: ClassVar[str] = ""
    is_passing: ClassVar[bool] = False
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
        place = _in_place(self.path, self.line)
        return self.template.format(**vars(self), place=place)

    def with_others(self, others: Sequence[PluginRegistryError]) -> PluginRegistryError:
        """This error, carrying `others` as facts and as notes of its traceback."""
        self.others = tuple(others)
        for other in others:
            self.add_note(f"also: {other}")
        return self


@dataclass(frozen=True, slots=True)
class ManifestProblem:
    """One thing that is wrong with a manifest.

    `field` is the dotted key below the plugin table (empty when the file as a whole is at
    fault); `line` counts from 1 and is None where no line can be named.
    """

    field: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        subject = f"{self.field}: " if self.field else ""
        return f"{place}{subject}{self.message}"


class Invalid(PluginRegistryError):
    """A file says what it must not; `problems` lists everything wrong with it at once."""

    path: str
    problems: Sequence[ManifestProblem]
    ref: PluginRef | None = None

    what: ClassVar[str]

    def _complete(self) -> None:
        self.line = next((problem.line for problem in self.problems if problem.line), None)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            problem = self.problems[0]
            subject = f"{problem.field}: " if problem.field else ""
            return f"{_place(self.path, problem.line)}: {subject}{problem.message}"
        listed = "".join(f"\n  {problem}" for problem in self.problems)
        return f"{self.path}: {len(self.problems)} problems in the {self.what}{listed}"


class ManifestInvalid(Invalid):
    """A manifest does not match the schema; `problems` lists everything wrong with it at once."""

    what = "manifest"


class AmbiguousPlugin(PluginRegistryError):
    """One name, several plugins.

    Raised for two folders that declare the same kind and name (`paths`), for a bare name in
    `depends_on` that exists in several kinds, for a lookup without a name that ends in a tie, and
    for two fallbacks of a kind (`candidates`).
    """

    def __init__(
        self,
        message: str,
        *,
        ref: PluginRef | None = None,
        candidates: Sequence[PluginRef] = (),
        paths: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.ref = ref
        self.candidates = tuple(candidates)
        self.paths = tuple(paths)
        self.path = self.paths[-1] if self.paths else None

    @classmethod
    def duplicate(cls, ref: PluginRef, paths: Sequence[str]) -> AmbiguousPlugin:
        """Several folders declare `ref`."""
        listed = " and ".join(paths)
        message = f"{ref} is declared twice, in {listed}; give one of them another name or kind"
        return cls(message, ref=ref, candidates=(ref,), paths=paths)

    @classmethod
    def dependency(
        cls, ref: PluginRef, name: str, candidates: Sequence[PluginRef]
    ) -> AmbiguousPlugin:
        """`ref` depends on a bare `name` that exists in several kinds."""
        tables = " or ".join(
            f'{{ kind = "{other.kind}", name = "{other.name}" }}' for other in candidates
        )
        message = (
            f"{ref}: depends_on {name!r} may be {_spell(candidates)}; write {tables} in depends_on"
        )
        return cls(message, ref=ref, candidates=candidates)

    @classmethod
    def fallback(cls, refs: Sequence[PluginRef], path: str) -> AmbiguousPlugin:
        """Several plugins of one kind say that they take whatever is left (ADR-2)."""
        message = (
            f"{_spell(refs)} both say fallback = true, and a kind can have one; remove it from "
            f"all but one of them (the last is in {path})"
        )
        return cls(message, ref=refs[-1], candidates=refs, paths=(path,))

    @classmethod
    def lookup(cls, kind: str, candidates: Sequence[PluginRef]) -> AmbiguousPlugin:
        """A lookup of `kind` without a name found several plugins of the same priority."""
        message = (
            f"{len(candidates)} plugins of kind {kind!r} have the highest priority: "
            f"{_spell(candidates)}; pass name= or give one of them a higher priority"
        )
        return cls(message, candidates=candidates)


class VersionIncompatible(PluginRegistryError):
    """A plugin's `core_version` excludes the version of the running core."""

    ref: PluginRef
    required: str
    core_version: str
    path: str | None

    def __str__(self) -> str:
        return (
            f"{self.ref} needs core_version {self.required}, this core is {self.core_version}; "
            f'write for example core_version = "{admitting(self.core_version)}", or use another '
            f"core{_in_place(self.path, self.line)}"
        )


class KindUnknown(PluginRegistryError):
    """A lookup named a kind, or a name of that kind, that is not registered."""

    kind: str
    name: str | None = None
    known: Sequence[PluginRef] = ()

    def _complete(self) -> None:
        if self.name is not None:
            self.ref = PluginRef(self.kind, self.name)

    @property
    def suggestion(self) -> str | None:
        """The registered kind or name that comes closest, or None."""
        kinds = {ref.kind for ref in self.known}
        if self.name is None or self.kind not in kinds:
            return closest(self.kind, kinds)
        return closest(self.name, (ref.name for ref in self.known if ref.kind == self.kind))

    def __str__(self) -> str:
        kinds = sorted({ref.kind for ref in self.known})
        if self.kind not in kinds or self.name is None:
            listed = ", ".join(kinds) or "none"
            hint = did_you_mean(self.kind, kinds)
            return f"no plugin of kind {self.kind!r} is registered{hint} (kinds: {listed})"
        names = sorted(ref.name for ref in self.known if ref.kind == self.kind)
        hint = did_you_mean(self.name, names)
        return (
            f"kind {self.kind!r} has no plugin named {self.name!r}{hint} "
            f"(names: {', '.join(names)})"
        )


INSTALL_MCP: Final = 'pip install "mcp>=2.3,<3"'
"""What the extra `[mcp]` brings, spelt so that it works beside a checkout, too."""

_INSTALL: Final = {"mcp_stdio": INSTALL_MCP, "mcp_http": INSTALL_MCP}
"""What brings a runtime that is known, but may not be installed."""


class RuntimeNotSupported(PluginRegistryError):
    """None of the runtimes that a plugin declares can be served here.

    The message says what to install, where that is all that is missing.
    """

    ref: PluginRef
    declared: Sequence[str]
    available: Sequence[str]
    path: str | None

    def __str__(self) -> str:
        install = next((_INSTALL[word] for word in self.declared if word in _INSTALL), None)
        if install is not None:
            return (
                f"{self.ref} runs in {', '.join(self.declared)}, which is not installed; run "
                f"{install}{_in_place(self.path, self.line)}"
            )
        hint = next((h for word in self.declared if (h := did_you_mean(word, self.available))), "")
        return (
            f"{self.ref} runs in {', '.join(self.declared)}, which is not available here{hint} "
            f"(available: {', '.join(self.available)}){_in_place(self.path, self.line)}"
        )


class DependencyCycle(PluginRegistryError):
    """The declared dependencies close a cycle; `cycle` lists its plugins in order, each once."""

    cycle: Sequence[PluginRef]

    def _complete(self) -> None:
        self.ref = self.cycle[0]

    def __str__(self) -> str:
        closed = " -> ".join(str(ref) for ref in (*self.cycle, self.cycle[0]))
        place = _in_place(self.path, self.line)
        return f"dependency cycle: {closed}; remove one of these from depends_on{place}"


class DependencyMissing(PluginRegistryError):
    """A plugin depends on plugins that are not there; `missing` holds their names as written.

    Args:
        ref: the plugin.
        missing: the names.
        known: those that there are. They are looked through when the error is read: a folder may
            hold thousands of plugins that all miss something.
        path: its folder.
    """

    ref: PluginRef
    missing: Sequence[str]
    known: Collection[str] = ()
    path: str | None = None

    @property
    def suggestions(self) -> dict[str, str]:
        """What may have been meant by a name that is missing."""
        near = ((name, closest(name, self.known)) for name in self.missing)
        return {name: match for name, match in near if match is not None}

    def __str__(self) -> str:
        near = self.suggestions
        wanted = ", ".join(
            f"{name!r} (did you mean {near[name]!r}?)" if name in near else repr(name)
            for name in self.missing
        )
        place = _in_place(self.path, self.line)
        advice = "which does not exist; add it or change depends_on"
        return f"{self.ref} depends on {wanted}, {advice}{place}"


class PluginLoadError(PluginRegistryError):
    """A plugin's code could not be compiled, imported or instantiated.

    Attributes:
        stage: `"compile"`, `"import"` or `"construct"`.
        reason: one line that says what happened. The plugin's own exception, where there is
            one, is the `__cause__`.
    """

    ref: PluginRef
    stage: str
    reason: str
    path: str | None = None
    line: int | None = None

    template = "{ref}: {stage} failed: {reason}{place}"


class PluginCrashed(PluginRegistryError):
    """A background task of a ready plugin raised, and ended the plugin.

    `reason` says in one line what happened. What the task raised, if anything, is the `__cause__`.
    """

    ref: PluginRef
    reason: str

    template = "{ref} was ended by a task of its own: {reason}"


ONE_LOOP: Final = (
    "keep one loop: await setup_all, what uses the plugins and teardown_all in one asyncio.run"
)


class EventLoopClosed(PluginRegistryError):
    """Something of a ready plugin has ended because the event loop of its setup has been closed.

    So it goes where each step has an event loop of its own: `asyncio.run(registry.setup_all(ctx))`,
    then `asyncio.run(...)` again. `what` names one thing that has ended.
    """

    ref: PluginRef
    what: str

    template = (
        "{ref} was set up in an event loop that has been closed, and with it ended its {what}; "
        f"{ONE_LOOP}"
    )


class PluginCancelled(PluginRegistryError):
    """A plugin's `method` ended with a cancellation that nobody had asked of it.

    Raised in its place, for a cancellation that came out of `setup_all` would look like one of
    the host. The plugin's own exception is the `__cause__`.
    """

    ref: PluginRef
    method: str

    template = (
        "{ref}: {method} ended with a cancellation of its own; a task that it awaits was "
        "cancelled, or a task group that it opened has failed"
    )


class PluginUnavailable(PluginRegistryError):
    """A call reached a plugin that cannot answer now; `reason` says why and what to do."""

    ref: PluginRef
    reason: str

    template = "{ref} is unavailable: {reason}"


class PluginNotSetUp(PluginUnavailable, AttributeError):
    """A plugin was called in the setup of another one, and its own setup has not ended yet.

    An `AttributeError` too: what its setup makes is not there yet, which is how `hasattr` puts it.

    Attributes:
        caller: the plugin whose code calls.
        path: the caller's manifest, where there is one; `line` is that of its `depends_on`.
        is_downstream: whether the plugin depends on `caller` itself, directly or not.
    """

    def __init__(
        self,
        ref: PluginRef,
        caller: PluginRef,
        *,
        path: str | None = None,
        line: int | None = None,
        is_downstream: bool = False,
    ) -> None:
        reason = f"is not set up yet; add it to depends_on in {_place(path, line)}"
        if is_downstream:
            reason = f"is not set up yet, for it depends on {caller}; call it after that is set up"
        elif path is None:
            reason = f"is not set up yet; add it to depends_on of {caller}"
        super().__init__(ref, reason)
        self.caller = caller
        self.path = path
        self.line = line
        self.is_downstream = is_downstream

    template = "{ref} {reason}"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Something of a plugin's that did not end in time: `what` it is, and which line it is at.

    `path` and `line` are None where that cannot be told; `line` counts from 1. `ran` are the
    lines that run there, up to `line`: the file may have changed meanwhile.
    """

    what: str
    path: str | None = None
    line: int | None = None
    ran: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        place = _place(self.path, self.line)
        return f"{self.what} at {place}" if place else self.what


class BlockedTooLong(BaseException):
    """Raised in the midst of a plain plugin method that has kept the event loop for too long.

    No `Exception`, so that plugins do not catch it by accident.

    Attributes:
        seconds: how long the method might take.
        path, line: where it was by then.
    """

    def __init__(self, seconds: float, path: str, line: int) -> None:
        super().__init__(seconds, path, line)
        self.seconds = seconds
        self.path = path
        self.line = line

    def __str__(self) -> str:
        return f"it kept the event loop busy for more than {self.seconds:g} s"


class BlockedOutdated(BlockedTooLong):
    """Likewise, before its time was over: what it runs was edited meanwhile."""

    def __str__(self) -> str:
        return "it kept the event loop busy, and was edited meanwhile"


class _Overdue(PluginRegistryError, TimeoutError):
    """Something took longer than the manifest allows.

    Attributes:
        seconds: what the manifest allows.
        unfinished: what had not ended by then, each with the line it was at.
    """

    ref: PluginRef
    seconds: float
    unfinished: Sequence[Unfinished] = ()

    what: ClassVar[str]
    option: ClassVar[str]

    def _complete(self) -> None:
        if self.unfinished:
            self.path, self.line = self.unfinished[0].path, self.unfinished[0].line

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.unfinished))
        held_up = f", held up by {listed}" if listed else ""
        return (
            f"{self.ref}: {self.what} did not end within {self.seconds:g} s{held_up}; make it "
            f"faster or raise {self.option}"
        )


class SetupTimeout(_Overdue):
    """A plugin's `setup` did not end within `startup_timeout_sec` (`seconds`)."""

    what = "setup"
    option = "startup_timeout_sec"


class TeardownTimeout(_Overdue):
    """A plugin's `teardown` did not end within `teardown_timeout_sec` (`seconds`).

    The same time covers the undoing of what the plugin owns.
    """

    what = "teardown"
    option = "teardown_timeout_sec"


class TeardownErrors(PluginRegistryError):
    """What `teardown_all()` caught; the loop went on to the end.

    Attributes:
        errors: the caught exceptions themselves, in the order raised.
        failures: the same as pairs of plugin and exception.
    """

    failures: Sequence[tuple[PluginRef, BaseException]]

    def _complete(self) -> None:
        self.errors = [error for _, error in self.failures]

    def __str__(self) -> str:
        listed = "".join(f"\n  {ref}: {in_words(error)}" for ref, error in self.failures)
        plugins = "1 plugin" if len(self.failures) == 1 else f"{len(self.failures)} plugins"
        return f"teardown failed in {plugins}{listed}"


class InvalidTransition(PluginRegistryError):
    """A state change that the transition table does not allow: a defect of this library."""

    ref: PluginRef
    from_state: str
    to_state: str

    template = "{ref} cannot go from {from_state} to {to_state}"
