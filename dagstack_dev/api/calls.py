"""What a request has done in the event loop of the plugins, within a time, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.api import problems
from dagstack_dev.api.models.base import ErrorReport
from dagstack_dev.api.models.offers import (
    CallAnswer,
    PanelForm,
    PanelReport,
    Panels,
    PromptAnswer,
    ResourceAnswer,
)
from dagstack_dev.api.models.requests import CallRequest, PromptRequest, ResourceRequest
from dagstack_dev.api.problems import ProblemFound
from dagstack_dev.api.reports import account_report, error_report
from dagstack_dev.api.results import Returned
from dagstack_dev.core.blame import root_error
from dagstack_dev.core.secrets import masked
from dagstack_dev.disk.accounts import account

if TYPE_CHECKING:
    from dagstack_dev.api.backend import Backend
    from dagstack_dev.api.main_loop import MainLoopLink
    from dagstack_dev.api.offers import Method
    from dagstack_dev.core.refs import PluginRef

PANEL_SECONDS: Final = 10.0
"""How long a panel may take; the others are shown no sooner."""


class Calls:
    """Calls the server and its plugins.

    Args:
        backend: the server.
        main_loop: the way to it.
    """

    def __init__(self, backend: Backend, main_loop: MainLoopLink) -> None:
        self._backend = backend
        self._main_loop = main_loop

    async def run(self, function: Callable[..., Any], *args: Any, seconds: float = 10.0) -> Any:
        """Call `function` in the event loop of the plugins.

        Raises:
            ProblemFound: it does not end within `seconds`, or there is no such loop any more.
        """
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._main_loop.run(function, *args)
        except TimeoutError as error:
            if not limit.expired():
                raise
            blocked = await self._main_loop.look()
            why = f"; the event loop is blocked at {blocked.at}" if blocked and blocked.at else ""
            raise ProblemFound(problems.TIMED_OUT, f"not ended after {seconds:g} s{why}") from error

    async def call(self, ref: PluginRef, asked: CallRequest) -> CallAnswer:
        """Call a method of a plugin; return what it returns or raises.

        Raises:
            ProblemFound: it cannot be called so, or does not end in time.
        """
        call = partial(self._backend.call, ref, asked.method, asked.arguments, coerce=asked.coerce)
        got, outcome = await self._outcome(ref, call, asked.timeout_seconds)
        return CallAnswer(
            plugin=str(ref),
            method=asked.method,
            result=got.value,
            text=got.text,
            content=None if got.content is None else [*got.content],
            **outcome,
        )

    async def prompt(self, ref: PluginRef, asked: PromptRequest) -> PromptAnswer:
        """Get a prompt of a plugin that is a server.

        Raises:
            ProblemFound: as `call`.
        """
        get = partial(self._backend.prompt, ref, asked.name, asked.arguments)
        got, outcome = await self._outcome(ref, get, asked.timeout_seconds)
        return PromptAnswer(plugin=str(ref), name=asked.name, messages=got.value or [], **outcome)

    async def resource(self, ref: PluginRef, asked: ResourceRequest) -> ResourceAnswer:
        """Read a resource of a plugin that is a server.

        Raises:
            ProblemFound: as `call`.
        """
        read = partial(self._backend.resource, ref, asked.uri)
        got, outcome = await self._outcome(ref, read, asked.timeout_seconds)
        return ResourceAnswer(plugin=str(ref), uri=asked.uri, contents=got.value or [], **outcome)

    async def _outcome(
        self, ref: PluginRef, ask: Callable[[], Awaitable[Returned]], seconds: float
    ) -> tuple[Returned, dict[str, Any]]:
        """Return what a plugin returns; and how long that took, and what it raises, for a report.

        Raises:
            ProblemFound: it cannot be asked so, or does not answer in time.
        """
        began, got, raised = time.perf_counter(), Returned(), dict[str, Any]()
        try:
            got = await self.run(ask, seconds=seconds)
        except (ProblemFound, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - what the plugin raises is the answer
            parts = account_report(account(error, str(ref)))
            raised = {"error": error_report(root_error(error)), "account": parts}
        return got, {"duration_ms": round((time.perf_counter() - began) * 1000, 3), **raised}

    async def panels(self, ref: PluginRef) -> Panels:
        """Return what the panels of a plugin show now; all of them are called at once.

        Raises:
            ProblemFound: the server ends, or its event loop is blocked.
        """
        offered = await self.run(self._backend.offered, ref)
        panels = [each for each in offered.methods if each.panel]
        return Panels(panels=await asyncio.gather(*(self._panel(ref, each) for each in panels)))

    async def _panel(self, ref: PluginRef, method: Method) -> PanelReport:
        """Return what one panel shows: it is seen unasked, so without secrets."""

        def report(kind: PanelForm = PanelForm.JSON, **what: Any) -> PanelReport:
            return PanelReport(title=method.panel or "", kind=kind, **what)

        asked = CallRequest(plugin=str(ref), method=method.name, timeout_seconds=PANEL_SECONDS)
        try:
            answer = await self.call(ref, asked)
        except ProblemFound as problem:
            if problem.kind is problems.ENDING:
                raise
            return report(error=ErrorReport(type=problem.kind.name, message=problem.detail))
        if answer.error is not None:
            return report(error=answer.error, account=answer.account)
        if isinstance(answer.result, str):
            return report(PanelForm.MARKDOWN, value=masked(answer.result))
        return report(value=masked(answer.text if answer.text is not None else answer.result))
