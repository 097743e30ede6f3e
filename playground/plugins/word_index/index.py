"""An inverted index."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_WORD = re.compile(r"[^\W\d_]+")


def words(text: str) -> Iterator[str]:
    return (match[0].casefold() for match in _WORD.finditer(text))


class Index:
    """How often each word occurs in each document, without the stopwords."""

    def __init__(self, documents: Mapping[str, str], stopwords: Collection[str]) -> None:
        self._occurrences: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._totals: Counter[str] = Counter()
        self.document_count = len(documents)
        for name, text in documents.items():
            for word in words(text):
                if word not in stopwords:
                    self._occurrences[word][name] += 1
                    self._totals[word] += 1

    @property
    def word_count(self) -> int:
        return self._totals.total()

    def most_common(self, limit: int) -> list[tuple[str, int]]:
        return self._totals.most_common(limit)

    def search(self, query: str) -> list[str]:
        scores: Counter[str] = Counter()
        for word in set(words(query)):
            scores.update(self._occurrences.get(word, {}))
        return [name for name, _ in scores.most_common()]
