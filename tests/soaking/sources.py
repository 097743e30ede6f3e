"""What one plugin folder holds, as a value, and the text of its files."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum


class Life(StrEnum):
    """What a plugin starts in its setup and ends in its teardown."""

    PLAIN = "plain"
    SLOW = "slow"
    GROUP = "group"
    TASK = "task"
    THREAD = "thread"


class Fault(StrEnum):
    """What is wrong with a plugin."""

    NONE = "none"
    TOML = "toml"
    MANIFEST = "manifest"
    CORE_VERSION = "core_version"
    SYNTAX = "syntax"
    EMPTY = "empty"
    NO_ENTRY = "no_entry"
    NO_CLASS = "no_class"
    IMPORT = "import"
    CONSTRUCT = "construct"
    SETUP = "setup"
    TEARDOWN = "teardown"


class Use(StrEnum):
    """When a plugin imports a helper module of its own."""

    TOP = "top"
    SETUP = "setup"
    CALL = "call"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Helper:
    """A module beside `plugin.py`.

    Attributes:
        path: dotted, below the plugin's package.
        version: as its text says.
        use: when the plugin imports it.
        imports: other helpers that it imports, perhaps in a circle.
        broken: whether it does not compile.
    """

    path: str
    version: int
    use: Use = Use.TOP
    imports: tuple[str, ...] = ()
    broken: bool = False

    def __str__(self) -> str:
        return f"Helper({_given(self)})"


@dataclass(frozen=True, slots=True)
class Source:
    """What one folder holds.

    Attributes:
        kind, name, priority: as the manifest says.
        version: as `plugin.py` says; every text has another one of the same length.
        api: what `demands` of others are held against.
        wants: `depends_on`; with a slash it is `kind/name`.
        borrows: those of `wants` whose code it imports; all with a slash.
        demands: the `api` that the setup insists on, by dependency.
        life: what it starts in its setup.
        fault: what is wrong with it.
        helpers: its other modules.
        asset: the text of a data file that the setup reads, if there is one.
    """

    kind: str
    name: str
    version: int
    priority: int = 0
    api: int = 1
    wants: tuple[str, ...] = ()
    borrows: tuple[str, ...] = ()
    demands: tuple[tuple[str, int], ...] = ()
    life: Life = Life.PLAIN
    fault: Fault = Fault.NONE
    helpers: tuple[Helper, ...] = ()
    asset: str | None = None

    @property
    def ref(self) -> str:
        """Kind and name."""
        return f"{self.kind}/{self.name}"

    def helper(self, path: str) -> Helper | None:
        """The helper at `path`, if there is one."""
        return next((each for each in self.helpers if each.path == path), None)

    def __str__(self) -> str:
        return f"Source({_given(self)})"


def told(value: object) -> str:
    """`value` as a person writes it."""
    if isinstance(value, StrEnum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, tuple):
        return f"({''.join(f'{told(each)}, ' for each in value).removesuffix(' ')})"
    return str(value) if isinstance(value, Helper | Source) else repr(value)


def _given(value: Helper | Source) -> str:
    """The fields that are not as they are by default."""
    return ", ".join(
        f"{each.name}={told(getattr(value, each.name))}"
        for each in fields(value)
        if getattr(value, each.name) != each.default
    )


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

PLUGIN = """\
import asyncio
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
        {at_construct}

    {define} setup(self, ctx):
        self.host = ctx.extras["host"]
        self.host.began(self, __package__, borrowed={borrowed})
        {in_setup}
        self.host.demand(self, {demands})
        {at_setup}
        {start}

    {define} teardown(self):
        {stop}
        {at_teardown}

    def probe(self):
        {in_call}
        return {{**self.seen, "plugin": VERSION{versions}}}
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
}
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
    return text + "bogus = 1\n" if source.fault is Fault.MANIFEST else text


def _want(want: str) -> str:
    kind, slash, name = want.partition("/")
    return f'{{ kind = "{kind}", name = "{name}" }}' if slash else f'"{want}"'


def _plugin(source: Source) -> str:
    fault = source.fault
    used = [each for each in source.helpers if each.use is not Use.NEVER]
    kept = [each for each in used if each.use is not Use.SETUP]
    in_setup = [
        f'{_import(each.path)}; self.seen["{each.path}"] = {_alias(each.path)}.VERSION'
        for each in used
        if each.use is Use.SETUP
    ]
    borrowed = ", ".join(f'"{ref}": {_alias(ref)}' for ref in source.borrows)
    text = PLUGIN.format(
        name="Other" if fault is Fault.NO_CLASS else "Plugin",
        version=source.version,
        api=source.api,
        top="\n".join(
            [_import(each.path) for each in used if each.use is Use.TOP]
            + [_borrow(source.kind, ref) for ref in source.borrows]
        ),
        at_import='raise ImportError("on purpose")' if fault is Fault.IMPORT else "",
        at_construct="1 / 0" if fault is Fault.CONSTRUCT else "pass",
        at_setup='raise ValueError("on purpose")' if fault is Fault.SETUP else "pass",
        at_teardown='raise OSError("on purpose")' if fault is Fault.TEARDOWN else "pass",
        define="def" if source.life in {Life.PLAIN, Life.THREAD} else "async def",
        borrowed=f"{{{borrowed}}}",
        in_setup="\n        ".join([*in_setup, _ASSET]),
        demands=dict(source.demands),
        start=_START[source.life],
        stop=_STOP[source.life],
        in_call="\n        ".join([_import(h.path) for h in used if h.use is Use.CALL] or ["pass"]),
        versions="".join(f', "{each.path}": {_alias(each.path)}.VERSION' for each in kept),
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
    return f"from {'.' * (depth + 1)}{package} import {name} as {_alias(path)}"


def _borrow(kind: str, ref: str) -> str:
    other, _, name = ref.partition("/")
    package = f"..{name}" if other == kind else f"...{other}.{name}"
    return f"from {package}.plugin import VERSION as {_alias(ref)}"


def _alias(path: str) -> str:
    return "the_" + path.replace(".", "_").replace("/", "_")
