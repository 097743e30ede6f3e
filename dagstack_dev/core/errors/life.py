"""What goes wrong with one plugin from its import to its teardown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from dagstack_dev.core.errors.base import PluginRegistryError, in_words, place_of
from dagstack_dev.core.refs import did_you_mean
from dagstack_dev.core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from inspect import Signature

    from dagstack_dev.core.refs import PluginRef


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
    """A plugin's `method` ended with a cancellation that was not asked of it.

    Raised in its place, for a cancellation that came out of `setup_all` would look like one of
    the host. The plugin's own exception is the `__cause__`.
    """

    ref: PluginRef
    method: str

    template = (
        "{ref}: {method} ended with a cancellation of its own; a task that it awaits was "
        "cancelled, or a task group that it opened has failed"
    )


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Something of a plugin's that did not end in time: `what` it is, and which line it is at.

    `path` and `line` are None where that is unknown; `line` counts from 1. `ran` are the
    lines that run there, up to `line`: the file may have changed meanwhile.
    """

    what: str
    path: str | None = None
    line: int | None = None
    ran: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        place = place_of(self.path, self.line)
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
        return f"teardown failed in {counted(len(self.failures), 'plugin')}{listed}"


class InvalidTransition(PluginRegistryError):
    """A state change that the transition table does not allow: a defect of this library."""

    ref: PluginRef
    from_state: str
    to_state: str

    template = "{ref} cannot go from {from_state} to {to_state}"


class SignatureMismatch(PluginRegistryError, TypeError):
    """A plugin's `setup`, `teardown` or `__init__` takes other arguments than it is given.

    Attributes:
        reason: what does not fit, and what to write.
    """

    ref: PluginRef
    reason: str
    path: str | None = None
    line: int | None = None

    template = "{ref}: {reason}"

    @classmethod
    def reason_of(
        cls, name: str, called: str, signature: Signature | None, *, is_async: bool, has_self: bool
    ) -> str | None:
        """Return what is wrong with a method of this signature; None when it can be called.

        Args:
            name: `setup`, `teardown` or `__init__`.
            called: the method with its class.
            signature: what it takes besides the instance; None when not even that.
            is_async: whether it is an `async def`.
            has_self: whether it is given the instance.
        """
        given = _GIVEN[name]
        problem = "it has no parameter for the instance"
        if signature is not None:
            try:
                signature.bind(*given)
            except TypeError as error:
                problem = str(error)
            else:
                return None
        define = "async def" if is_async else "def"
        wanted = ", ".join([*(["self"] if has_self else []), *given])
        instead = ", for setup(self, ctx) gets the context" if name == "__init__" else ""
        return (
            f"{called} cannot be called as {name}({', '.join(given)}): {problem}; "
            f"write: {define} {name}({wanted}){instead}"
        )


_GIVEN: Final[Mapping[str, tuple[str, ...]]] = {"__init__": (), "setup": ("ctx",), "teardown": ()}
"""What the methods of a plugin are called with."""


class PluginUnhealthy(PluginRegistryError):
    """A plugin's health check failed.

    `reason` says how. What the check raised, if anything, is the `__cause__`.
    """

    ref: PluginRef
    reason: str

    is_transient = True
    template = "{ref} is not healthy: {reason}"


class HealthCheckInvalid(PluginRegistryError):
    """A manifest names a `health_check` that cannot be called.

    Nothing is known of the plugin's health by that, so it goes on running.

    Attributes:
        name: what the manifest says.
        reason: what is wrong with that.
    """

    ref: PluginRef
    name: str
    problem: str

    template = "{ref}: {reason}"

    def _complete(self) -> None:
        self.reason = f"its manifest says health_check = {self.name!r}, but {self.problem}"

    @classmethod
    def missing(cls, ref: PluginRef, name: str, known: Iterable[str]) -> HealthCheckInvalid:
        """Say that the plugin has no such method, but those that are `known`."""
        hint = did_you_mean(name, known) or "; correct the name or leave health_check out"
        return cls(ref, name, f"it has no such method or tool{hint}")

    @classmethod
    def needs_arguments(cls, ref: PluginRef, name: str) -> HealthCheckInvalid:
        """Say that the method cannot be called without arguments."""
        return cls(ref, name, f"{name}() needs arguments; name one that needs none")


class SetupPreempted(PluginRegistryError):
    """What a plugin was being set up from was edited meanwhile; that takes its place."""

    ref: PluginRef

    template = "{ref}: setup was broken off for an edit"


class RetryPreempted(SetupPreempted):
    """A plugin was being tried again when something newer came in; that goes first."""

    is_transient = True
    template = "{ref}: setup was broken off for an edit or a request"
