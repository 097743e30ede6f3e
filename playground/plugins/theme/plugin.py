"""The look of the site: a page template and a stylesheet."""

from __future__ import annotations

from html import escape
from string import Template
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from dagstack_dev import PluginContext


class Settings(Protocol):
    async def get(self, key: str, default: str = ...) -> str: ...


class Theme:
    """Wraps content into a complete page."""

    _settings: Settings
    _page: Template
    _style: str

    async def setup(self, ctx: PluginContext) -> None:
        self._settings = ctx.registry.get_plugin("store", name="settings")
        folder = anyio.Path(__file__).parent
        self._page = Template(await (folder / "page.html").read_text("utf-8"))
        self._style = await (folder / "style.css").read_text("utf-8")

    async def render(self, title: str, body: str, footer: str) -> str:
        """Return the page; `body` is HTML, `title` and `footer` are plain text."""
        return self._page.substitute(
            site=escape(await self._settings.get("site_title", "Playground")),
            title=escape(title),
            body=body,
            footer=escape(footer),
        )

    def style(self) -> str:
        return self._style
