"""Errors as facts: what the copy of an exception says, and that it holds nothing else."""

from __future__ import annotations

import errno
import gc
import traceback
import weakref
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest

from dagstack_dev.core.blame import Frame, plugin_frames
from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.recorded import copy_of, recorded
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.core.tracebacks import trim
from dagstack_dev.core.transient import is_transient

CODE = """
class Odd(Exception):
    def __init__(self, held, *, word):
        self.held, self.word = held, word
    def __str__(self):
        return f"{self.word} of {type(self.held).__name__}"

class Down(Odd, ConnectionError):
    pass

class Several(ExceptionGroup):
    pass

def fail(held, raise_it):
    kept = held
    raise_it(held)
"""


class Held:
    """What a failing plugin has opened."""


def plugin_module() -> ModuleType:
    module = ModuleType("dagstack_plugins.demo.a.plugin")
    vars(module)["__loader__"] = SimpleNamespace(get_source=lambda _: CODE)
    exec(compile(CODE, "plugins/a/plugin.py", "exec"), vars(module))
    return module


def raised(raise_it: Callable[[ModuleType, Held], None]) -> tuple[BaseException, weakref.ref[Held]]:
    """The record of what `raise_it` raises in a plugin, and a reference to what that held."""
    module, held = plugin_module(), Held()
    try:
        module.fail(held, lambda held: raise_it(module, held))
    except BaseException as error:  # noqa: BLE001 - as it comes
        return recorded(error), weakref.ref(held)
    pytest.fail("nothing was raised")


def refused(module: ModuleType, held: Held) -> None:
    raise OSError(errno.EADDRINUSE, "Address already in use", "here") from KeyError(held)


def misspelt(module: ModuleType, held: Held) -> None:
    held.opne()  # type: ignore[attr-defined]


def odd(module: ModuleType, held: Held) -> None:
    raise module.Odd(held, word="no")


def down(module: ModuleType, held: Held) -> None:
    raise module.Down(held, word="no")


def several(module: ModuleType, held: Held) -> None:
    raise module.Several("two", [ValueError(held), module.Odd(held, word="no")])


def while_handling(module: ModuleType, held: Held) -> None:
    error = ValueError(1, {"key": [held]})
    error.__context__, error.__suppress_context__ = module.Odd(held, word="no"), True
    raise error


def a_copy(module: ModuleType, held: Held) -> None:
    raise copy_of(SyntaxError("in code that it imports"))


def for_a_copy(module: ModuleType, held: Held) -> None:
    error = PluginLoadError(PluginRef("demo", "a"), "import", "no", path="p.py", line=3)
    try:
        module.fail(held, lambda held: a_copy(module, held))
    except SyntaxError as copy:
        raise error from copy


def for_a_plugin(module: ModuleType, held: Held) -> None:
    error = PluginLoadError(PluginRef("demo", "a"), "import", "no", path="p.py", line=3)
    raise error from module.Odd(held, word="no")


def in_a_circle(module: ModuleType, held: Held) -> None:
    error = ValueError("round")
    error.__cause__ = KeyError(held)
    error.__cause__.__cause__ = error
    raise error


def with_notes(module: ModuleType, held: Held) -> None:
    error = ValueError("no")
    error.add_note("see the manual")
    error.held = held  # type: ignore[attr-defined]
    raise error


@pytest.mark.parametrize(
    "raise_it",
    [
        refused,
        misspelt,
        odd,
        down,
        several,
        while_handling,
        a_copy,
        for_a_copy,
        for_a_plugin,
        in_a_circle,
        with_notes,
    ],
)
def test_a_record_holds_nothing_of_what_raised_it(
    raise_it: Callable[[ModuleType, Held], None],
) -> None:
    record, held = raised(raise_it)
    gc.collect()
    assert held() is None
    assert plugin_frames(record)[-1] == Frame("plugins/a/plugin.py", 16, "fail")
    assert recorded(record) is record
    assert "\n".join(traceback.format_exception(record))


def test_a_record_is_of_the_same_class_and_has_its_facts() -> None:
    record, _ = raised(refused)
    assert type(record) is OSError
    assert (record.errno, record.filename) == (errno.EADDRINUSE, "here")
    assert str(record) == "[Errno 98] Address already in use: 'here'"
    assert isinstance(record.__cause__, KeyError)
    assert "Held object" in str(record.__cause__)


def test_a_class_of_the_plugin_is_kept_by_name_and_by_what_it_derives_from() -> None:
    record, _ = raised(down)
    assert type(record).__qualname__ == "Down"
    assert str(record) == "no of Held"
    assert isinstance(record, ConnectionError)
    assert is_transient(record)
    assert vars(record)["word"] == "no"
    assert "held" not in vars(record)
    assert not is_transient(raised(odd)[0])


