"""A hot-reloading development server for dagstack plugins, and the registry it stands on.

The public names are listed once, in `__init__.pyi`, where checkers of types look for them. Each is
imported when it is first asked for: `dagstack-dev --help` needs none of them.
"""

from functools import cache
from importlib import import_module
from pathlib import Path

from dagstack_dev._version import __version__ as __version__


@cache
def _homes() -> dict[str, str]:
    """The module of each public name."""
    import ast  # noqa: PLC0415 - not needed for the command line's help

    tree = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = (each for each in tree.body if isinstance(each, ast.ImportFrom))
    return {name.name: str(each.module) for each in imports for name in each.names}


def __getattr__(name: str) -> object:
    if name == "__all__":
        return [*_homes()]
    if name.startswith("__") or name not in _homes():
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(_homes()[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})
