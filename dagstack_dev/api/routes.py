"""What can be asked: one table of routes, from which the app and its OpenAPI document are made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dagstack_dev.api import problems
from dagstack_dev.api.answers import Api
from dagstack_dev.api.board import MOST_RELOADS
from dagstack_dev.api.models.base import Accepted, Event, Events, Failures, Model, PageReport
from dagstack_dev.api.models.offers import (
    CallAnswer,
    Panels,
    PromptAnswer,
    Prompts,
    ResourceAnswer,
    Resources,
    Tools,
)
from dagstack_dev.api.models.plugins import Graph, PluginDetail, Status
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
from dagstack_dev.api.problems import ProblemFound

if TYPE_CHECKING:
    from starlette.requests import Request

_CLIENT_GONE: Final = 499
"""A status that no client gets, as some servers have it in their logs."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter in the query of a request; `default` also says of which type it is."""

    name: str
    default: Any
    description: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One thing that can be asked.

    Attributes:
        method: of HTTP.
        path: below the socket.
        summary: what it does.
        handler: answers it.
        answer: the model of the answer; of each event where it `streams`.
        body: the model of the request, if it has one.
        query: its parameters.
        streams: whether it answers with server-sent events, without end.
        problems: what may be in the way.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[Api, Request], Awaitable[Model | Response]]
    answer: type[Model]
    body: type[Model] | None = None
    query: tuple[Query, ...] = ()
    streams: bool = False
    problems: tuple[problems.Kind, ...] = ()

    @property
    def name(self) -> str:
        """The name of the operation."""
        return self.handler.__name__


_AFTER = Query("after", 0, "Only what came after the event with this id.")
_FROM = Query("after", 0, "Begin after the event with this id; by default, with what comes now.")
_SELECT = (
    Query("plugin", "", "Only of this plugin, as kind/name."),
    Query("level", "", "Only of this level and above: debug, info, warning, error."),
)
_AMONG = (Query("plugin", "", "Only of this one, or of those like `tool/*`; may be repeated."),)
_SOME = (_AFTER, *_SELECT, Query("limit", 200, "How many at most."))

