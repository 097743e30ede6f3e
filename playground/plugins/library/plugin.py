"""The documents next to this file, as Markdown and as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anyio import to_thread

if TYPE_CHECKING:
    from dagstack_dev import PluginContext

DOCUMENTS = Path(__file__).with_name("documents")


class Markdown(Protocol):
    def to_html(self, source: str) -> str: ...
    def title(self, source: str, default: str = ...) -> str: ...


class Counters(Protocol):
    def count(self, event: str) -> None: ...


class Library:
    """Documents by name. HTML is cached: a reload of `markdown` reloads this plugin too."""

    _markdown: Markdown
    _counters: Counters
    _sources: dict[str, str]
    _html: dict[str, str]

    async def setup(self, ctx: PluginContext) -> None:
        self._markdown = ctx.registry.get_plugin("text", name="markdown")
        self._counters = ctx.registry.get_plugin("metrics", name="counters")
        self._sources = await to_thread.run_sync(read_documents, DOCUMENTS)
        self._html = {}
        ctx.logger.info("documents_read", documents=len(self._sources))

    def sources(self) -> dict[str, str]:
        return dict(self._sources)

    def titles(self) -> dict[str, str]:
        return {
            name: self._markdown.title(source, default=name)
            for name, source in self._sources.items()
        }

    def html(self, name: str) -> str:
        """Return the document as HTML; raise KeyError when there is none of that name."""
        if name not in self._html:
            self._html[name] = self._markdown.to_html(self._sources[name])
            self._counters.count("documents_rendered")
        return self._html[name]


def read_documents(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.md"))}
