"""Plugins without any registry: the least that has to be done to bring them up.

Run as a program it is the floor of "save to ready": it watches a tree, and what changes is read,
compiled, executed and set up. No manifest is looked at, nothing is torn down, nothing is checked.

    python -m scripts.benchlib.bare TREE STEP_MS
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import tomli
from watchfiles import awatch

WATCHING = "watching"
"""What the program prints when saves may begin."""


def load_all(tree: str) -> list[Any]:
    """Walk, parse every manifest, import, instantiate and set up: a cold start, bare."""
    plugins = []
    for folder, folders, files in os.walk(tree):
        folders.sort()
        if "dagstack.toml" not in files:
            continue
        folders.clear()
        plugins.append(load_plugin(folder))
    return plugins


def load_plugin(folder: str) -> Any:
    """Parse the manifest, import, instantiate and set up one plugin, which awaits nothing."""
    manifest = tomli.loads(Path(folder, "dagstack.toml").read_text(encoding="utf-8"))["plugin"]
    stem, _, name = manifest["entry_point"].partition(":")
    spec = importlib.util.spec_from_file_location(
        f"bare.{manifest['kind']}.{manifest['name']}", f"{folder}/{stem}.py"
    )
    assert spec is not None  # noqa: S101 - a .py file always has a spec
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    plugin = getattr(module, name)()
    setup = plugin.setup(None)
    if inspect.iscoroutine(setup):
        with suppress(StopIteration):
            setup.send(None)
    return plugin


def load_file(path: str) -> Any:
    """Read, compile, execute and set up one file."""
    with open(path, "rb") as file:  # noqa: PTH123 - as little as possible
        source = file.read()
    module = ModuleType("bare_plugin")
    exec(compile(source, path, "exec"), vars(module))  # noqa: S102 - that is what is measured
    plugin = module.Plugin()
    plugin.setup(None)
    return plugin


async def watch(tree: str, step_ms: int) -> None:
    """Load what changes, for ever."""
    live = {str(index): plugin for index, plugin in enumerate(load_all(tree))}
    asyncio.get_running_loop().call_later(1, print, WATCHING)
    async for changes in awatch(tree, step=step_ms, debounce=400, watch_filter=None):
        for path in {path for _, path in changes if path.endswith(".py")}:
            try:
                live[path] = load_file(path)
            except (AttributeError, SyntaxError):  # half of a file; the rest makes a new batch
                continue


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(watch(sys.argv[1], int(sys.argv[2])))
