"""Packages with entry points, installed for the length of a test without an installer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent


class Installation:
    """A `site-packages` of its own, in front of `sys.path`.

    Attributes:
        site: that folder.
        projects: where projects lie that are installed in editable mode.
    """

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site-packages"
        self.projects = folder / "projects"
        self.site.mkdir(parents=True)

    def package(
        self,
        name: str,
        files: Mapping[str, str],
        *,
        entry_points: Mapping[str, str],
        group: str = "dagstack.plugins",
        editable: bool = True,
    ) -> Path:
        """Install the files of one project; the answer is where they lie.

        Args:
            name: of the distribution.
            files: their texts, dedented, by path below the project, or below `site-packages`.
            entry_points: what they name, by name.
            group: of the entry points.
            editable: as `pip install -e` does it: the project stays where it is.
        """
        home = self.projects / name if editable else self.site
        for path, text in files.items():
            file = home / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text), encoding="utf-8")
        info = self.site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        if editable:
            origin = {"url": home.as_uri(), "dir_info": {"editable": True}}
            (info / "direct_url.json").write_text(json.dumps(origin))
            sys.path.append(str(home))  # As the `.pth` file of an editable installation does.
        return home


@contextmanager
def installation(folder: Path) -> Iterator[Installation]:
    """An installation whose modules are forgotten at the end."""
    made = Installation(folder)
    before = list(sys.path)
    sys.path.insert(0, str(made.site))
    try:
        yield made
    finally:
        sys.path[:] = before
        for name, module in sys.modules.copy().items():
            if (getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
