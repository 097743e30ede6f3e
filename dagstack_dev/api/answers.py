"""Answers requests: a method for each thing that can be asked, as `api.routes` lists them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from dagstack_dev.api import problems
from dagstack_dev.api.asker import asked_by
from dagstack_dev.api.board import MOST_RELOADS, Breath
from dagstack_dev.api.calls import Calls
from dagstack_dev.api.failures import failures_report
from dagstack_dev.api.files import own_file
from dagstack_dev.api.graphs import Graphs, View, grouping
from dagstack_dev.api.models.base import Accepted, Events, Failures, Model, PageReport
from dagstack_dev.api.models.offers import (
    CallAnswer,
    Offer,
    Panels,
    PromptAnswer,
    PromptReport,
    Prompts,
    ResourceAnswer,
    ResourceReport,
    Resources,
    ToolReport,
    Tools,
)
from dagstack_dev.api.models.plugins import Graph, PluginDetail, PluginReport, Status
from dagstack_dev.api.models.reloads import ReloadDetail, Reloads, TraceReport
from dagstack_dev.api.models.requests import (
    CallRequest,
    OpenRequest,
    PageRequest,
    PauseRequest,
    PromptRequest,
    ReloadRequest,
    ResourceRequest,
    StopRequest,
)
from dagstack_dev.api.offers import Offered
from dagstack_dev.api.problems import ProblemFound
from dagstack_dev.api.reports import (
    logged,
    main_loop_report,
    plugin_detail,
    plugin_report,
    refused_report,
    reload_detail,
    reload_report,
    unknown,
)
from dagstack_dev.api.streams import Part, asked_part, newest, number, stream
from dagstack_dev.core.errors.registry import KindUnknown
from dagstack_dev.core.refs import PluginRef, did_you_mean
from dagstack_dev.core.trace import Trace
from dagstack_dev.logs import as_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from dagstack_dev.api.backend import Activity, Backend
    from dagstack_dev.api.board import Board, Numbered
    from dagstack_dev.api.main_loop import Blocked, MainLoopLink
    from dagstack_dev.core.reloads import Reload
    from dagstack_dev.core.snapshot import ServerSnapshot


class Api:
    """Answers requests.

    Args:
        board: what the server has published.
        backend: the server itself.
        main_loop: the way to it.
    """

    def __init__(self, board: Board, backend: Backend, main_loop: MainLoopLink) -> None:
        self._board = board
        self._backend = backend
        self._main_loop = main_loop
        self._looking = asyncio.Lock()
        self._last: tuple[object, dict[PluginRef, tuple[object, PluginReport]]] = (None, {})
        self._graphs = Graphs()
        self._calls = Calls(backend, main_loop)

    # Questions

    async def status(self, _: Request) -> Status:
        """Answer with the server and all plugins."""
        blocked = await self._main_loop.look()
        return await self._status(self._backend.now(), blocked)

    async def _status(self, now: Activity, blocked: Blocked | None = None) -> Status:
        page, snapshot = self._backend.page, now.snapshot
        plugins = await self._plugins(snapshot)
        if blocked is not None:
            plugins = [*map(unknown, plugins)]
        is_busy = now.is_busy or not snapshot.has_started
        is_at_rest = not (is_busy or now.has_edits_waiting or blocked or snapshot.refused)
        return Status(
            **asdict(self._backend.about),
            page=None if page is None else page.url,
            snapshot=snapshot.number,
            is_current=is_at_rest and all(each.receipt.is_current for each in plugins),
            is_busy=is_busy,
            is_paused=now.is_paused,
            has_edits_waiting=now.has_edits_waiting,
            main_loop=main_loop_report(blocked),
            refused=refused_report(snapshot),
            plugins=plugins,
            total=snapshot.total,
        )

    async def _plugins(self, snapshot: ServerSnapshot) -> list[PluginReport]:
        """Return how all plugins are doing; of what is as before, the report is, too."""
        graph, reports = snapshot.graph, dict[PluginRef, tuple[object, PluginReport]]()
        async with self._looking:
            last, before = self._last
            if snapshot is last:
                return [report for _, report in before.values()]
            breath = Breath()
            for ref, plugin in snapshot.plugins.items():
                await breath.draw()
                receipt = snapshot.receipt(ref)
                refs = (each for each in receipt.chain if isinstance(each, PluginRef))
                near = graph.dependencies(ref), graph.dependents(ref)
                is_as = plugin, receipt, near, [*map(snapshot.plugins.get, refs)]
                known = before.get(ref)
                if known is None or known[0] != is_as:
                    known = is_as, plugin_report(snapshot, ref)
                reports[ref] = known
            self._last = snapshot, reports
        return [report for _, report in reports.values()]

    async def graph(self, request: Request) -> Graph:
        """Answer with what depends on what, laid out."""
        query, snapshot = request.query_params, self._board.snapshot
        view = View(
            around=[self._known(each, snapshot) for each in query.getlist("around")],
            steps=number(query, "depth", 0) if "depth" in query else inf,
            group_of=grouping(query.get("fold", ""), snapshot, self._backend.about.roots),
            opened=query.getlist("open"),
        )
        return await self._graphs.graph(snapshot, view)

    async def plugin(self, request: Request) -> PluginDetail:
        """Answer with everything about one plugin."""
        name = "{kind}/{name}".format(**request.path_params)
        ref = self._known(name)
        is_blocked = await self._main_loop.look() is not None
        offered = Offered() if is_blocked else await self._calls.run(self._backend.offered, ref)
        snapshot = self._board.snapshot
        self._known(name, snapshot)  # It may have gone meanwhile.
        detail = await plugin_detail(snapshot, ref, offered, self._board.reloads.all())
        return unknown(detail) if is_blocked else detail

    async def tools(self, request: Request) -> Tools:
        """Answer with what plugins offer to be called by name."""
        return await self._offer(request, self._backend.offers.tools, ToolReport, Tools)

    async def prompts(self, request: Request) -> Prompts:
        """Answer with the prompts of MCP servers."""
        return await self._offer(request, self._backend.offers.prompts, PromptReport, Prompts)

    async def resources(self, request: Request) -> Resources:
        """Answer with the resources of MCP servers."""
        return await self._offer(request, self._backend.offers.resources, ResourceReport, Resources)

    async def _offer(
        self,
        request: Request,
        offers: Callable[[Collection[str]], Awaitable[Iterable[tuple[PluginRef, Any]]]],
        each_as: Callable[..., Model],
        all_as: type[OfferT],
    ) -> OfferT:
        """Return what the plugins that are asked for offer."""
        among = request.query_params.getlist("plugin")
        found = await self._calls.run(offers, among, seconds=OFFER_SECONDS)
        digest, reports = blake2b(digest_size=16), list[Model]()
        async for ref, each in Breath().between(found):
            reports.append(each_as(plugin=str(ref), **asdict(each)))
            digest.update(reports[-1].json_text().encode() + b"\0")
        return all_as(
            **{all_as.__name__.lower(): reports},
            digest=digest.hexdigest(),
            is_starting=not self._board.snapshot.has_started,
        )

    async def panels(self, request: Request) -> Panels:
        """Answer with what the panels of a plugin show."""
        return await self._calls.panels(self._known("{kind}/{name}".format(**request.path_params)))

    async def errors(self, _: Request) -> Failures:
        """Answer with all that is wrong."""
        return await failures_report(self._board.snapshot)

    async def reloads(self, request: Request) -> Reloads:
        """Answer with the last reloads."""
        kept, breath = self._board.reloads.all(), Breath()
        most = number(request.query_params, "limit", MOST_RELOADS)
        found = [await reload_report(each, breath) for each in kept[max(len(kept) - most, 0) :]]
        return Reloads(reloads=found)

    async def reload_by_id(self, request: Request) -> ReloadDetail:
        """Answer with everything about one reload."""
        return await reload_detail(self._known_reload(request.path_params["id"]), Breath())

    async def trace(self, request: Request) -> TraceReport:
        """Answer with one reload, or the last ones, for a viewer of traces."""
        wanted, trace = request.query_params.get("reload"), Trace()
        reloads = [self._known_reload(wanted)] if wanted else self._board.reloads.all()
        events = [event async for each in Breath().between(reloads) for event in trace.events(each)]
        return TraceReport(traceEvents=events)

    async def last_events(self, request: Request) -> Events:
        """Answer with the newest lifecycle events."""
        return await self._newest(request, self._board.events, as_event)

    async def events(self, request: Request) -> Response:
        """Answer with a stream of lifecycle events, and of what a plugin logs if asked to."""
        query, logs = request.query_params, self._board.logs
        parts: list[Part[Any]] = [asked_part(request, self._board.events, as_event)]
        if plugin := query.get("log"):
            after = number(query, "log_after", logs.last)
            parts.append(Part(logs, logged, after, plugin=plugin, kind="log"))
        return stream(*parts)

    async def logs(self, request: Request) -> Events:
        """Answer with the newest of what was logged."""
        wanted = request.query_params.get("reload")
        if not wanted:
            return await self._newest(request, self._board.logs, logged)
        reload = self._known_reload(wanted)
        began, ended = reload.first.began, reload.ended

        def is_of_reload(line: Numbered[dict[str, object]]) -> bool:
            other = line.value.get("reload_id")
            return other == reload.first.id or (other is None and began <= line.at <= ended)

        return await self._newest(request, self._board.logs, logged, is_of_reload)

    async def _newest(self, request: Request, *what: Any) -> Events:
        """Return what `newest` does; of a plugin there may be events though it has gone.

        Raises:
            ProblemFound: there are none, and no such plugin.
        """
        found = await newest(request, *what)
        if not found.events and (plugin := request.query_params.get("plugin")):
            self._known(plugin)
        return found

    async def log_stream(self, request: Request) -> Response:
        """Answer with a stream of what is logged."""
        return stream(asked_part(request, self._board.logs, logged))

    # Requests

    async def reload(self, asked: ReloadRequest) -> Status:
        """Reload, wait until all has come to rest, and answer with the status of that moment."""
        refs = [self._known(each) for each in asked.plugins]
        if self._backend.now().is_paused and not refs and not asked.everything:
            raise ProblemFound(problems.PAUSED, "resume it first: dagstack-dev resume")
        reload = partial(self._backend.reload, refs, everything=asked.everything)
        try:
            at_rest = await self._calls.run(reload, seconds=asked.timeout_seconds)
        except KindUnknown as error:  # It has gone meanwhile.
            raise ProblemFound(problems.NO_SUCH_PLUGIN, str(error)) from error
        return await self._status(at_rest)

    async def call(self, asked: CallRequest) -> CallAnswer:
        """Call a method of a plugin and answer with its result."""
        return await self._calls.call(self._known(asked.plugin), asked)

    async def prompt(self, asked: PromptRequest) -> PromptAnswer:
        """Answer with a prompt of an MCP server, filled in."""
        return await self._calls.prompt(self._known(asked.plugin), asked)

    async def resource(self, asked: ResourceRequest) -> ResourceAnswer:
        """Answer with what a resource of an MCP server holds."""
        return await self._calls.resource(self._known(asked.plugin), asked)

    async def pause(self, asked: PauseRequest) -> Accepted:
        """Let edits wait, or go on."""
        await self._calls.run(partial(self._backend.pause, paused=asked.paused))
        return Accepted(message="paused: edits wait" if asked.paused else "resumed")

    async def serve_page(self, _: PageRequest) -> PageReport:
        """Serve the dev page, and answer with where it is."""
        try:
            page = await self._calls.run(self._backend.serve_page)
        except OSError as error:
            raise ProblemFound(problems.UNAVAILABLE, str(error)) from error
        return PageReport(url=page.url, file=str(page.file))

    async def open(self, asked: OpenRequest) -> Accepted:
        """Show a place to the owner of the server."""
        roots, snapshot = self._backend.about.roots, self._board.snapshot
        try:
            path = await asyncio.to_thread(own_file, asked.path, roots, snapshot)
            await asyncio.to_thread(self._backend.open, path, asked.line)
        except OSError as error:
            raise ProblemFound(problems.UNAVAILABLE, str(error)) from error
        return Accepted(message=f"opening {path}:{asked.line}")

    async def stop(self, _: StopRequest) -> Accepted:
        """Have the server end."""
        await self._calls.run(self._backend.stop)
        return Accepted(message="the server ends")

    # What they need

    async def note_asker(self, request: Request) -> None:
        """Report who asks for this, if it is an agent."""
        if asked := asked_by(request.headers, await request.body()):
            self._main_loop.post(self._backend.publish, asked)

    def _known(self, text: str, snapshot: ServerSnapshot | None = None) -> PluginRef:
        """Return the plugin called `text`, by kind and name, in `snapshot` or now.

        Raises:
            ProblemFound: there is none.
        """
        refs = {str(ref): ref for ref in (snapshot or self._board.snapshot).plugins}
        if text not in refs:
            hint = did_you_mean(text, refs)
            raise ProblemFound(problems.NO_SUCH_PLUGIN, f"there is no plugin {text!r}{hint}")
        return refs[text]

    def _known_reload(self, number: str) -> Reload:
        """Return the reload of this number.

        Raises:
            ProblemFound: there is none.
        """
        for each in self._board.reloads.all():
            if str(each.first.id) == number:
                return each
        detail = f"no reload {number!r} has ended, or {MOST_RELOADS} have since"
        raise ProblemFound(problems.NO_SUCH_RELOAD, detail)


OfferT = TypeVar("OfferT", bound=Offer)

OFFER_SECONDS: Final = 60.0
"""How long it may take to look at all plugins for the first time."""
