"""What is measured: this checkout, and another one beside it where one is asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Checkout:
    """A copy of the package to measure. The bench itself is always that of this checkout.

    Attributes:
        name: in the tables.
        environment: the variables with which a process imports this copy.
    """

    name: str = "dagstack-dev"
    environment: dict[str, str] = field(default_factory=dict, compare=False)


HERE: Final = Checkout()


@contextmanager
def checkouts(other: Path | None) -> Iterator[Sequence[Checkout]]:
    """This checkout, and the one in the folder `other`, if any."""
    if other is None:
        yield (HERE,)
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        # Of the other checkout nothing but the package is to be found.
        Path(folder, "dagstack_dev").symlink_to(other.resolve(strict=True) / "dagstack_dev")
        path = os.pathsep.join((folder, str(ROOT)))
        yield HERE, Checkout("other checkout", {"PYTHONSAFEPATH": "1", "PYTHONPATH": path})
