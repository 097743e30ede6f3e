"""Full-text search and statistics over the library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wording.amounts import amount

from .index import Index, words

if TYPE_CHECKING:
    from dagstack_dev import PluginContext

STOPWORDS = Path(__file__).with_name("stopwords.txt")


class Library(Protocol):
    def sources(self) -> dict[str, str]: ...


class WordIndex:
    """Indexes every document once, in `setup`, which runs in a worker thread."""

    _index: Index

    def setup(self, ctx: PluginContext) -> None:
        library: Library = ctx.registry.get_plugin("content", name="library")
        stopwords = frozenset(words(STOPWORDS.read_text("utf-8")))
        self._index = Index(library.sources(), stopwords)
        ctx.logger.info("indexed", words=self._index.word_count)

    def search(self, query: str) -> list[str]:
        """Return the names of the documents with any word of the query, best match first."""
        return self._index.search(query)

    def statistics(self) -> dict[str, str]:
        common = self._index.most_common(5)
        return {
            "Indexed": amount(self._index.word_count, "word"),
            "Documents": str(self._index.document_count),
            "Most frequent": ", ".join(f"{word} ({count})" for word, count in common),
        }
