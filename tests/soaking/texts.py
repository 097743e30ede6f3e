"""The text of the files of a plugin folder, and of the configuration."""

from __future__ import annotations

from collections.abc import Mapping

from soaking.modules import Way, alias, import_lines
from soaking.sources import Fault, Helper, Life, Section, Source, Use

MANIFEST = """\
[plugin]
name = "{name}"
kind = "{kind}"
core_version = "{core_version}"
runtime = "in_process"
entry_point = "plugin:Plugin"
priority = {priority}
depends_on = [{wants}]
"""

SCHEMA = """\
[plugin.config_schema.properties]
version = { type = "string" }
"""

PLUGIN = """\
import asyncio
import importlib
import threading
from pathlib import Path
import anyio
{top}
VERSION = "{version:06}"
{at_import}

class {name}:
    version = VERSION
    api = {api}
    worker = None

    def __init__(self):
        self.seen = {{}}
        self.shared = {{}}
        {at_construct}

    {define} setup(self, ctx):
        self.host = ctx.extras["host"]
        self.host.began(self, __package__, borrowed={borrowed})
        {in_setup}
        self.seen["config"] = dict(ctx.config)
        if ctx.config.get("fails"):
            raise ValueError("its configuration says so")
        self.host.demand(self, {demands})
        {needs}
        {at_setup}
        {start}

    {define} teardown(self):
        {stop}
        {at_teardown}

    async def work(self):
        await self.broken.wait()
        raise OSError("broken on purpose")

    def probe(self):
        {in_call}
        shared = {{}}
        for name, module in {{**self.shared, {reached}}}.items():
            module.told(shared) if module else shared.setdefault(name, []).append("missing")
        return {{**self.seen, "plugin": VERSION, "shared": shared{versions}}}
"""

_START = {
    Life.PLAIN: "pass",
    Life.SLOW: "await anyio.sleep(0.003)",
    Life.GROUP: """\
await anyio.sleep(0)
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        self.worker = self.host.worker(self)
        self.group.start_soon(anyio.sleep_forever, name=self.worker)""",
    Life.TASK: """\
self.worker = self.host.worker(self)
        self.task = asyncio.create_task(asyncio.sleep(3600), name=self.worker)""",
    Life.THREAD: """\
self.worker = self.host.worker(self)
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.end.wait, name=self.worker, daemon=True)
        self.thread.start()""",
    Life.OWNED_TASK: """\
self.worker = self.host.worker(self)
        self.broken = anyio.Event()
        ctx.start_soon(self.work, name=self.worker)""",
    Life.OWNED_THREAD: """\
self.worker = self.host.worker(self)
        ctx.run_thread(lambda stop: stop.wait(), name=self.worker)""",
    Life.OWNED_GROUP: """\
self.worker = self.host.worker(self)
        group = await ctx.enter_async(anyio.create_task_group())
        ctx.callback(group.cancel_scope.cancel)
        group.start_soon(anyio.sleep_forever, name=self.worker)""",
    Life.CALLBACKS: """\
self.worker = self.host.worker(self)
        end = threading.Event()
        thread = threading.Thread(target=end.wait, name=self.worker, daemon=True)
        thread.start()
        ctx.callback(thread.join)
        ctx.callback(end.set)""",
}
_STOP = {
    Life.PLAIN: "pass",
    Life.SLOW: "await anyio.sleep(0)",
    Life.GROUP: """\
self.group.cancel_scope.cancel()
        await self.group.__aexit__(None, None, None)""",
    Life.TASK: """\
self.task.cancel()
        await asyncio.wait([self.task])""",
    Life.THREAD: """\
self.end.set()
        self.thread.join()""",
    Life.OWNED_TASK: "pass",
    Life.OWNED_THREAD: "pass",
    Life.OWNED_GROUP: "pass",
    Life.CALLBACKS: "pass",
}
_SYNC = {Life.PLAIN, Life.THREAD, Life.OWNED_THREAD, Life.CALLBACKS}
_LATE = {Way.SETUP, Way.CALL}
_ASSET = 'self.seen["data"] = self.host.read(Path(__file__).with_name("data.txt"))'


def render(source: Source) -> dict[str, str]:
    """The files of `source` by path relative to its folder."""
    files = {"dagstack.toml": _manifest(source), "plugin.py": _plugin(source)}
    for helper in source.helpers:
        files[helper.path.replace(".", "/") + ".py"] = _helper(source, helper)
    if source.asset is not None:
        files["data.txt"] = source.asset
    if source.fault is Fault.NO_ENTRY:
        del files["plugin.py"]
    elif source.fault is Fault.EMPTY:
        files["plugin.py"] = ""
    return files


