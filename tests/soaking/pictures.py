"""What runs, as data that can be compared across processes."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from serving import namespace

from dagstack_dev import PluginRef, State, unwrap
from dagstack_dev.core.lifecycle import Stage
from soaking.host import WORKER, Host, kinds
from soaking.modules import MODULES, around

Picture = dict[str, Any]
"""Nothing but what JSON can hold; see `picture`."""

_OF_THE_SERVER = ("dagstack_dev.disk.", "dagstack_dev.app.server.DevServer._call_later")
"""Tasks that look at the disk, and timers: how many there are is nobody's business."""


def picture(host: Host) -> Picture:
    """Everything that can be told of what runs, `plugins` by ref."""
    statuses = host.server.statuses()
    return {
        "plugins": {str(ref): _plugin(host, ref) for ref in statuses},
        "modules": _modules(namespace(host.registry)),
        "packages": [name for name in MODULES if hasattr(sys.modules.get(name), "__path__")],
        "workers": sorted(name for name in _activities() if name.startswith(WORKER)),
        "others": sorted({n for n in _activities() if not n.startswith((WORKER, *_OF_THE_SERVER))}),
    }


def _plugin(host: Host, ref: PluginRef) -> dict[str, Any]:
    table = host.registry.table
    status = host.server.statuses()[ref]
    seen: dict[str, Any] = {
        "state": str(status.state),
        "pending": status.pending,
        "stage": status.stage and str(status.stage),
        "blocked_by": list(status.blocked_by),
        "folder": status.path and str(Path(status.path).relative_to(host.server.roots[0])),
        "error": str(status.error) if status.error is not None else None,
        "kind": kinds(status.error),
        "crashed": status.stage is Stage.RUN,
    }
    if status.state is State.READY:
        proxy = host.registry.get_plugin(*ref)
        plugin = unwrap(proxy)
        versions = _versions(proxy)
        seen |= {
            "versions": versions,
            "shared": _shared(host, versions.pop("shared", {})),
            "serial": plugin.serial,
            "wired": plugin.wired,
            "borrowed": plugin.borrowed,
            "worker": plugin.worker,
            "depends_on": [str(other) for other in table.graph.dependencies(ref)],
            "priority": table.entries[ref].manifest.priority,
            "setup": list(host.setups[str(ref)]),
            "ended": table.setup_order[ref],
        }
    return seen


def _versions(proxy: Any) -> dict[str, Any]:
    """What `probe` tells; it may import something that cannot be imported."""
    try:
        found: dict[str, Any] = proxy.probe()
    except Exception as error:  # noqa: BLE001 - what plugins and modules are made to raise
        return {"plugin": proxy.version, "probe": type(error).__name__}
    return found


def _shared(host: Host, found: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The shared modules that a plugin reaches, with what it has got of each.

    That is one version, or "missing". Anything else is told besides: that it is no longer the
    module that imports find, or not the one in its package.
    """
    seen = {name: set(versions) for name, versions in found.items()}
    for name in found:
        for package in around(name):  # They run first, whether `name` is in them or not.
            outer = sys.modules.get(package)
            seen.setdefault(package, set()).add(getattr(outer, "VERSION", "missing"))
        module = sys.modules.get(name)
        if module is None:
            continue
        if hasattr(module, "told"):  # Not so for a folder whose `__init__.py` has gone.
            host.modules.add(module.told)
        package, _, last = name.rpartition(".")
        outer = sys.modules.get(package)  # None when it failed after its part was loaded.
        if outer is not None and getattr(outer, last, None) is not module:
            seen[name].add("not in its package")
    return {name: sorted(versions) for name, versions in seen.items()}


def replaced(modules: Iterable[FunctionType]) -> list[FunctionType]:
    """Those functions `told` whose module is not what imports find."""
    return [
        told
        for told in modules
        if getattr(sys.modules.get(told.__module__), "told", None) is not told
    ]


def _modules(prefix: str) -> dict[str, str | None]:
    """The version of every plugin module, by its name without the registry's part."""
    return {
        name.removeprefix(prefix): vars(module).get("VERSION")
        for name, module in sys.modules.copy().items()
        if name == prefix or name.startswith(prefix + ".")
    }


def _activities() -> list[str]:
    """The name of every thread and task but ours; what has a number only goes by its code."""
    ours = asyncio.current_task()
    tasks = [each for each in asyncio.all_tasks() if each is not ours]
    named = [
        str(each.get_coro()).split()[2]  # "<coroutine object NAME at 0x...>"
        if each.get_name().startswith("Task-")
        else each.get_name()
        for each in tasks
    ]
    idle = ("AnyIO", "Trio thread")  # Both keep theirs for a while, for whoever needs one next.
    threads = [each.name for each in threading.enumerate() if not each.name.startswith(idle)]
    return [_without_owner(name) for name in named + threads]


def _without_owner(name: str) -> str:
    """A worker's name, as its plugin gave it: what is owned bears the owner's ref before it."""
    return name[name.index(WORKER) :] if WORKER in name else name
