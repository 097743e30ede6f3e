"""How plugins report how far they are (contract, section 11; ADR-3)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from os.path import dirname
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from dagstack_dev.host.services.loggers import log_event

if TYPE_CHECKING:
    from types import FrameType

_PACKAGE: Final = dirname(dirname(dirname(__file__))) + "/"  # noqa: PTH120 - compared with file names

SECONDS_BETWEEN_REPORTS: Final = 1.0
"""How often a person wants to read how far something is."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a plugin is: `current` of `total`, in whatever it counts; no `total` if unknown."""

    current: int
    total: int | None = None
    message: str = ""


@runtime_checkable
class ProgressSink(Protocol):
    """Takes reports, at most once each. It must not block; what it raises reaches no plugin."""

    def report(self, progress: Progress) -> None:
        """Take note that the plugin is this far."""

    def done(self) -> None:
        """Take note that the plugin has come to the end."""

    def error(self, exc: BaseException) -> None:
        """Take note that the plugin has given up, for this reason."""


class NoOpProgressSink:
    """Takes reports and does nothing with them."""

    def report(self, progress: Progress) -> None:
        """Do nothing."""

    def done(self) -> None:
        """Do nothing."""

    def error(self, exc: BaseException) -> None:
        """Do nothing."""


@dataclass
class MockProgressSink:
    """Keeps everything, for tests.

    Attributes:
        reports: what was reported, in order.
        done_called: whether the end was.
        errors: what was given up for, in order.
    """

    reports: list[Progress] = field(default_factory=list)
    done_called: bool = False
    errors: list[BaseException] = field(default_factory=list)

    def report(self, progress: Progress) -> None:
        """Keep it."""
        self.reports.append(progress)

    def done(self) -> None:
        """Note it."""
        self.done_called = True

    def error(self, exc: BaseException) -> None:
        """Keep it."""
        self.errors.append(exc)


class LogProgressSink:
    """Makes log events `progress`, `progress.done` and `progress.error` of reports.

    A report is logged when none was for a while, and when it is the last (`current` has reached
    `total`). In a context, each plugin logs with its own logger and counts its own time.

    Args:
        logger: of structlog or standard; none where the sink is only put into a context.
        seconds: how long a report that is not the last is held back after another.
        clock: returns the time, in seconds.
    """

    def __init__(
        self,
        logger: Any = None,
        *,
        seconds: float = SECONDS_BETWEEN_REPORTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._seconds = seconds
        self._clock = clock
        self._silent_until = float("-inf")

    def with_logger(self, logger: Any) -> LogProgressSink:
        """Return the same sink for another logger, with a time of its own.

        Args:
            logger: of structlog or standard.
        """
        return LogProgressSink(logger, seconds=self._seconds, clock=self._clock)

    def report(self, progress: Progress) -> None:
        """Log it, or leave it out."""
        now = self._clock()
        is_last = progress.total is not None and progress.current >= progress.total
        if now < self._silent_until and not is_last:
            return
        self._silent_until = now + self._seconds
        fields: dict[str, Any] = {"current": progress.current}
        if progress.total is not None:
            fields["total"] = progress.total
        if progress.message:
            fields["message"] = progress.message
        log_event(self._logger, "info", "progress", **fields)

    def done(self) -> None:
        """Log it."""
        log_event(self._logger, "info", "progress.done")

    def error(self, exc: BaseException) -> None:
        """Log it, with its traceback."""
        log_event(self._logger, "error", "progress.error", exc)


class PluginProgress:
    """What a plugin reports to: the host's sink, whose failures it never sees.

    The first failure is logged, as the sink may be asked a thousand times a second. One over what
    is no `Progress` is the plugin's, and named by its line.

    Args:
        sink: the host's, of any class; one with a method `with_logger` is asked for the plugin's.
        logger: the plugin's.
    """

    def __init__(self, sink: Any, logger: Any) -> None:
        self._sink: ProgressSink = sink
        self._logger = logger
        self._failed: set[str] = set()
        self._tell(self._take_logger)

    def _take_logger(self) -> None:
        with_logger = getattr(self._sink, "with_logger", None)
        if callable(with_logger):
            self._sink = with_logger(self._logger)

    def report(self, progress: Progress) -> None:
        """See `ProgressSink.report`."""
        self._tell(lambda: self._sink.report(progress), (progress,))

    def done(self) -> None:
        """See `ProgressSink.done`."""
        self._tell(self._sink.done)

    def error(self, exc: BaseException) -> None:
        """See `ProgressSink.error`."""
        self._tell(partial(self._sink.error, exc))

    def _tell(self, call: Callable[[], None], reported: Sequence[object] = ()) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - a plugin never sees a failure of the sink
            if all(hasattr(each, "current") for each in reported):
                self._warn("the progress sink has failed", error)
            else:
                caller = sys._getframe(2)  # noqa: SLF001 - nothing else knows the plugin's line
                self._warn(_advice(*reported), **_place(caller))

    def _warn(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        if event not in self._failed:
            self._failed.add(event)
            log_event(self._logger, "warning", event, error, **fields)


def _advice(given: object) -> str:
    """Return what to write in place of `given`, which is no `Progress`."""
    wanted = given if isinstance(given, int) else "current, total"
    what = type(given).__name__
    return (
        f"progress.report takes a Progress, not {what}; write progress.report(Progress({wanted}))"
    )


def _place(frame: FrameType) -> dict[str, object]:
    """Return where a plugin has called; nothing where it did so in another process."""
    path = frame.f_code.co_filename
    return {} if path.startswith(_PACKAGE) else {"path": path, "line": frame.f_lineno}