def _manifest(source: Source) -> str:
    text = MANIFEST.format(
        name=source.name,
        kind=source.kind,
        core_version=">=99" if source.fault is Fault.CORE_VERSION else ">=0.1,<1",
        priority=source.priority,
        wants=", ".join(map(_want, source.wants)),
    )
    if source.fault is Fault.TOML:
        return text.replace("]\n", "\n")
    text += "bogus = 1\n" if source.fault is Fault.MANIFEST else ""
    return text + SCHEMA if source.strict else text


def _want(want: str) -> str:
    kind, slash, name = want.partition("/")
    return f'{{ kind = "{kind}", name = "{name}" }}' if slash else f'"{want}"'


def _plugin(source: Source) -> str:
    fault = source.fault
    used = [each for each in source.helpers if each.use is not Use.NEVER]
    kept = [each for each in used if each.use is not Use.SETUP]
    in_setup = [
        f'{_import(each.path)}; self.seen["{each.path}"] = {alias(each.path)}.VERSION'
        for each in used
        if each.use is Use.SETUP
    ]
    in_setup += [
        *import_lines(each for each in source.shared if each[1] is Way.SETUP),
        *(f'self.shared["{n}"] = {alias(n)}' for n, way in source.shared if way is Way.SETUP),
    ]
    in_call = [
        *(_import(each.path) for each in used if each.use is Use.CALL),
        *import_lines(each for each in source.shared if each[1] is Way.CALL),
    ]
    borrowed = ", ".join(f'"{ref}": {alias(ref)}' for ref in source.borrows)
    text = PLUGIN.format(
        name="Other" if fault is Fault.NO_CLASS else "Plugin",
        version=source.version,
        api=source.api,
        top="\n".join(
            [_import(each.path) for each in used if each.use is Use.TOP]
            + import_lines(each for each in source.shared if each[1] not in _LATE)
            + [_borrow(source.kind, ref) for ref in source.borrows]
        ),
        at_import='raise ImportError("on purpose")' if fault is Fault.IMPORT else "",
        at_construct="1 / 0" if fault is Fault.CONSTRUCT else "pass",
        at_setup='raise ValueError("on purpose")' if fault is Fault.SETUP else "pass",
        at_teardown='raise OSError("on purpose")' if fault is Fault.TEARDOWN else "pass",
        define="def" if source.life in _SYNC else "async def",
        borrowed=f"{{{borrowed}}}",
        in_setup="\n        ".join([*in_setup, _ASSET]),
        demands={ref: api for ref, api in source.demands if ref in source.wants},
        needs="\n        ".join(
            ["self.host.reach(self)"] * source.online + ["self.host.judge(self)"] * source.wary
            or ["pass"]
        ),
        start=_START[source.life],
        stop=_STOP[source.life],
        in_call="\n        ".join(in_call or ["pass"]),
        reached=", ".join(f'"{n}": {alias(n)}' for n, way in source.shared if way is not Way.SETUP),
        versions="".join(f', "{each.path}": {alias(each.path)}.VERSION' for each in kept),
    )
    return text.replace("def setup(", "def setup((") if fault is Fault.SYNTAX else text


def _helper(source: Source, helper: Helper) -> str:
    depth = helper.path.count(".")
    lines = [_import(path, depth) for path in helper.imports]
    lines.append(f'VERSION = "{helper.version:06}"')
    if helper.broken:
        lines.append("def (")
    return "\n".join(lines) + "\n"


def _import(path: str, depth: int = 0) -> str:
    """The relative import of a helper, in a module that is `depth` folders down."""
    package, _, name = path.rpartition(".")
    return f"from {'.' * (depth + 1)}{package} import {name} as {alias(path)}"


def _borrow(kind: str, ref: str) -> str:
    other, _, name = ref.partition("/")
    package = f"..{name}" if other == kind else f"...{other}.{name}"
    return f"from {package}.plugin import VERSION as {alias(ref)}"


def render_config(sections: Mapping[str, Section]) -> str:
    """A configuration file; the section without a name is what stands above all tables."""
    lines = []
    for ref, section in sorted(sections.items()):
        lines += [f"[{ref.replace('/', '.')}]"] if ref else []
        lines.append(f'version = "{section.version:06}"' if section.fits else "version = 0")
        lines += ["fails = true"] if section.fails else []
    return "\n".join([*lines, ""])
