"""How long something has taken."""

from __future__ import annotations

from time import perf_counter


def ms_since(began: float) -> float:
    """The milliseconds since `began`, which `perf_counter` told."""
    return (perf_counter() - began) * 1000
