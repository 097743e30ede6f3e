"""What a plugin has under way, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OperationKind(StrEnum):
    """What an `Operation` is."""

    CALL = "call"
    """A call of one of the plugin's methods that went through its proxy and has not come back."""
    TASK = "background task"
    """Started with `ctx.start_soon`."""
    THREAD = "thread"
    """Started with `ctx.run_thread`."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Something of a plugin's that is under way (contract, section 10).

    Attributes:
        kind: what it is.
        name: the method, or the name that the task or thread was given.
        path: the file that it is at, None where that cannot be told.
        line: the line in `path`, counted from 1.
    """

    kind: OperationKind
    name: str
    path: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        is_call = self.kind is OperationKind.CALL
        what = f"call of {self.name}()" if is_call else f"{self.kind} {self.name!r}"
        return f"{what} at {self.path}:{self.line}" if self.path else what
