"""The standard resource `rng` (contract, section 9)."""

from __future__ import annotations

from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_UUID_BITS: Final = 128


@runtime_checkable
class Rng(Protocol):
    """Where randomness comes from. A plugin that asks it can be tested with a seed."""

    def random(self) -> float:
        """Return a number in [0, 1)."""

    def randint(self, a: int, b: int) -> int:
        """Return a whole number.

        Args:
            a: the least that it may be.
            b: the greatest.
        """

    def next_float(self) -> float:
        """Return what `random` does."""

    def next_int(self, a: int, b: int) -> int:
        """Return what `randint` does."""

    def uuid4(self) -> UUID:
        """Return a random UUID, of version 4."""

    def choice(self, options: Sequence[T]) -> T:
        """Return one of `options`. Raises `IndexError` when there is none."""


class _Drawing:
    """Every method of `Rng`, drawn from one `Random`, which is safe to share between threads."""

    def __init__(self, source: Random) -> None:
        self._source = source

    def random(self) -> float:
        """See `Rng.random`."""
        return self._source.random()

    def randint(self, a: int, b: int) -> int:
        """See `Rng.randint`."""
        return self._source.randint(a, b)

    def next_float(self) -> float:
        """See `Rng.next_float`."""
        return self.random()

    def next_int(self, a: int, b: int) -> int:
        """See `Rng.next_int`."""
        return self.randint(a, b)

    def uuid4(self) -> UUID:
        """See `Rng.uuid4`."""
        return UUID(int=self._source.getrandbits(_UUID_BITS), version=4)

    def choice(self, options: Sequence[T]) -> T:
        """See `Rng.choice`."""
        return self._source.choice(options)


class RandomRng(_Drawing):
    """The system's own randomness; nothing can reproduce it."""

    def __init__(self) -> None:
        super().__init__(SystemRandom())

    def __reduce__(self) -> tuple[type[RandomRng], tuple[()]]:
        return RandomRng, ()  # It has no state that another process could take over.


class DeterministicRng(_Drawing):
    """Randomness for tests: the same numbers for the same seed.

    Args:
        seed: any whole number.
    """

    def __init__(self, *, seed: int) -> None:
        super().__init__(Random(seed))  # noqa: S311 - to be reproduced is what it is for
