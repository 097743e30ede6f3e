"""How a plugin is called."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

IDENTIFIER: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""What names and kinds look like."""

IDENTIFIER_RULE: Final = "may hold letters, digits, '-', '_' and '.' only, a letter or digit first"


class PluginRef(NamedTuple):
    """Kind and name of one plugin, printed `kind/name`.

    Names are unique within a kind (specification, "Ошибки реестра": `AmbiguousPlugin`).
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def closest(word: str, candidates: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the candidate that was most likely meant, or None.

    Args:
        word: what was written.
        candidates: what could have been written.
        likeness: from 0 to 1, below which none is meant.
    """
    matches = get_close_matches(word, list(candidates), n=1, cutoff=likeness)
    return matches[0] if matches else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest candidate, or an empty string."""
    match = closest(word, candidates)
    return f"; did you mean {match!r}?" if match else ""


def ref_called(text: str, known: Sequence[str]) -> str:
    """Return the one of `known`, as kind/name, that is called `text`: the name alone may do.

    Raises:
        LookupError: several are, or none.
    """
    found = [each for each in known if text in {each, each.partition("/")[2]}]
    if len(found) > 1:
        raise LookupError(f"{text!r} may be any of {', '.join(found)}")
    if not found:
        names = [each.partition("/")[2] for each in known]
        raise LookupError(f"there is no plugin {text!r}{did_you_mean(text, [*names, *known])}")
    return found[0]
