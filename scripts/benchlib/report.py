"""Plain tables, the machine they were made on, and the arithmetic in between."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any


@dataclass
class Table:
    """Rows under a title; a number is printed with about three digits that say something."""

    title: str
    columns: tuple[str, ...]
    note: str = ""
    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, row: dict[str, object]) -> None:
        """Add a row; columns that it leaves out stay empty."""
        self.rows.append(row)

    def __str__(self) -> str:
        cells = [self.columns] + [
            tuple(_printed(row.get(column, "")) for column in self.columns) for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        texts = [
            any(isinstance(row.get(column), str) for row in self.rows) for column in self.columns
        ]
        lines = [
            "  ".join(
                cell.ljust(width) if text else cell.rjust(width)
                for cell, width, text in zip(row, widths, texts, strict=True)
            ).rstrip()
            for row in cells
        ]
        rule = "  ".join("-" * width for width in widths)
        head = [self.title, "", lines[0], rule, *lines[1:]]
        return "\n".join([*head, *([f"({self.note})"] if self.note else [])])

    def as_json(self) -> dict[str, Any]:
        """The table as JSON takes it."""
        return {"title": self.title, "note": self.note, "rows": self.rows}


def _printed(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if value < 10:  # noqa: PLR2004 - digits
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` percent of `values` do not exceed; the nearest rank."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share / 100 * (len(ordered) - 1)))]


def machine() -> dict[str, str]:
    """What the figures depend on."""
    packages = [
        "watchfiles",
        "anyio",
        "structlog",
        "uvicorn",
        "hmr",
        "jurigged",
        "mcpmon",
        "pluggy",
    ]
    found = {name: _version(name) for name in packages}
    return {
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown",
        "packages": ", ".join(f"{name} {number}" for name, number in found.items() if number),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def say(message: str) -> None:
    """Tell a person who waits how far it is."""
    print(f"... {message}", file=sys.stderr, flush=True)