def test_the_errors_of_a_group_are_records_too() -> None:
    record, _ = raised(several)
    assert isinstance(record, ExceptionGroup)
    assert [type(each).__name__ for each in record.exceptions] == ["ValueError", "Odd"]
    assert str(record.exceptions[1]) == "no of Held"


def test_what_may_have_been_meant_can_still_be_seen() -> None:
    record, _ = raised(misspelt)
    assert isinstance(record, AttributeError)
    assert record.name == "opne"
    assert "__init__" in dir(record.obj)


def test_what_was_being_handled_is_recorded_and_as_hidden_as_it_was() -> None:
    record, _ = raised(while_handling)
    assert type(record.__context__).__name__ == "Odd"
    assert record.__suppress_context__
    assert record.__cause__ is None
    shown = ValueError()
    shown.__context__ = KeyError()
    assert not copy_of(shown).__suppress_context__
    assert raised(with_notes)[0].__notes__ == ["see the manual"]


def test_an_error_of_ours_that_was_never_raised_is_a_record_and_a_copy_has_its_facts() -> None:
    error = PluginLoadError(PluginRef("demo", "a"), "import", "no", path="p.py", line=3)
    assert recorded(error) is error
    copy = copy_of(error)
    assert copy is not error
    assert (type(copy), str(copy), copy.stage) == (PluginLoadError, str(error), "import")


def test_the_lines_that_ran_are_recorded_with_those_before_them() -> None:
    record, _ = raised(odd)
    step = record.__traceback__
    assert step is not None
    text = step.tb_frame.f_globals["__loader__"].get_source("").splitlines()
    assert text[:13] == [""] * 13
    assert text[13:] == ["def fail(held, raise_it):", "    kept = held", "    raise_it(held)"]
    assert step.tb_frame.f_back is None


def test_an_exception_that_is_met_twice_is_recorded_once() -> None:
    error: Exception = ValueError("no")
    for _ in range(12):
        wrapping = RuntimeError(error, [error])
        wrapping.__cause__ = error
        error = wrapping
    copy = copy_of(error)
    assert copy.args[0] is copy.args[1][0] is copy.__cause__


def test_an_exception_that_hides_what_it_holds_is_recorded() -> None:
    class Hiding(LookupError):
        __module__ = 5  # type: ignore[assignment]  # as it may be in a plugin

        @property
        def __dict__(self) -> object:  # type: ignore[override]  # likewise
            raise AttributeError

    pretending = type("Pretending", (), {"__class__": ValueError, "__module__": 5})()
    copy = copy_of(Hiding("no", pretending, Hiding))
    assert isinstance(copy, LookupError)
    assert (type(copy).__name__, copy.args[0]) == ("Hiding", "no")
    assert [type(each) for each in copy.args] == [str, str, str]


def test_an_exception_that_is_an_empty_container_is_recorded_with_its_cause() -> None:
    class Several(Exception):
        def __len__(self) -> int:
            return 0

    error = Several("none")
    error.__cause__ = Several("why")
    error.__context__ = KeyError("other")
    copy = copy_of(error)
    assert str(copy.__cause__) == "why"
    assert recorded(copy) is copy


def test_endless_recursion_is_recorded_frame_by_frame() -> None:
    def endless(module: ModuleType, held: Held) -> None:
        module.fail(held, lambda held: endless(module, held))

    record, _ = raised(endless)
    assert len(plugin_frames(record)) > 100


def test_trimming_leaves_out_our_frames_around_those_of_others() -> None:
    def ours(function: Callable[[], object]) -> object:
        namespace = {"__name__": "dagstack_dev.host.it", "function": function}
        return eval("function()", namespace)

    def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError) as caught:
        eval("ours(fail)", {"__name__": "anyio.to_thread", "ours": ours, "fail": fail})
    error = caught.value
    error.__traceback__ = caught.tb.tb_next
    trim(error)
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_frame.f_globals is globals()


def test_an_exception_that_will_not_be_looked_at_is_recorded_by_name_and_message() -> None:
    class Shy(LookupError):
        @property
        def args(self) -> object:  # type: ignore[override]  # as it may be in a plugin
            raise AttributeError

        def __str__(self) -> str:
            return "leave me alone"

    record = recorded(Shy())
    assert (type(record).__name__, str(record)) == ("Shy", "leave me alone")
    assert isinstance(record, LookupError)
    assert recorded(record) is record


def test_a_record_has_the_old_name_of_is_transient() -> None:
    error = type("Down", (Exception,), {"is_transient": True, "__module__": "dagstack_plugins.a"})
    with pytest.warns(DeprecationWarning, match="is_transient"):
        assert recorded(error("x")).is_passing is True
