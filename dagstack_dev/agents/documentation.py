"""Answers from the pages of docs/, as of the installed version: `docs`."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from dagstack_dev import manual
from dagstack_dev.agents.tool import Answer, Arguments, Call, Part, ToolProblem, present

_MOST_CHARACTERS: Final = 20_000
"""Of a text with sections; of a longer one, the beginning is answered, with the sections named."""


class Place(Part):
    """A page or a section that can be asked for."""

    page: str = Field(description="What to ask for, such as logs or logs#traces.")
    title: str
    about: str | None = Field(None, description="Its first sentence, or the line that was found.")

    def in_words(self) -> str:
        """Return it as a line."""
        return present(f"{self.page}: {self.title}", self.about, by=" | ")


class Documentation(Answer):
    """Text of the documentation, or where to look for it."""

    text: str | None = Field(None, description="Markdown.")
    places: list[Place] = Field(
        description="Without arguments all pages; of a search what was found; of a text that is "
        "too long the sections that are not in it."
    )

    def in_words(self) -> str:
        """Return the text, and each place."""
        return present(
            self.text,
            self.text and self.places and "The rest, to be asked for:",
            *(each.in_words() for each in self.places),
        )


class DocsArguments(Arguments):
    """A page, or what to search for, or nothing: all pages."""

    page: str | None = Field(None, description="A page or a section of one: logs, logs#traces.")
    search: str | None = Field(None, description="Words, to find the sections about them.")


async def docs(_: Call, arguments: DocsArguments) -> Documentation:
    """Return a page, a section, what a search finds, or a list of all pages.

    Raises:
        ToolProblem: there is no such page, or two questions are asked.
    """
    page, search = arguments.page, arguments.search
    if page is not None and search is not None:
        raise ToolProblem("ask for a page, or search all of them")
    if search is not None:
        hits = manual.search(search)
        places = [
            Place(page=each.section.address, title=each.section.title, about=each.excerpt)
            for each in hits
        ]
        return Documentation(text=None if hits else f"No page says {search!r}.", places=places)
    if page is None:
        places = [
            Place(page=each.name, title=each.title, about=each.summary) for each in manual.pages()
        ]
        return Documentation(places=places)
    try:
        sections = manual.find(page)
    except manual.NoSuchPage as error:
        raise ToolProblem(f"{error}; without arguments, all pages are listed") from error
    is_long = sum(len(each.text) for each in sections) > _MOST_CHARACTERS
    shown, rest = (sections[:1], sections[1:]) if is_long else (sections, [])
    return Documentation(
        text="".join(each.text for each in shown).rstrip(),
        places=[Place(page=each.address, title=each.title) for each in rest],
    )
