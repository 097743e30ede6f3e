"""What the API needs of the server that it answers for, as Protocols."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from dagstack_dev.core.events import Fact
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.core.snapshot import ServerSnapshot
    from dagstack_dev.runtimes.mcp.catalogue import Prompt, Resource


PANEL_PREFIX: Final = "dev_panel_"
"""Before the name of a method that returns what a panel shows."""


@dataclass(frozen=True, slots=True)
class About:
    """What never changes of a server.

    Attributes:
        version: of this package.
        pid: the process.
        socket: the path of the socket that it answers at.
        started: when, in seconds since the epoch.
        roots: the absolute folders that it watches.
    """

    version: str
    pid: int
    socket: str
    started: float
    roots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """A method that can be called.

    Attributes:
        name: of the method.
        signature: as in its definition, without `self`.
        parameters: the JSON Schema of its arguments, an object; None where that is unknown.
        description: what its docstring says.
        path: the file that it stands in; None where that is unknown, as of a remote plugin.
        line: counted from 1.
    """

    name: str
    signature: str
    parameters: Mapping[str, Any] | None = None
    description: str = ""
    path: str | None = None
    line: int | None = None

    @property
    def panel(self) -> str | None:
        """The title of the panel that it is for, if it is for one."""
        words = self.name.removeprefix(PANEL_PREFIX).replace("_", " ").strip()
        is_panel = self.name.startswith(PANEL_PREFIX) and words
        return words[0].upper() + words[1:] if is_panel else None


@dataclass(frozen=True, slots=True)
class Offered:
    """What a plugin offers and is offered.

    Attributes:
        methods: those that can be called; none where it does not run.
        resources: the names of what it asks for and the app has.
    """

    methods: Sequence[Method] = ()
    resources: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """What can be called by name: a method, or a tool of a server.

    Attributes:
        name: of the method or tool.
        description: for people and models.
        parameters: the JSON Schema of its arguments, an object.
        title: a name to be shown, if its server gives one.
        returns: the JSON Schema of its structured result, likewise.
        annotations: hints such as `readOnlyHint`, likewise, as MCP spells them.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    title: str | None = None
    returns: Mapping[str, Any] | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """The dev page, as it is served.

    Attributes:
        url: its address without the token, which lets no browser in.
        file: a file that only the owner of the server can read; it leads a browser to the address
            with the token.
    """

    url: str
    file: str


@dataclass(frozen=True, slots=True)
class Activity:
    """What a server is doing at one moment.

    Attributes:
        is_busy: whether something that was saved or asked for is being dealt with.
        is_paused: whether edits wait.
        has_edits_waiting: whether some do.
        snapshot: its plugins.
    """

    is_busy: bool
    is_paused: bool
    has_edits_waiting: bool
    snapshot: ServerSnapshot


class Backend(Protocol):
    """The server, as the API sees it. Every method runs in the event loop of the plugins."""

    @property
    def about(self) -> About:
        """What never changes of it. Of any thread."""

    def now(self) -> Activity:
        """Return what it is doing. Of any thread."""

    async def reload(self, refs: Collection[PluginRef], *, everything: bool) -> Activity:
        """Reload `refs`, or `everything`, or what differs on disk, until all has come to rest.

        Edits that wait, for the server is paused, are left alone.

        Returns:
            What it was doing at that very moment; the next edit may come right after it.

        Raises:
            KindUnknown: there is no such plugin.
        """

    async def call(
        self, ref: PluginRef, method: str, arguments: Mapping[str, Any], *, coerce: bool
    ) -> Returned:
        """Call a method of a plugin, or a tool of one that is a server, when calls may pass.

        Args:
            ref: the plugin.
            method: the name of the method or tool.
            arguments: by name.
            coerce: whether they are texts, to be read as the method's annotations say.

        Raises:
            NotCallable: there is no such plugin or method, or it cannot be called now.
            ArgumentsInvalid: the arguments do not fit the method.
            Exception: what the plugin raises.
        """

    async def offered(self, ref: PluginRef) -> Offered:
        """Return what a plugin offers and is offered."""

    async def tools(self, among: Collection[str]) -> Sequence[tuple[PluginRef, Tool]]:
        """Return what plugins offer to be called by name, sorted.

        Of one that is being reloaded or has failed, what it offered before; so for the others.

        Args:
            among: only of these, as `kind/name` or a pattern such as `tool/*`; of all if it is
                empty.
        """

    async def prompts(self, among: Collection[str]) -> Sequence[tuple[PluginRef, Prompt]]:
        """Return the prompts of those that are servers, sorted."""

    async def resources(self, among: Collection[str]) -> Sequence[tuple[PluginRef, Resource]]:
        """Return the resources of those that are servers, sorted."""

    async def prompt(self, ref: PluginRef, name: str, arguments: Mapping[str, str]) -> Returned:
        """Return the messages of a prompt, as MCP has them.

        Args:
            ref: a plugin that is a server.
            name: of the prompt.
            arguments: by name.

        Raises:
            NotCallable: there is no such plugin, it is no server, or it cannot be called now.
            Exception: what the server answers.
        """

    async def resource(self, ref: PluginRef, uri: str) -> Returned:
        """Return the parts of a resource, as MCP has them.

        Args:
            ref: a plugin that is a server.
            uri: of the resource.

        Raises:
            As `prompt`.
        """

    def publish(self, fact: Fact) -> None:
        """Report a fact."""

    def pause(self, *, paused: bool) -> None:
        """Let edits wait, or have those that have waited dealt with."""

    def stop(self) -> None:
        """Have the server end."""

    @property
    def page(self) -> Page | None:
        """The dev page; None while none is served. Of any thread."""

    def serve_page(self) -> Page:
        """Serve the dev page, if it is not served yet.

        Raises:
            OSError: its port is taken.
        """

    def open(self, path: str, line: int) -> None:
        """Show a place to the owner of the server. Of any thread; it may take a second.

        Raises:
            OSError: it cannot be shown.
        """


class ArgumentsInvalid(ValueError):
    """Arguments that do not fit the method that is called.

    Args:
        message: what is wrong, and what to do.
        argument: the one that does not fit; None where they do not fit the signature.
        example: a text that would be read as a value for it; None where none is known.
    """

    def __init__(
        self, message: str, argument: str | None = None, example: str | None = None
    ) -> None:
        super().__init__(message)
        self.argument = argument
        self.example = example


class NotCallable(Exception):
    """A plugin, or one of its methods, cannot be called; `str()` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call has returned.

    Attributes:
        value: the result, as values that JSON has a form for.
        text: its `repr`, where JSON has none.
        content: what a tool of a server has answered, block by block as MCP has it.
    """

    value: Any = None
    text: str | None = None
    content: Sequence[Any] | None = None
