"""What can be asked: one table of routes, from which the app and its OpenAPI document are made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, get_type_hints

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dagstack_dev.api.answers import Api
from dagstack_dev.api.board import MOST_RELOADS
from dagstack_dev.api.models.base import Event, Model
from dagstack_dev.api.problems import (
    BAD_REQUEST,
    DEFECT,
    NO_SUCH_FILE,
    NO_SUCH_PLUGIN,
    NO_SUCH_RELOAD,
    NOT_CALLABLE,
    NOT_FOUND,
    PAUSED,
    TIMED_OUT,
    UNAVAILABLE,
    Kind,
    ProblemFound,
)

_CLIENT_GONE: Final = 499
"""A status that no client gets, as some servers have it in their logs."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter in the query of a request; `default` also says of which type it is."""

    name: str
    default: Any
    description: str


@dataclass(frozen=True)
class Endpoint:
    """One thing that can be asked; the annotations of its handler say with what, and for what.

    Attributes:
        path: below the socket.
        handler: answers it, given the request, or the model of its body if it has one.
        summary: what it does.
        problems: what may be in the way.
        query: its parameters.
    """

    path: str
    handler: Callable[[Api, Any], Awaitable[Model | Response]]
    summary: str
    problems: tuple[Kind, ...] = ()
    query: tuple[Query, ...] = ()

    @property
    def name(self) -> str:
        """The name of the operation."""
        return self.handler.__name__

    @property
    def method(self) -> str:
        """The method of HTTP."""
        return "GET" if self.body is None else "POST"

    @property
    def body(self) -> type[Model] | None:
        """The model of the request, if it has one."""
        asked, _ = self._types
        return None if asked is Request else asked

    @property
    def streams(self) -> bool:
        """Whether it answers with server-sent events, without end."""
        _, answer = self._types
        return answer is Response

    @property
    def answer(self) -> type[Model]:
        """The model of the answer; of each event where it `streams`."""
        _, answer = self._types
        return Event if self.streams else answer

    @cached_property
    def _types(self) -> tuple[type[Any], type[Any]]:
        """What its handler takes and returns."""
        taken, returned = get_type_hints(self.handler).values()
        return taken, returned


_AFTER = Query("after", 0, "Only what came after the event with this id.")
_FROM = Query("after", 0, "Begin after the event with this id; by default, with what comes now.")
_SELECT = (
    Query("plugin", "", "Only of this plugin, as kind/name."),
    Query("level", "", "Only of this level and above: debug, info, warning, error."),
)
_AMONG = (Query("plugin", "", "Only of this one, or of those like `tool/*`; may be repeated."),)
_SOME = (_AFTER, *_SELECT, Query("limit", 200, "How many at most."))
_CALLED = (NO_SUCH_PLUGIN, NOT_CALLABLE, TIMED_OUT)

