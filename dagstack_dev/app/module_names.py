"""Where a module is, without running any code of it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

_INSTALLED = frozenset({"site-packages", "dist-packages"})


class Place(NamedTuple):
    """Where a module is.

    Attributes:
        file: its file.
        top: the folder of the package that it is in, or the one that the module itself lies in.
        in_package: whether there is such a package.
    """

    file: str
    top: str
    in_package: bool

    @property
    def is_editable(self) -> bool:
        """Whether it is somebody's working copy, and not installed for good."""
        return _INSTALLED.isdisjoint(Path(self.file).parts)


def place_of(module: str) -> Place | None:
    """Where `module` would be imported from; None when it is not a Python file anywhere.

    A package that it is in is not imported to find out: its folders are searched.
    """
    first, *rest = module.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):  # Such as a module in `sys.modules` that has no spec.
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    if not rest:
        return _place(spec.origin, folders[0] if folders else None)
    for top in folders:
        stem = "/".join((top, *rest))
        for path in (f"{stem}/__init__.py", f"{stem}.py"):
            if os.path.isfile(path):  # noqa: PTH113 - plain strings throughout
                return _place(path, top)
    return None


def place_of_file(module: str, file: str | None) -> Place | None:
    """Where a module is that has been imported from `file`."""
    if file is None:
        return None
    depth = module.count(".") + (os.path.basename(file) == "__init__.py")  # noqa: PTH119 - likewise
    top = Path(file).absolute()
    for _ in range(depth):
        top = top.parent
    return _place(file, str(top) if depth else None)


def _place(file: str | None, top: str | None) -> Place | None:
    # One in a zip on `sys.path` has the name of a file, and is none.
    if file is None or not file.endswith(".py") or not os.path.isfile(file):  # noqa: PTH113 - likewise
        return None
    path = os.path.normpath(Path(file).absolute())
    if top is None:
        return Place(path, path.rpartition("/")[0], in_package=False)
    return Place(path, os.path.normpath(Path(top).absolute()), in_package=True)
