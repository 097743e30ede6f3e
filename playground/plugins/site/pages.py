"""The pages of the site."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from wording.amounts import amount

from .messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .services import Services


class Pages:
    """Answers requests with what the other plugins know."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def answer(self, request: Request) -> Response:
        services = self._services
        services.counters.count("requests")
        if request.method not in {"GET", "HEAD"}:
            return await self._problem(HTTPStatus.METHOD_NOT_ALLOWED)
        match request.path:
            case ():
                title, body = "Documents", self._links(services.documents.titles())
            case ("doc", name) if name in services.documents.titles():
                title, body = services.documents.titles()[name], services.documents.html(name)
            case ("search",):
                title, body = "Search", await self._search(request.query.get("q", ""))
            case ("settings",):
                title, body = "Settings", _table(await services.settings.all())
            case ("stats",):
                title, body = "Statistics", await self._statistics()
            case ("style.css",):
                return Response(services.theme.style(), content_type="text/css")
            case _:
                return await self._problem(HTTPStatus.NOT_FOUND)
        return await self._page(title, body)

    async def _page(self, title: str, body: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
        footer = await self._services.greeter.greet()
        return Response(await self._services.theme.render(title, body, footer), status)

    async def _problem(self, status: HTTPStatus) -> Response:
        return await self._page(status.phrase, f"<h1>{status.phrase}</h1>", status)

    def _links(self, names: Iterable[str]) -> str:
        titles = self._services.documents.titles()
        links = (f'<a href="/doc/{quote(name)}">{escape(titles[name])}</a>' for name in names)
        return "<ul>" + "".join(f"<li>{link}</li>" for link in links) + "</ul>"

    async def _search(self, query: str) -> str:
        field = f'<form><input type="search" name="q" value="{escape(query)}" autofocus></form>'
        found = await self._services.word_index.search(query)
        return f"{field}<p>{amount(len(found), 'document')}</p>{self._links(found)}"

    async def _statistics(self) -> str:
        return (
            "<h2>Library</h2>"
            + _table(await self._services.word_index.statistics())
            + "<h2>Counters</h2>"
            + _table(self._services.counters.snapshot())
        )


def _table(values: Mapping[str, object]) -> str:
    rows = (
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{''.join(rows)}</table>"