ENDPOINTS: Final = (
    Endpoint("/api/status", Api.status, "The server and all its plugins."),
    Endpoint(
        "/api/plugins/{kind}/{name}",
        Api.plugin,
        "Everything about one plugin.",
        (NO_SUCH_PLUGIN, TIMED_OUT),
    ),
    Endpoint(
        "/api/plugins/{kind}/{name}/panels",
        Api.panels,
        "What the panels of a plugin show now.",
        (NO_SUCH_PLUGIN, TIMED_OUT),
    ),
    Endpoint(
        "/api/tools", Api.tools, "What plugins offer to be called by name.", (TIMED_OUT,), _AMONG
    ),
    Endpoint(
        "/api/prompts",
        Api.prompts,
        "The prompts of plugins that are MCP servers.",
        (TIMED_OUT,),
        _AMONG,
    ),
    Endpoint(
        "/api/resources",
        Api.resources,
        "The resources of plugins that are MCP servers.",
        (TIMED_OUT,),
        _AMONG,
    ),
    Endpoint(
        "/api/graph",
        Api.graph,
        "What depends on what, and where each plugin stands in a picture.",
        (NO_SUCH_PLUGIN,),
        (
            Query("around", "", "Only this plugin and what it is connected with; may be repeated."),
            Query("depth", 0, "How many steps up and down from there; by default all."),
            Query("fold", "", "Make one node of the plugins of a kind or a folder."),
            Query("open", "", "But not of this group; may be repeated."),
        ),
    ),
    Endpoint("/api/errors", Api.errors, "All that is wrong, with the lines of code."),
    Endpoint(
        "/api/reloads",
        Api.reloads,
        "The last reloads, by steps.",
        query=(Query("limit", MOST_RELOADS, "How many at most."),),
    ),
    Endpoint(
        "/api/reloads/{id}", Api.reload_by_id, "Everything about one reload.", (NO_SUCH_RELOAD,)
    ),
    Endpoint(
        "/api/trace",
        Api.trace,
        "The last reloads in the Trace Event Format, for Perfetto and `chrome://tracing`.",
        (NO_SUCH_RELOAD,),
        (Query("reload", "", "Only the reload of this id."),),
    ),
    Endpoint(
        "/api/events",
        Api.events,
        "Lifecycle events as they happen; `Last-Event-ID` or `after` resumes.",
        query=(
            _FROM,
            *_SELECT,
            Query("log", "", "Also what is logged of this plugin, as messages of the type `log`."),
            Query("log_after", 0, "Of that, begin after the event with this id."),
        ),
    ),
    Endpoint(
        "/api/events/last",
        Api.last_events,
        "The newest lifecycle events.",
        (NO_SUCH_PLUGIN,),
        query=_SOME,
    ),
    Endpoint(
        "/api/logs",
        Api.logs,
        "The newest of what was logged.",
        (NO_SUCH_PLUGIN, NO_SUCH_RELOAD),
        (*_SOME, Query("reload", "", "Only what was logged during the reload of this id.")),
    ),
    Endpoint(
        "/api/logs/stream",
        Api.log_stream,
        "What is logged, as it happens; `Last-Event-ID` or `after` resumes.",
        query=(_FROM, *_SELECT),
    ),
    Endpoint(
        "/api/reload",
        Api.reload,
        "Reload plugins, or take in what is on disk; answers when all has come to rest.",
        (NO_SUCH_PLUGIN, PAUSED, TIMED_OUT),
    ),
    Endpoint("/api/call", Api.call, "Call a method of a plugin.", _CALLED),
    Endpoint("/api/prompt", Api.prompt, "Get a prompt of a plugin that is an MCP server.", _CALLED),
    Endpoint(
        "/api/resource", Api.resource, "Read a resource of a plugin that is an MCP server.", _CALLED
    ),
    Endpoint("/api/pause", Api.pause, "Let edits wait, or go on.", (TIMED_OUT,)),
    Endpoint(
        "/api/page",
        Api.serve_page,
        "Serve the dev page, if it is not served yet.",
        (UNAVAILABLE, TIMED_OUT),
    ),
    Endpoint(
        "/api/open",
        Api.open,
        "Open a file in the editor of the server's owner.",
        (NO_SUCH_FILE, UNAVAILABLE),
    ),
    Endpoint("/api/stop", Api.stop, "Have the server end.", (TIMED_OUT,)),
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
                asked = await _body(request, endpoint.body)
                answer = await _while_connected(request, endpoint.handler(api, asked))
            if isinstance(answer, Response):
                return answer
            return Response(answer.json_text(), media_type="application/json")

        return Route(endpoint.path, handle, methods=[endpoint.method], name=endpoint.name)

    app = Starlette(
        routes=[*map(route, ENDPOINTS), Route("/api/openapi.json", describe)],
        exception_handlers={
            ProblemFound: _on_problem,
            HTTPException: _on_http,
            ClientDisconnect: _on_gone,
            Exception: _on_defect,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _body(request: Request, model: type[Model]) -> Model:
    """Return what the body says; an empty one is that of a request without fields.

    Raises:
        ProblemFound: it does not fit; field by field, why.
    """
    try:
        return model.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors()
        ]
        raise ProblemFound(BAD_REQUEST, "; ".join(wrong)) from error


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
    kind = NOT_FOUND._replace(status=error.status_code, title=error.detail)
    if error.status_code != NOT_FOUND.status:
        kind = kind._replace(name="refused")
    known = ", ".join(sorted({each.path for each in ENDPOINTS}))
    detail = f"{request.method} {request.url.path}; there are {known}"
    answer = ProblemFound(kind, detail).response()
    answer.headers.update(error.headers or {})
    return answer


async def _on_gone(_: Request, __: Exception) -> Response:
    """Answer who has gone before all of the request was there."""
    return Response(status_code=_CLIENT_GONE)


async def _on_defect(_: Request, error: Exception) -> Response:
    return ProblemFound(DEFECT, f"{type(error).__name__}: {error}").response()
