"""What all models have in common, errors and what is wrong, and events."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticSerializationError

from dagstack_dev.disk.accounts import PartKind

Ref = Annotated[str, Field(pattern=r"^[^/]+/[^/]+$", examples=["tool/greeter"])]
"""A plugin, as `kind/name`."""


class Model(BaseModel):
    """What all have in common: nothing unknown is let in, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def json_text(self) -> str:
        """Return it as JSON."""
        try:
            return self.model_dump_json()
        except PydanticSerializationError:  # As for the name of a file that is no UTF-8.
            text = json.dumps(self.model_dump(), default=_text, ensure_ascii=False)
            return text.encode("utf-8", "replace").decode()


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


class Problem(Model):
    """Why there is no other answer (RFC 9457, `application/problem+json`)."""

    type: str = Field(description="What kind of problem, as a name that stays.")
    title: str = Field(description="The same in words.")
    status: int
    detail: str | None = Field(None, description="What is wrong here, and what to do.")
    argument: str | None = Field(None, description="The argument of a method that does not fit.")
    example: str | None = Field(None, description="A text that would fit in its place.")


class ErrorReport(Model):
    """One error."""

    type: str
    message: str
    path: str | None = None
    line: int | None = None


class CodeLineReport(Model):
    """One line of a file, without secrets."""

    line: int = Field(description="Its number, from 1.")
    text: str
    is_here: bool = Field(default=False, description="It is the line that the error is at.")


class FrameReport(Model):
    """A place in a file, with its code."""

    path: str
    line: int | None = Field(description="Null where the whole file is meant.")
    function: str | None = Field(None, description="Its qualified name, if the line is in one.")
    code: list[CodeLineReport] = Field(
        default_factory=list,
        description="The line and those around it, as they ran; of a caller the line alone.",
    )


class AccountPart(Model):
    """A part of what an error is to its reader, as at the terminal: a line of text, or a frame."""

    kind: PartKind = Field(description="message, place, caller or more")
    text: str = ""
    frame: FrameReport | None = None


class Failure(Model):
    """Something that is wrong, of one plugin or of several that suffer from the same."""

    plugins: list[Ref] = Field(default_factory=list)
    path: str | None = Field(
        None, description="What it is about instead: a file or folder, or a name without a plugin."
    )
    title: str = Field(description="What is wrong, behind their names.")
    error: ErrorReport | None = None
    running: dict[str, int] = Field(
        default_factory=dict, description="Of those that run all the same, the generation."
    )
    account: list[AccountPart] = Field(
        default_factory=list, description="What is wrong and where, frame by frame."
    )
    blocks: list[str] = Field(
        default_factory=list, description="What waits for them, directly or through others."
    )


class Failures(Model):
    """All that is wrong; of plugins that wait for others, only what they wait for."""

    failures: list[Failure]


class Event(Model):
    """One event, as docs/logs.md lists them."""

    id: int
    timestamp: datetime
    level: str
    event: str
    fields: dict[str, Any] = Field(default_factory=dict)


class Events(Model):
    """Events, the newest last."""

    events: list[Event]
    last: int = Field(description="The id of the newest of all, to go on after.")


class PageReport(Model):
    """The dev page."""

    url: str = Field(description="Its address without the token, which lets no browser in.")
    file: str = Field(description="A file of yours alone that leads a browser to it.")


class Accepted(Model):
    """It is done, or has begun."""

    message: str
