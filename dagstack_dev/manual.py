"""The pages of docs/, as this installation has them: what there is, reading one, searching all."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADING: Final = re.compile(r"(#{1,6}) (.*)")
_WORD: Final = re.compile(r"\w+")
_EXCERPT_CHARACTERS: Final = 240

_TITLE_WEIGHT: Final = 5
"""How often a word of a title counts."""

_PREFIX_LENGTH: Final = 3
"""How long a word is at least that also finds longer ones."""

_SATURATION: Final = 1.2
"""Of BM25, usually `k1`: the smaller, the less it matters how often a word stands in a section."""

_LENGTH: Final = 0.75
"""Of BM25, usually `b`: how much a long section loses, from 0 to 1."""


class NoSuchPage(LookupError):
    """There is no page, or no section of a page, of this name."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it, up to the next heading.

    Attributes:
        page: the name of its page, such as `logs`.
        title: the heading.
        level: of the heading; that of the page is 1.
        anchor: what follows the `#` in a link to it; empty for the first of a page.
        text: all lines, with the heading.
    """

    page: str
    title: str
    level: int
    anchor: str
    text: str

    @property
    def address(self) -> str:
        """What `read` finds it by, such as `logs#traces`."""
        return f"{self.page}#{self.anchor}" if self.anchor else self.page


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        name: of its file, without `.md`.
        sections: all of them, in order; the first is what stands below the title of the page.
    """

    name: str
    sections: Sequence[Section]

    @property
    def title(self) -> str:
        """The heading of the page."""
        return self.sections[0].title

    @property
    def summary(self) -> str:
        """The first sentence of the page."""
        bodies = (each.text.partition("\n")[2] for each in self.sections)
        paragraph = next(filter(None, map(_first_paragraph, bodies)), "")
        return re.split(r"(?<=\.) ", paragraph)[0].removesuffix(":")

    @property
    def text(self) -> str:
        """The page as it is in its file."""
        return "".join(each.text for each in self.sections)


@dataclass(frozen=True, slots=True)
class Hit:
    """A section that a search has found, and the line of it that says most of what was asked."""

    section: Section
    excerpt: str


def pages() -> list[Page]:
    """Return all pages, by name."""
    return [Page(name, [*_sections(file)]) for name, file in _files().items()]


def read(address: str) -> str:
    """Return the text of a page, or of a section with all below it; see `find`."""
    return "".join(each.text for each in find(address)).rstrip()


def find(address: str) -> Sequence[Section]:
    """Return the sections of a page, or a section and all below it.

    Args:
        address: as links in the pages are written, or shorter: `logs`, `logs.md`,
            `docs/logs.md#traces`, `logs#Traces`. The first words of a heading will do where no
            other begins with them: `checks#D301`.

    Raises:
        NoSuchPage: there is none; the message names one that is nearly called so.
    """
    path, _, heading = address.partition("#")
    name = path.removeprefix("docs/").removesuffix(".md")
    files = _files()
    if name not in files:
        raise NoSuchPage(f"there is no page {name!r}{did_you_mean(name, [*files])}")
    sections = [*_sections(files[name])]
    anchors = [each.anchor for each in sections]
    wanted = _anchor(heading)  # That of a page is empty.
    begun = [each for each in anchors if each.startswith(f"{wanted}-")]
    if wanted not in anchors and len(begun) != 1:
        hint = did_you_mean(wanted, anchors)
        raise NoSuchPage(f"there is no section {heading!r} in the page {name!r}{hint}")
    first, *rest = sections[anchors.index(wanted if wanted in anchors else begun[0]) :]
    return [first, *takewhile(lambda each: each.level > first.level, rest)]


def search(words: str, *, limit: int = 8) -> list[Hit]:
    """Return the sections that are most about some words, the best first.

    They are ranked by BM25. A word also finds longer ones that begin with it.
    """
    asked = {each.lower() for each in _WORD.findall(words)}
    sections = [section for page in pages() for section in page.sections]
    written = [_WORD.findall(each.text.lower()) for each in sections]
    counted = [_counted(each, text, asked) for each, text in zip(sections, written, strict=True)]
    having = Counter(word for counts in counted for word in counts)
    usual_length = sum(map(len, written)) / len(sections)

    def score(counts: Counter[str], length: int) -> float:
        slack = _SATURATION * (1 - _LENGTH + _LENGTH * length / usual_length)
        return sum(
            math.log(1 + len(sections) / having[word]) * times / (times + slack)
            for word, times in counts.items()
        )

    scores = [score(counts, len(text)) for counts, text in zip(counted, written, strict=True)]
    best = sorted(zip(scores, sections, strict=True), key=lambda each: -each[0])[:limit]
    return [Hit(section, _excerpt(section, asked)) for score, section in best if score]


def _files() -> dict[str, Path]:
    """Return the file of each page: of an installation, or of a checkout."""
    package = Path(__file__).parent
    folder = next(filter(Path.is_dir, (package / "docs", package.parent / "docs")))
    return {each.stem: each for each in sorted(folder.glob("*.md"))}


def _sections(file: Path) -> Iterator[Section]:
    """Yield the sections of a page; a `#` within a block of code begins none."""
    starts: list[tuple[int, str, int]] = []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    is_code = False
    for number, line in enumerate(lines):
        is_code ^= line.startswith("```")
        found = None if is_code else _HEADING.match(line)
        if found is not None:
            starts.append((number, found[2], len(found[1])))
    ends = [number for number, _, _ in starts[1:]] + [len(lines)]
    for (number, title, level), end in zip(starts, ends, strict=True):
        anchor = _anchor(title) if level > 1 else ""
        yield Section(file.stem, title, level, anchor, "".join(lines[number:end]))


def _anchor(heading: str) -> str:
    """Return what GitHub links a heading by: lower case, hyphens, no punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _without_links(text: str) -> str:
    return re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)


def _first_paragraph(text: str) -> str:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).strip()
    return " ".join(_without_links(prose.split("\n\n")[0]).split())


def _counted(section: Section, written: list[str], asked: set[str]) -> Counter[str]:
    """Count the words asked for: in the text, and more so in the titles."""
    weights = Counter(written)
    for word in _WORD.findall(f"{section.page} {section.title}".lower()):
        weights[word] += _TITLE_WEIGHT
    counts: Counter[str] = Counter()
    for word, times in weights.items():
        for each in asked:
            if word == each or (len(each) >= _PREFIX_LENGTH and word.startswith(each)):
                counts[each] += times
    return counts


def _excerpt(section: Section, asked: set[str]) -> str:
    """Return the line that has most of the words, without the heading where there is another."""

    def found(line: str) -> int:
        return sum(re.search(rf"\b{each}", line.lower()) is not None for each in asked)

    heading, *lines = section.text.splitlines()
    best = max(lines, key=found, default=heading)
    words = _without_links(best if found(best) else heading).strip("#|- ")
    return words if len(words) <= _EXCERPT_CHARACTERS else f"{words[:_EXCERPT_CHARACTERS]}..."
