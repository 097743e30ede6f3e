"""Code that plugins share, as values, and the text of its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

MODULES = (
    "helpers",
    "helpers.base",
    "helpers.base.deep",
    "helpers.text",
    "helpers.words",
    "helpers.extra",
    "lonely",
)
"""Every name that shared code may have."""


class Way(StrEnum):
    """How, and when, something imports a shared module."""

    TOP = "top"
    DOTTED = "dotted"
    OPTIONAL = "optional"
    DYNAMIC = "dynamic"
    SETUP = "setup"
    CALL = "call"


class Flaw(StrEnum):
    """What is wrong with a shared module."""

    NONE = "none"
    SYNTAX = "syntax"
    IMPORT = "import"
    ERROR = "error"


Imports = tuple[tuple[str, Way], ...]
"""Shared modules, each with the way in which it is imported."""


@dataclass(frozen=True, slots=True)
class Module:
    """A shared module.

    Attributes:
        version: as its text says; every text has another one of the same length.
        imports: what it imports in turn; never in the way `SETUP`.
        flaw: what is wrong with it.
        package: whether it is a package even with nothing in it.
    """

    version: int
    imports: Imports = ()
    flaw: Flaw = Flaw.NONE
    package: bool = False


Modules = dict[str, Module]
"""Shared modules by their dotted names; the packages around each are among them."""

MODULE = """\
import importlib
import sys

VERSION = "{version:06}"


def told(seen):
    found = seen.setdefault(__name__, [])
    current = getattr(sys.modules.get(__name__), "told", None) is told
    mine = VERSION if current else "replaced " + VERSION
    if mine in found:
        return
    found.append(mine)
    {in_call}
    for name, module in {{{reached}}}.items():
        module.told(seen) if module else seen.setdefault(name, []).append("missing")


{top}
{flaw}
"""

_FLAWS = {
    Flaw.NONE: "",
    Flaw.SYNTAX: "def (",
    Flaw.IMPORT: 'raise ImportError("on purpose")',
    Flaw.ERROR: "1 / 0",
}


def render_modules(modules: Mapping[str, Module]) -> dict[str, str]:
    """The files of `modules` by path relative to the root."""
    files = {}
    for name, module in modules.items():
        path = name.replace(".", "/")
        is_package = module.package or any(inside(name, other) for other in modules)
        files[f"{path}/__init__.py" if is_package else f"{path}.py"] = _text(module)
    return files


def _text(module: Module) -> str:
    early = [each for each in module.imports if each[1] is not Way.CALL]
    late = [each for each in module.imports if each[1] is Way.CALL]
    reached = [f'"{name}": globals().get("{alias(name)}")' for name, _ in early]
    reached += [f'"{name}": {alias(name)}' for name, _ in late]
    return MODULE.format(
        version=module.version,
        in_call="\n    ".join(import_lines(late) or ["pass"]),
        reached=", ".join(reached),
        top="\n".join(import_lines(early)),
        flaw=_FLAWS[module.flaw],
    )


def import_lines(imports: Imports | Iterable[tuple[str, Way]]) -> list[str]:
    """The lines that bind each module to its alias."""
    return [line for name, way in imports for line in _import(name, way)]


def _import(name: str, way: Way) -> list[str]:
    package, _, last = name.rpartition(".")
    plain = f"from {package} import {last} as {alias(name)}"
    if way is Way.DOTTED or not package:
        plain = f"import {name} as {alias(name)}"
    if way is Way.DYNAMIC:
        return [f'{alias(name)} = importlib.import_module("{name}")']
    if way is Way.OPTIONAL:
        return ["try:", f"    {plain}", "except ImportError:", f"    {alias(name)} = None"]
    return [plain]


def alias(name: str) -> str:
    """What an imported module is bound to."""
    return "the_" + name.replace(".", "_").replace("/", "_")


def inside(package: str, name: str) -> bool:
    """Whether the module `name` lies in `package`."""
    return name.startswith(f"{package}.")


def around(name: str) -> Iterator[str]:
    """The packages that `name` lies in."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def closure(imports: Imports, modules: Mapping[str, Module]) -> set[str]:
    """Everything that importing these may import, what is missing included."""
    reached: set[str] = set()
    todo = [name for name, _ in imports]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += around(name)
            todo += [other for other, _ in modules[name].imports] if name in modules else []
    return reached
