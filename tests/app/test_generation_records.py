"""How much is kept of what was edited for the generations of all plugins."""

from __future__ import annotations

from collections.abc import Iterable

from dagstack_dev.app.generations import MOST_GENERATIONS, Generations
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.sources import PluginSource, SourceFile

ONE, TWO, THREE = (PluginRef("demo", name) for name in ("one", "two", "three"))
SIZE = 100
"""Of a file, in bytes; an edit is kept as two."""


def source(ref: PluginRef, number: int) -> PluginSource:
    """The files of a generation: one, which differs from that of any other."""
    content = str(number).encode().ljust(SIZE)
    return PluginSource(f"/plugins/{ref.name}", {"plugin.py": SourceFile.of(content)})


def note(generations: Generations, *builds: tuple[PluginRef, int]) -> None:
    for ref, number in builds:
        generations.note(ref, number, 1000.0 + number, source(ref, number))


def told(generations: Generations, ref: PluginRef) -> dict[int, int]:
    """How many bytes are kept for each generation after the first."""
    _, *others = generations.of(ref)
    assert all(
        [edit.path for edit in each.edits or ()] == [f"/plugins/{ref.name}/plugin.py"]
        for each in others
    )
    return {each.number: sum(edit.size for edit in each.edits or ()) for each in others}


def rounds(refs: Iterable[PluginRef], *numbers: int) -> list[tuple[PluginRef, int]]:
    return [(ref, number) for number in numbers for ref in refs]


def test_what_was_edited_first_is_forgotten_first_whichever_plugin_it_is_of() -> None:
    generations = Generations(most_bytes=6 * SIZE)
    note(generations, *rounds((ONE, TWO), 1, 2, 3))
    assert told(generations, ONE) == {2: 0, 3: 2 * SIZE}
    assert told(generations, TWO) == {2: 2 * SIZE, 3: 2 * SIZE}
    note(generations, (ONE, 4), (ONE, 5))
    assert told(generations, ONE) == {2: 0, 3: 0, 4: 2 * SIZE, 5: 2 * SIZE}
    assert told(generations, TWO) == {2: 0, 3: 2 * SIZE}


def test_a_plugin_that_is_gone_leaves_room() -> None:
    generations = Generations(most_bytes=4 * SIZE)
    note(generations, *rounds((ONE, TWO), 1, 2))
    generations.forget(ONE)
    assert generations.of(ONE) == ()
    note(generations, *rounds((THREE,), 1, 2))
    assert told(generations, TWO) == told(generations, THREE) == {2: 2 * SIZE}


def test_generations_of_which_a_plugin_has_had_too_many_leave_room() -> None:
    generations = Generations(most_bytes=2 * SIZE * (MOST_GENERATIONS + 1))
    note(generations, *rounds((TWO,), 1, 2), *rounds((ONE,), *range(1, 100)))
    assert len(generations.of(ONE)) == MOST_GENERATIONS
    assert told(generations, TWO) == {2: 2 * SIZE}


def test_a_generation_that_is_known_is_noted_once_even_when_its_edit_is_forgotten() -> None:
    generations = Generations(most_bytes=0)
    note(generations, (ONE, 1), (ONE, 2), (ONE, 2))
    assert told(generations, ONE) == {2: 0}
