"""Looks at the plugins: `status`, `graph` and `logs`."""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from dagstack_dev.agents.tool import (
    Answer,
    Arguments,
    Call,
    FromPlugin,
    Name,
    Part,
    Text,
    ToolProblem,
    cut,
    fenced,
    present,
)
from dagstack_dev.core.wording import counted, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_PLUGINS: Final = 100
_MOST_NODES: Final = 1000

_MOST_LOGGED: Final = 50_000
"""Characters of JSON."""


class Plugin(FromPlugin):
    """How one plugin is doing."""

    plugin: str = Field(description="As kind/name.")
    state: str
    generation: int = Field(description="The import that runs, from 1; 0 when none does.")
    is_current: bool = Field(description="It runs what is on disk, and so does what it needs.")
    why: Text | None = Field(None, description="Why it is not current.")
    path: Name | None = Field(None, description="Its folder.")

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Plugin:
        """Return it as the API reports it."""
        receipt, error = report["receipt"], report["error"]
        why = receipt["reason"] or (receipt["because"] or [None])[-1]
        if why is None and error is not None:
            why = f"{error['type']}: {error['message']}"
        return cls(
            plugin=report["plugin"],
            state=report["state"],
            generation=receipt["generation"],
            is_current=receipt["is_current"],
            why=why,
            path=report["path"],
        )

    def in_words(self) -> str:
        """Return it as a line or some more."""
        runs = self.generation and f"generation {self.generation}"
        late = self.generation and self.why and "not what is on disk"
        line = f"{self.plugin}: {present(self.state, runs, late, by=', ')}"
        return line if self.why is None else f"{line}:\n{fenced(self.why)}"


class Server(Part):
    """The dev server that answers."""

    pid: int
    version: str
    roots: list[str] = Field(description="The folders that it watches.")
    page: str | None = Field(None, description="The dev page, for a person's browser.")


class Refused(FromPlugin):
    """Something on disk that is of no plugin, or not in force."""

    path: Name
    why: Text

    def in_words(self) -> str:
        """Return it in some lines."""
        return f"{self.path}:\n{fenced(self.why)}"


class Status(Answer):
    """The dev server and its plugins."""

    server: Server
    is_current: bool = Field(description="Every plugin runs what is on disk.")
    is_busy: bool
    is_paused: bool = Field(description="The owner lets edits wait.")
    blocked_at: str | None = Field(
        None, description="The line that blocks the event loop, if one does."
    )
    refused: list[Refused] = Field(description="What is on disk and of no plugin, or not in force.")
    total: int
    plugins: list[Plugin] = Field(description="Those that are not current first.")
    more: int = Field(description="How many there are besides; name plugins to see them.")

    def in_words(self) -> str:
        """Return the server, and a line for each plugin."""
        server = self.server
        state = "all current" if self.is_current else "not all current"
        return present(
            f"dagstack-dev {server.version} (pid {server.pid}) watches {listed(server.roots)}.",
            f"{counted(self.total, 'plugin')}, {state}.",
            self.is_busy and "Something is being reloaded.",
            self.is_paused and "Edits wait until the owner resumes: dagstack-dev resume",
            self.blocked_at and f"The event loop is blocked at {self.blocked_at}.",
            *(each.in_words() for each in self.refused),
            *(each.in_words() for each in self.plugins),
            self.more and f"and {self.more} more",
        )


class StatusArguments(Arguments):
    """Nothing is needed."""

    plugins: list[str] = Field(
        default_factory=list, description="Only these, as kind/name or the name alone."
    )


async def status(call: Call, arguments: StatusArguments) -> Status:
    """Return how the server and its plugins are doing."""
    found = await call.get("status")
    wanted = {await call.ref(each, is_there=True) for each in arguments.plugins}
    reports = [each for each in found["plugins"] if not wanted or each["plugin"] in wanted]
    refused = [*found["refused"].items()]
    plugins = sorted(map(Plugin.of, reports), key=lambda each: each.is_current)
    left_out = (len(each[_MOST_PLUGINS:]) for each in (plugins, refused))
    return Status(
        server=Server.model_validate(found),
        plugins=plugins[:_MOST_PLUGINS],
        more=sum(left_out),
        blocked_at=found["main_loop"].get("at"),
        refused=[Refused(path=path, why=why) for path, why in refused[:_MOST_PLUGINS]],
        **{name: found[name] for name in ("is_current", "is_busy", "is_paused", "total")},
    )


