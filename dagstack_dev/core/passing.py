"""Which failures may pass by themselves, so that trying again is worth while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors import PluginRegistryError

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


class SetupPreempted(PluginRegistryError):
    """What a plugin was being set up from was edited meanwhile; that takes its place."""

    _cause = "what it is made from was edited meanwhile"

    def __init__(self, ref: PluginRef) -> None:
        super().__init__(ref)
        self.ref = ref

    def __str__(self) -> str:
        return f"{self.ref}: setup was broken off, for {self._cause}"


class RetryPreempted(SetupPreempted):
    """A plugin was being tried again when something newer came in; that goes first."""

    is_passing = True
    _cause = "an edit or a request came in"


def may_pass(error: BaseException | None) -> bool:
    """Whether what failed with `error` may work when it is tried again, though nothing was edited.

    So it is with an exception whose class says `is_passing = True`, as some of this package do and
    any of a plugin's own may, and with a `ConnectionError`: whoever was called is not there. What
    an exception was raised from, or while handling it, counts too, and each exception of a group.
    """
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, ConnectionError) or getattr(type(each), "is_passing", False) is True:
            return True
        # The context counts even where `from None` hides it: httpx does that to refusals.
        left += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions
    return False
