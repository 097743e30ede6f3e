"""Exceptions as values and raised again: what they hold besides type, message and lines."""

from __future__ import annotations

import pytest

from dagstack_dev import PluginRef
from dagstack_dev.core.errors.remote import RemoteError
from dagstack_dev.core.recorded import copy_of
from dagstack_dev.core.transient import is_transient
from dagstack_dev.runtimes.process.transfer import pack, unpack

REF = PluginRef("demo", "it")


def sent(error: BaseException) -> BaseException:
    (back,) = unpack(pack([error], ref=REF, what="it"), ref=REF, what="it")
    assert isinstance(back, BaseException)
    return back


@pytest.mark.parametrize("expected", [True, False])
def test_a_class_that_is_transient_comes_back_as_one(*, expected: bool) -> None:
    class Down(Exception):  # Cannot be pickled, as no class of a plugin can.
        pass

    Down.is_transient = expected  # type: ignore[attr-defined]
    assert is_transient(sent(Down("connection refused"))) is expected


@pytest.mark.parametrize("hide", [True, False])
def test_what_was_being_handled_comes_too(*, hide: bool) -> None:
    error = ValueError("no index")
    error.__context__, error.__suppress_context__ = ConnectionRefusedError("down"), hide
    back = sent(error)
    assert isinstance(back.__context__, ConnectionRefusedError)
    assert back.__cause__ is None
    assert back.__suppress_context__ is hide
    assert is_transient(back)


def test_a_group_comes_with_its_exceptions_and_where_they_were_raised() -> None:
    class Down(Exception):  # Cannot be pickled, as no class of a plugin can.
        pass

    why = Down("connection refused")
    why.add_note("for a while")
    group = ExceptionGroup("several", [ExceptionGroup("inner", [why]), KeyError("item")])
    group.add_note("at the start")
    back = sent(group)
    assert isinstance(back, ExceptionGroup)
    assert back.message == "several"
    assert back.__notes__ == ["at the start"]
    inner, other = back.exceptions
    assert isinstance(inner, ExceptionGroup)
    assert str(inner.exceptions[0]) == "connection refused"
    assert inner.exceptions[0].__notes__ == ["for a while"]
    assert isinstance(other, KeyError)


def test_a_class_of_the_plugin_comes_with_its_attributes_and_can_be_recorded() -> None:
    class NoSuchItem(KeyError):  # Cannot be pickled, as no class of a plugin can.
        def __init__(self, item: str, held: object) -> None:
            super().__init__(item)
            self.item, self.held = item, held

    error = NoSuchItem("pen", object())
    back = sent(error)
    for each in (back, copy_of(back)):
        assert isinstance(each, RemoteError)
        assert isinstance(each, KeyError)
        assert (str(each), type(each).__name__, each.ref) == ("'pen'", "NoSuchItem", REF)
        assert vars(each)["item"] == "pen"
        assert "held" not in vars(each)


def test_what_is_no_exception_there_is_one_here_so_that_it_ends_nothing() -> None:
    class Quit(SystemExit):  # Cannot be pickled, as no class of a plugin can.
        pass

    back = sent(Quit("enough"))
    assert type(back) is RemoteError
    assert (str(back), back.ref) == ("Quit: enough", REF)


def test_a_group_of_the_plugins_own_class_is_still_a_group() -> None:
    class Several(ExceptionGroup):
        pass

    back = sent(Several("two", [KeyError("item"), ValueError("no")]))
    assert isinstance(back, RemoteError)
    assert isinstance(back, ExceptionGroup)
    assert back.subgroup(ValueError) is not None


def test_a_class_that_cannot_be_pickled_but_is_known_here_comes_back_as_it_was() -> None:
    error = CannotBePickled("no such item", code=3)
    assert type(sent(error)) is CannotBePickled
    assert vars(sent(error)) == {"code": 3}
    assert type(sent(KeyError(error)).args[0]) is CannotBePickled


class CannotBePickled(Exception):
    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class NothingIsSet(Exception):
    """As a frozen dataclass without fields."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def test_an_exception_that_lets_nothing_be_set_comes_back() -> None:
    error = NothingIsSet("no such item")
    BaseException.__setattr__(error, "__cause__", KeyError("item"))
    back = sent(error)
    assert isinstance(back, NothingIsSet)
    assert isinstance(back.__cause__, KeyError)


def test_a_chain_without_end_is_cut() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert str(sent(one).__context__) == "other"