class Node(Part):
    """A plugin, and what it depends on."""

    plugin: str
    depends_on: list[str]

    def in_words(self) -> str:
        """Return it as a line."""
        return present(self.plugin, self.depends_on and f" -> {', '.join(self.depends_on)}", by="")


class Graph(Answer):
    """What depends on what."""

    plugins: list[Node] = Field(description="Each after all that it depends on.")

    def in_words(self) -> str:
        """Return a line for each plugin."""
        return present(*(each.in_words() for each in self.plugins)) or "There are no plugins."


class GraphArguments(Arguments):
    """Which part of it."""

    around: list[str] = Field(
        default_factory=list,
        description="Only these plugins, what they depend on, and what depends on them.",
    )
    depth: int | None = Field(None, ge=0, description="How many steps from there; by default all.")


async def graph(call: Call, arguments: GraphArguments) -> Graph:
    """Return what depends on what."""
    around = [await call.ref(each) for each in arguments.around]
    found = await call.get("graph", around=around or None, depth=arguments.depth)
    if len(found["nodes"]) > _MOST_NODES:
        number = len(found["nodes"])
        raise ToolProblem(f"that are {number} plugins; ask around some of them, or for less depth")
    depends_on: dict[str, list[str]] = {
        each["plugin"]: [] for each in sorted(found["nodes"], key=lambda each: each["layer"])
    }
    for plugin, other in found["edges"]:
        depends_on[plugin].append(other)
    return Graph(plugins=[Node(plugin=key, depends_on=each) for key, each in depends_on.items()])


class Event(FromPlugin):
    """Something that was logged."""

    id: int
    timestamp: datetime
    level: Name
    event: Text
    fields: dict[Name, Annotated[Any, AfterValidator(cut)]] = Field(default_factory=dict)

    def in_words(self) -> str:
        """Return it as a line, for `fenced`."""
        own = ("logger", "dagstack_dev")  # What is not said is ours.
        said = (each for each in self.fields.items() if each[1] is not None and each != own)
        fields = (f"{name}={value!r}" for name, value in said)
        time = self.timestamp.strftime("%H:%M:%S.%f")[:-3]
        return " ".join([time, self.level, self.event, *fields])


class Logs(Answer):
    """What was logged, events of the lifecycle included."""

    events: list[Event] = Field(description="The newest last; fewer if they are long.")
    last: int = Field(description="The id of the newest of all, to go on after.")

    def in_words(self) -> str:
        """Return a line for each event."""
        if not self.events:
            return "Nothing of this was logged."
        return fenced("\n".join(each.in_words() for each in self.events))


class LogsArguments(Arguments):
    """Which events."""

    plugin: str | None = Field(None, description="Only of this one: kind/name or the name alone.")
    level: Literal["debug", "info", "warning", "error"] | None = Field(
        None, description="Only of this level and above."
    )
    reload: int | None = Field(None, description="Only those during the reload of this id.")
    after: int | None = Field(None, description="Only those after the event of this id.")
    limit: int = Field(50, ge=1, le=1000, description="How many of the newest at most.")


async def logs(call: Call, arguments: LogsArguments) -> Logs:
    """Return the newest of what was logged."""
    given = arguments.model_dump()
    if arguments.plugin is not None:
        given["plugin"] = await call.ref(arguments.plugin)
    found = Logs.model_validate(await call.get("logs", **given))
    sizes = accumulate(len(each.model_dump_json()) for each in reversed(found.events))
    fitting = sum(size <= _MOST_LOGGED for size in sizes)
    return found.model_copy(update={"events": found.events[len(found.events) - fitting :]})
