"""Plugin trees to measure with, and the plugin that reports when it is ready."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

REPORT_VARIABLE = "BENCH_REPORT"
"""The environment variable with the path of the pipe that the probe writes into."""

FAN_OUT = 8
"""Plugins that depend on one and the same other plugin."""

MANIFEST = """\
[plugin]
name = "{name}"
kind = "bench"
core_version = ">=0.1.0,<1.0.0"
runtime = "in_process"
entry_point = "plugin:Plugin"
depends_on = [{depends_on}]
"""

# About what a small plugin is: 2 kB, some functions and classes.
FILLER = '''

class Part{number}:
    """One of the things that this plugin is made of."""

    def __init__(self, name, size=0):
        self.name = name
        self.size = size

    def describe(self):
        return f"{{self.name}} of {{self.size}}"
'''

PLAIN = '''\
"""A plugin of the bench."""

import json
import os


class Plugin:
    def setup(self, ctx):
        self.ready = True

    def teardown(self):
        self.ready = False
'''

ASYNC = PLAIN.replace("    def ", "    async def ")

PROBE = '''\
"""The plugin of the bench that is edited. The last line shows that the file is whole."""

import os
import time

VALUE = {value}


class Plugin:
    def setup(self, ctx):
        self.ready = True
        now = time.monotonic_ns()
        report = os.open(os.environ["BENCH_REPORT"], os.O_WRONLY)
        os.write(report, b"%d %d %d\\n" % (VALUE, globals().get("COMPLETE", -1), now))
        os.close(report)

    def teardown(self):
        self.ready = False
'''

# Its setup takes a known time, of CPU, so that other programs slow down what is measured above it
# and this alike.
BUSY = '''\
"""A plugin of the bench whose setup takes a while."""

from time import thread_time


class Plugin:
    def setup(self, ctx):
        until = thread_time() + {seconds}
        while thread_time() < until:
            pass
        self.ready = True

    def teardown(self):
        self.ready = False
'''

_FILLED = "".join(FILLER.format(number=number) for number in range(6))


def probe_text(value: int) -> bytes:
    """The probe as it is saved for the `value`th time."""
    return (PROBE.format(value=value) + _FILLED + f"\n\nCOMPLETE = {value}\n").encode()


def plain_text(value: int) -> str:
    """A plugin that is not the probe, as it is saved for the `value`th time."""
    return f"{PLAIN}{_FILLED}\n\nVALUE = {value}\n"


def write_plugin(folder: Path, text: str, *depends_on: str) -> Path:
    """Write one plugin; the answer is its file."""
    folder.mkdir(parents=True)
    wanted = ", ".join(f'"{each}"' for each in depends_on)
    manifest = MANIFEST.format(name=folder.name, depends_on=wanted)
    (folder / "dagstack.toml").write_text(manifest, encoding="utf-8")
    file = folder / "plugin.py"
    file.write_text(text, encoding="utf-8")
    return file


def write_tree(root: Path, count: int, text: str = PLAIN) -> Path:
    """Write `count` plugins of `text` below `root`; the answer is the file of the probe, a leaf.

    Each plugin but the first depends on one before it, so that the graph is a tree; the probe is
    the last one and nothing depends on it.
    """
    for number in range(count):
        above = (f"p{(number - 1) // FAN_OUT:05}",) if number else ()
        write_plugin(root / f"p{number:05}", text + _FILLED, *above)
    probe = root / f"p{count - 1:05}" / "plugin.py"
    probe.write_bytes(probe_text(0))
    return probe


def write_graph(root: Path, wants: Mapping[str, Iterable[str]]) -> Path:
    """Write a plugin for each of `wants`, that depends on these; the last one is the probe."""
    *_, probe = (write_plugin(root / name, PLAIN, *each) for name, each in wants.items())
    probe.write_bytes(probe_text(0))
    return probe


def write_hub(root: Path, dependents: int, setup_ms: float) -> Path:
    """Write a plugin and `dependents` that depend on it, each busy for `setup_ms` in its setup.

    The answer is the file of the hub.
    """
    text = BUSY.format(seconds=setup_ms / 1000)
    for number in range(dependents):
        write_plugin(root / f"p{number:05}", text, "hub")
    return write_plugin(root / "hub", text)