ENDPOINTS: Final = (
    Endpoint("GET", "/api/status", "The server and all its plugins.", Api.status, Status),
    Endpoint(
        "GET",
        "/api/plugins/{kind}/{name}",
        "Everything about one plugin.",
        Api.plugin,
        PluginDetail,
        problems=(problems.NO_SUCH_PLUGIN, problems.TIMED_OUT),
    ),
    Endpoint(
        "GET",
        "/api/plugins/{kind}/{name}/panels",
        "What the panels of a plugin show now.",
        Api.panels,
        Panels,
        problems=(problems.NO_SUCH_PLUGIN, problems.TIMED_OUT),
    ),
    Endpoint(
        "GET",
        "/api/tools",
        "What plugins offer to be called by name.",
        Api.tools,
        Tools,
        query=_AMONG,
        problems=(problems.TIMED_OUT,),
    ),
    Endpoint(
        "GET",
        "/api/prompts",
        "The prompts of plugins that are MCP servers.",
        Api.prompts,
        Prompts,
        query=_AMONG,
        problems=(problems.TIMED_OUT,),
    ),
    Endpoint(
        "GET",
        "/api/resources",
        "The resources of plugins that are MCP servers.",
        Api.resources,
        Resources,
        query=_AMONG,
        problems=(problems.TIMED_OUT,),
    ),
    Endpoint(
        "GET",
        "/api/graph",
        "What depends on what, and where each plugin stands in a picture.",
        Api.graph,
        Graph,
        query=(
            Query("around", "", "Only this plugin and what it is connected with; may be repeated."),
            Query("depth", 0, "How many steps up and down from there; by default all."),
            Query("fold", "", "Make one node of the plugins of a kind or a folder."),
            Query("open", "", "But not of this group; may be repeated."),
        ),
        problems=(problems.NO_SUCH_PLUGIN,),
    ),
    Endpoint(
        "GET", "/api/errors", "All that is wrong, with the lines of code.", Api.errors, Failures
    ),
    Endpoint(
        "GET",
        "/api/reloads",
        "The last reloads, by steps.",
        Api.reloads,
        Reloads,
        query=(Query("limit", MOST_RELOADS, "How many at most."),),
    ),
    Endpoint(
        "GET",
        "/api/reloads/{id}",
        "Everything about one reload.",
        Api.reload_by_id,
        ReloadDetail,
        problems=(problems.NO_SUCH_RELOAD,),
    ),
    Endpoint(
        "GET",
        "/api/trace",
        "The last reloads in the Trace Event Format, for Perfetto and `chrome://tracing`.",
        Api.trace,
        TraceReport,
        query=(Query("reload", "", "Only the reload of this id."),),
        problems=(problems.NO_SUCH_RELOAD,),
    ),
    Endpoint(
        "GET",
        "/api/events",
        "Lifecycle events as they happen; `Last-Event-ID` or `after` resumes.",
        Api.events,
        Event,
        query=(
            _FROM,
            *_SELECT,
            Query("log", "", "Also what is logged of this plugin, as messages of the type `log`."),
            Query("log_after", 0, "Of that, begin after the event with this id."),
        ),
        streams=True,
    ),
    Endpoint(
        "GET",
        "/api/events/last",
        "The newest lifecycle events.",
        Api.last_events,
        Events,
        query=_SOME,
    ),
    Endpoint(
        "GET",
        "/api/logs",
        "The newest of what was logged.",
        Api.logs,
        Events,
        query=(*_SOME, Query("reload", "", "Only what was logged during the reload of this id.")),
        problems=(problems.NO_SUCH_RELOAD,),
    ),
    Endpoint(
        "GET",
        "/api/logs/stream",
        "What is logged, as it happens; `Last-Event-ID` or `after` resumes.",
        Api.log_stream,
        Event,
        query=(_FROM, *_SELECT),
        streams=True,
    ),
    Endpoint(
        "POST",
        "/api/reload",
        "Reload plugins, or take in what is on disk; answers when all has come to rest.",
        Api.reload,
        Status,
        ReloadRequest,
        problems=(problems.NO_SUCH_PLUGIN, problems.PAUSED, problems.TIMED_OUT),
    ),
    Endpoint(
        "POST",
        "/api/call",
        "Call a method of a plugin.",
        Api.call,
        CallAnswer,
        CallRequest,
        problems=(problems.NO_SUCH_PLUGIN, problems.NOT_CALLABLE, problems.TIMED_OUT),
    ),
    Endpoint(
        "POST",
        "/api/prompt",
        "Get a prompt of a plugin that is an MCP server.",
        Api.prompt,
        PromptAnswer,
        PromptRequest,
        problems=(problems.NO_SUCH_PLUGIN, problems.NOT_CALLABLE, problems.TIMED_OUT),
    ),
    Endpoint(
        "POST",
        "/api/resource",
        "Read a resource of a plugin that is an MCP server.",
        Api.resource,
        ResourceAnswer,
        ResourceRequest,
        problems=(problems.NO_SUCH_PLUGIN, problems.NOT_CALLABLE, problems.TIMED_OUT),
    ),
    Endpoint(
        "POST",
        "/api/pause",
        "Let edits wait, or go on.",
        Api.pause,
        Accepted,
        PauseRequest,
        problems=(problems.TIMED_OUT,),
    ),
    Endpoint(
        "POST",
        "/api/page",
        "Serve the dev page, if it is not served yet.",
        Api.serve_page,
        PageReport,
        PageRequest,
        problems=(problems.UNAVAILABLE, problems.TIMED_OUT),
    ),
    Endpoint(
        "POST",
        "/api/open",
        "Open a file in the editor of the server's owner.",
        Api.open,
        Accepted,
        OpenRequest,
        problems=(problems.NO_SUCH_FILE, problems.UNAVAILABLE),
    ),
    Endpoint(
        "POST",
        "/api/stop",
        "Have the server end.",
        Api.stop,
        Accepted,
        StopRequest,
        problems=(problems.TIMED_OUT,),
    ),
)


def make_app(api: Api, openapi: Mapping[str, Any]) -> Starlette:
    """Return the app that answers with what `api` does.

    Args:
        api: answers.
        openapi: the document that describes it, at `/api/openapi.json`.
    """

    async def describe(_: Request) -> Response:
        return JSONResponse(openapi)

    def route(endpoint: Endpoint) -> Route:
        async def handle(request: Request) -> Response:
            if endpoint.body is None:
                answer = await endpoint.handler(api, request)
            else:
                await api.note_asker(request)
                answer = await _while_connected(request, endpoint.handler(api, request))
            if isinstance(answer, Response):
                return answer
            return Response(answer.json_text(), media_type="application/json")

        return Route(endpoint.path, handle, methods=[endpoint.method], name=endpoint.name)

    app = Starlette(
        routes=[*map(route, ENDPOINTS), Route("/api/openapi.json", describe)],
        exception_handlers={
            ProblemFound: _on_problem,
            HTTPException: _on_http,
            Exception: _on_defect,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _while_connected(
    request: Request, answering: Awaitable[Model | Response]
) -> Model | Response:
    """Return the answer to a request with a body; end what makes it once nobody waits for it."""
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(request.receive())  # After the body, all that may come is the end.
    try:
        await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        return await answer if answer.done() else Response(status_code=_CLIENT_GONE)
    finally:
        answer.cancel()
        gone.cancel()


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemFound)  # noqa: S101 - it is registered for these
    return error.response()


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    kind = problems.NOT_FOUND._replace(status=error.status_code, title=error.detail)
    if error.status_code != problems.NOT_FOUND.status:
        kind = kind._replace(name="refused")
    known = ", ".join(sorted({each.path for each in ENDPOINTS}))
    detail = f"{request.method} {request.url.path}; there are {known}"
    answer = ProblemFound(kind, detail).response()
    answer.headers.update(error.headers or {})
    return answer


async def _on_defect(_: Request, error: Exception) -> Response:
    return ProblemFound(problems.DEFECT, f"{type(error).__name__}: {error}").response()
