"""What is wrong with plugins, as agents are told, and the tool `last_error`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import Field

from dagstack_dev.agents.tool import (
    Answer,
    Arguments,
    Call,
    FromPlugin,
    Name,
    Part,
    Text,
    fenced,
    present,
)
from dagstack_dev.core.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST: Final = 20
"""How much that is wrong an agent is told of at once: it is to mend that first."""


class Error(Part):
    """An error, and the place in the plugin's own code."""

    type: Name
    message: Text
    path: Name | None = None
    line: int | None = None

    def in_words(self) -> str:
        """Return it as a line, for `fenced`."""
        place = f"{self.path}:{self.line}"
        is_said = self.path is None or place in self.message
        return present(f"{self.type}: {self.message}", not is_said and f" at {place}", by="")


class CodeLine(Part):
    """A line of code."""

    line: int
    text: Text
    is_here: bool = Field(default=False, description="It is the line that the error is at.")


class Frame(Part):
    """A place in a file, with its code."""

    path: Name
    line: int | None = None
    function: Name | None = None
    code: list[CodeLine] = Field(default_factory=list)

    def in_words(self) -> str:
        """Return it in some lines."""
        return present(
            present(
                self.path,
                self.line and f":{self.line}",
                self.function and f" in {self.function}",
                by="",
            ),
            *(f"{'>' if each.is_here else ' '} {each.line:>4} | {each.text}" for each in self.code),
        )


class AccountPart(Part):
    """A part of what is to be read of an error, as the terminal shows it."""

    kind: str = Field(description="message; place, where it went wrong; caller; or more")
    text: Text = ""
    frame: Frame | None = None


class Wrong(FromPlugin):
    """Something that is wrong, of one plugin or of several that suffer from the same."""

    plugins: list[Name]
    path: Name | None = Field(None, description="What it is about, if it is about no plugin.")
    title: str
    error: Error | None = None
    running: dict[str, int] = Field(
        description="The plugins that go on all the same, with the generation that runs."
    )
    account: list[AccountPart] = Field(
        description="What went wrong and where, with the lines of code."
    )
    blocks: list[Name] = Field(description="The plugins that wait for them.")

    def in_words(self) -> str:
        """Return it in some lines."""
        who = listed(self.plugins) or self.path or "?"
        goes_on = [f"{each} (generation {number})" for each, number in self.running.items()]
        return present(
            f"{who} {self.title}:",
            fenced(read_aloud(self.account)),
            goes_on and f"Meanwhile, what ran before goes on: {listed(goes_on)}.",
            self.blocks and f"These wait for it: {listed(self.blocks)}.",
        )


def read_aloud(account: Iterable[AccountPart]) -> str:
    """Return an account as text, for `fenced`."""
    return present(*(present(each.text, each.frame and each.frame.in_words()) for each in account))


async def what_is_wrong(call: Call, ref: str | None = None) -> list[Wrong]:
    """Return all that is wrong now, or what one plugin suffers from; of very much, the first.

    Of that, what went wrong for many plugins is one thing.
    """
    found = (await call.get("errors"))["failures"]
    concerned = [each for each in found if ref in {None, *each["plugins"], *each["blocks"]}]
    return [Wrong.model_validate(each) for each in concerned[:_MOST]]


class Mended(FromPlugin):
    """An error of a reload, of a plugin that is all right by now."""

    plugin: str
    reload: int = Field(description="The id of the reload.")
    outcome: str
    error: Error


class Errors(Answer):
    """What is wrong now; if nothing is, what was wrong last."""

    wrong: list[Wrong]
    mended: list[Mended] = Field(
        default_factory=list, description="Where nothing is wrong: the last errors of a reload."
    )

    def in_words(self) -> str:
        """Return all of it."""
        return present(
            not self.wrong and "Nothing is wrong now.",
            *(each.in_words() for each in self.wrong),
            *(
                f"Mended since: in reload {each.reload} ({each.outcome}), {each.plugin} had\n"
                + fenced(each.error.in_words())
                for each in self.mended
            ),
        )


class ErrorArguments(Arguments):
    """Of which plugin."""

    plugin: str | None = Field(
        None, description="Only of this one, or of what it waits for: kind/name or the name alone."
    )


async def last_error(call: Call, arguments: ErrorArguments) -> Errors:
    """Return what is wrong now, or else was last."""
    named = arguments.plugin
    ref = None if named is None else await call.ref(named, is_there=True)
    if wrong := await what_is_wrong(call, ref):
        return Errors(wrong=wrong)
    for reload in reversed((await call.get("reloads"))["reloads"]):
        mended = [
            Mended(plugin=plugin, reload=reload["id"], outcome=reload["outcome"], error=error)
            for plugin, error in reload["errors"].items()
            if ref in {None, plugin}
        ]
        if mended:
            return Errors(wrong=[], mended=mended)
    return Errors(wrong=[])
