"""What runs in the process of one plugin: a registry of its own that holds just that plugin.

So setup, teardown, what the plugin owns and its timeouts work there as they do in the app. The
plugin's plain methods run on the main thread, one at a time, as those of a `sync` plugin do.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dagstack_dev.app.plugin_connection import Connection
from dagstack_dev.compat.imports import answer_for
from dagstack_dev.core.blame import is_plugin_module
from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.life import PluginCrashed, TeardownErrors
from dagstack_dev.core.errors.remote import NotTransferable, OutOfReach
from dagstack_dev.core.frames import never_suspend
from dagstack_dev.core.manifest.fields import ExecutionModel
from dagstack_dev.core.sources import PluginSource
from dagstack_dev.host.loop.limits import process_clock
from dagstack_dev.host.loop.tasks import new_task
from dagstack_dev.host.plugins.entry import Entry, Revision
from dagstack_dev.host.plugins.sections import section_of
from dagstack_dev.host.registry.registry import Registry
from dagstack_dev.host.services.context import PluginContext, derive_context_for_plugin
from dagstack_dev.host.services.resources import ResourceRegistry
from dagstack_dev.host.services.stores import PluginCheckpoints
from dagstack_dev.runtimes.in_process.plugin_finder import PluginFinder
from dagstack_dev.runtimes.process.logs import (
    RemoteHandler,
    RemoteLogger,
    RemoteProgress,
    Target,
)
from dagstack_dev.runtimes.process.remote_proxy import methods_of
from dagstack_dev.runtimes.process.start_request import pack_carry
from dagstack_dev.runtimes.process.transfer import (
    ContextArgument,
    Kind,
    Message,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.process.start_request import StartRequest

_LOOK_SECONDS: Final = 0.2

_AGES: Final = 10**6
"""Seconds; the app watches over the time that a setup takes, and it began earlier."""


def main(descriptor: int) -> None:
    """Serve the app at the other end of `descriptor`, a socket, until it says to stop."""
    connection = Connection(descriptor)
    request: StartRequest = connection.first_request()
    sys.path[:] = request.sys_path
    if "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _no_terminal
    logging.basicConfig(
        level=request.log_level, handlers=[RemoteHandler(connection.log, request.code.manifest.ref)]
    )
    asyncio.run(Service(request, connection).run())


def _no_terminal(*_: object, **__: object) -> NoReturn:
    msg = (
        "breakpoint() has no terminal in a plugin's process; to debug it, take "
        'execution_model = "async" for that long, or a debugger that is not in the terminal: '
        "see `dagstack-dev docs debugging`"
    )
    raise RuntimeError(msg)


class _NotHere:
    """In the place of the registry, and of a service that could not come.

    Args:
        error: what is raised for the name that is asked for.
    """

    def __init__(self, error: Callable[[str], Exception]) -> None:
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._error(name)


class Service:
    """Runs one plugin and does what the app asks for.

    Args:
        request: what to run.
        connection: to the app.
    """

    def __init__(self, request: StartRequest, connection: Connection) -> None:
        self._request = request
        self._ref = request.code.manifest.ref
        self._connection = connection
        self._finder = PluginFinder(request.code.package.partition(".")[0])
        self._shared = self._finder.shared
        answer_for(self)
        self._resources = ResourceRegistry()
        self._registry = Registry(resource_registry=self._resources, runtimes={})
        self._registry.runner.on_crash = self._crashed
        self._carry: dict[str, Any] = {}
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._reported: set[str] = set()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Set the plugin up, answer calls, and end when that is asked for."""
        loop = asyncio.get_running_loop()
        self._connection.listen(lambda message: loop.call_soon_threadsafe(self._take, message))
        is_up = threading.Event()
        reporter = threading.Thread(target=self._report_held, args=[is_up], daemon=True)
        never_suspend(reporter)
        reporter.start()
        try:
            await self._set_up()
        except Exception as error:  # noqa: BLE001 - the app raises it
            carry, lost = self._packed_carry()
            self._report_imports()
            self._send(Kind.FAILED, ([error, *lost], carry))
            return
        finally:
            is_up.set()
        self._report_imports()
        self._send(Kind.READY, methods_of(self._entry.instance))
        await self._ended.wait()

    def _report_held(self, is_up: threading.Event) -> None:
        """Report to the app how long a debugger has stopped the setup, for its limit is there."""
        while not is_up.wait(_LOOK_SECONDS):
            if held := process_clock.lost_seconds():
                self._send(Kind.HELD, held)

    # Setup and teardown

    async def _set_up(self) -> None:
        for root in self._request.code_roots:
            self._shared.add_root(root, lambda _: False)
        self._shared.modules.exchange({each.path: each for each in self._request.shared})
        for name, packed in self._request.resources.items():
            self._resources.register(name, self._unpack(packed, f"the resource {name!r}"))
        self._registry.register_revisions([self._revision()])
        self._carry = self._entry.carry
        for key, packed in self._request.carry.items():
            self._carry[key] = self._unpack(packed, f"ctx.carry[{key!r}]")
        await self._registry.setup_all(self._context())

    def _revision(self) -> Revision:
        request = self._request
        changes: dict[str, object] = {
            "depends_on": (),
            "execution_model": ExecutionModel.SYNC,
            "startup_timeout_sec": _AGES,
        }
        manifest = request.code.manifest.model_copy(update=changes)
        code = replace(request.code, manifest=manifest, finder=self._finder)
        return Revision(code.manifest, code, PluginSource(code.folder, {}))

    @property
    def _entry(self) -> Entry:
        return self._registry.table.entries[self._ref]

    def _context(self) -> PluginContext:
        services = {
            name: self._service(name, each) for name, each in self._request.services.items()
        }
        if isinstance(services.get("checkpoint"), PluginCheckpoints):
            services["checkpoint"] = services["checkpoint"].store  # It is wrapped once more here.
        if self._request.has_progress:
            services["progress"] = RemoteProgress(self._connection.log, self._ref, Target.PROGRESS)
        section = self._unpack(self._request.config, "its configuration")
        elsewhere = "other plugins live elsewhere; have the caller pass what is needed of them"
        return PluginContext(
            config={self._ref.kind: {self._ref.name: section}},
            logger=RemoteLogger(self._connection.log, self._ref, Target.LOGGER),
            registry=_NotHere(
                lambda name: OutOfReach(self._ref, f"ctx.registry.{name}", elsewhere)
            ),
            **services,
        )

    def _service(self, name: str, packed: bytes | str) -> Any:
        if isinstance(packed, bytes):
            return self._unpack(packed, f"ctx.{name}")
        return _NotHere(lambda _: PluginRegistryError(packed))  # It is the reason.

    async def _tear_down(self) -> None:
        errors: list[BaseException] = []
        try:
            await self._registry.teardown_all()
        except TeardownErrors as error:
            errors += error.errors
        carry, lost = self._packed_carry()
        self._send(Kind.STOPPED, ([*errors, *lost], carry))
        self._ended.set()

    def _packed_carry(self) -> tuple[dict[str, bytes], list[NotTransferable]]:
        """Return what it carries, and what of that cannot go to the app."""
        packed: dict[str, bytes] = {}
        lost: list[NotTransferable] = []
        for key, value in self._carry.items():
            try:
                packed |= pack_carry({key: value}, self._ref)
            except NotTransferable as error:
                lost.append(error)
        return packed, lost

    def _crashed(self, ref: PluginRef, error: BaseException | None) -> None:
        self._registry.runner.crashes.clear()  # The app reports it.
        self._send(Kind.CRASHED, error or PluginCrashed(ref, "its own scope was cancelled"))

    # Calls

    def _take(self, message: Message) -> None:
        match message.kind:
            case Kind.CALL:
                loop = asyncio.get_running_loop()
                self._calls[message.call] = new_task(self._call(message), loop)
            case Kind.CANCEL if message.call in self._calls:
                self._calls[message.call].cancel()
            case Kind.STOP:
                self._connection.send(Kind.STOPPING)
                loop = asyncio.get_running_loop()
                self._calls[message.call] = new_task(self._tear_down(), loop)
            case _:
                pass

    async def _call(self, message: Message) -> None:
        try:
            name, args, kwargs = self._unpack(message.payload, "an argument")
            given = {key: self._argument(each) for key, each in kwargs.items()}
            result = getattr(self._entry.instance, name)(*map(self._argument, args), **given)
            if inspect.isawaitable(result):
                result = await result
            answer = pack(result, ref=self._ref, what=f"what {name}() returns")
        except BaseException as error:  # noqa: BLE001 - the caller in the app gets it
            kind, answer = Kind.ERROR, self._pack(error)
        else:
            kind = Kind.RESULT
        self._report_imports()
        self._connection.send(kind, answer, call=message.call)
        del self._calls[message.call]

    def _argument(self, value: object) -> object:
        """Give a hook that is called with a context the one of this process."""
        if not isinstance(value, ContextArgument):
            return value
        base = self._entry.context
        assert base is not None  # noqa: S101 - there are no calls before the setup
        called = replace(base, metadata=value.metadata)
        ctx = derive_context_for_plugin(called, self._request.code.manifest, self._resources)
        return replace(ctx, config=section_of(self._entry, base))

    # Reports to the app

    def _report_imports(self) -> None:
        """Report what the plugin has imported besides what it was given, so that changes count."""
        imports = self._shared.imports
        names = {*imports.followed(), *imports.missing} - self._reported
        self._reported |= names
        found: dict[str, CodeFile] = {}
        for name in sorted(names):
            path = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(path, str) and not is_plugin_module(name):
                found[name] = self._shared.modules.file(path)
        missing = tuple(sorted(imports.missing & names))
        own = {relative: file for (_, relative), file in self._finder.take_found().items()}
        if found or missing or own:
            self._send(Kind.IMPORTED, (found, missing, own))

    def _send(self, kind: Kind, value: object) -> None:
        self._connection.send(kind, self._pack(value))

    def _pack(self, value: object) -> bytes:
        return pack(value, ref=self._ref, what="what it reports to the app")

    def _unpack(self, data: bytes, what: str) -> Any:
        return unpack(data, ref=self._ref, what=what, own=self._request.code.package)
