"""How a call becomes the arguments of a tool, and what is told when it does not fit."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from dagstack_dev import PluginContext, PluginRef
from dagstack_dev.core.errors.remote import ToolArgumentsInvalid
from dagstack_dev.runtimes.mcp.arguments import Arguments
from dagstack_dev.runtimes.mcp.catalogue import Tool

REF = PluginRef("tool", "demo")
INTEGER = {"type": "integer"}


def arguments(
    properties: Mapping[str, Any], required: list[str] | None = None, **schema: Any
) -> Arguments:
    wanted = list(properties) if required is None else required
    full = {"type": "object", "properties": properties, "required": wanted, **schema}
    return Arguments(REF, Tool("t", "", full))


def test_required_arguments_come_first_and_defaults_are_shown() -> None:
    properties = {
        "unit": {"type": "string", "default": "m"},
        "size": {"type": "number"},
        "tags": {"type": ["array", "null"]},
        "any": {},
    }
    found = arguments(properties, ["size", "any"])
    assert str(found.signature) == "(self, /, size: float, any, unit: str = 'm', tags: list = ...)"


def test_positions_and_names_may_be_mixed() -> None:
    found = arguments({"a": INTEGER, "b": INTEGER, "c": INTEGER}, ["a", "b"])
    assert found.of_call((1,), {"b": 2}) == {"a": 1, "b": 2}
    assert found.of_call((1, 2, 3), {}) == {"a": 1, "b": 2, "c": 3}


def test_a_default_is_left_to_the_server() -> None:
    found = arguments({"a": {"type": "integer", "default": 7}}, [])
    assert found.of_call((), {}) == {}


def test_a_context_in_front_is_left_out() -> None:
    found = arguments({"a": INTEGER, "b": INTEGER})
    context = PluginContext(config={}, logger=None, registry=None)
    assert found.of_call((context, 1), {"b": 2}) == {"a": 1, "b": 2}


def test_what_is_no_context_is_not() -> None:
    found = arguments({"a": {}})
    value = SimpleNamespace(registry=1)
    with pytest.raises(ToolArgumentsInvalid, match="cannot be sent as JSON"):
        found.of_call((value,), {})


def test_one_mapping_may_stand_for_all_arguments() -> None:
    found = arguments({"function": {"type": "string"}, "args": {"type": "object"}})
    whole = {"function": "add", "args": {"a": 1}}
    assert found.of_call((whole,), {}) == whole


def test_a_mapping_is_the_first_argument_where_that_is_an_object() -> None:
    found = arguments({"args": {"type": "object"}})
    assert found.of_call(({"x": 1},), {}) == {"args": {"x": 1}}


def test_a_mapping_is_all_there_can_be_for_a_tool_that_names_nothing() -> None:
    found = arguments({}, additionalProperties=True)
    assert found.of_call(({"x": 1},), {}) == {"x": 1}


def test_what_json_has_no_word_for_is_put_into_json() -> None:
    @dataclass
    class Point:
        x: int

    found = arguments({"a": {"type": "array"}, "b": {"type": "object"}, "c": {"type": "string"}})
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert found.of_call(((1, 2), Point(3), moment), {}) == {
        "a": [1, 2],
        "b": {"x": 3},
        "c": "2026-01-02T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("args", "kwargs", "argument", "message"),
    [
        (("x", 1), {}, "a", '"x" is not of type "integer"'),
        ((1, [1, "x"]), {}, "b.1", '"x" is not of type "integer"'),
        ((1,), {}, "", "missing a required argument: 'b'"),
        ((1, [], 3, 4), {}, "", "too many positional arguments"),
        ((1, []), {"lenght": 2}, "lenght", "did you mean 'length'?"),
        ((1,), {"a": 1, "b": []}, "", "multiple values for argument 'a'"),
        (({"a": 1},), {}, "b", "is missing"),
    ],
)
def test_a_call_that_does_not_fit_fails_with_the_name_of_the_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], argument: str, message: str
) -> None:
    properties = {"a": INTEGER, "b": {"type": "array", "items": INTEGER}, "length": INTEGER}
    with pytest.raises(ToolArgumentsInvalid, match=r".*") as caught:
        arguments(properties, ["a", "b"]).of_call(args, kwargs)
    assert caught.value.argument == argument
    assert message in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_more_names_pass_where_the_schema_says_so() -> None:
    found = arguments({"a": INTEGER}, additionalProperties={"type": "string"})
    assert found.of_call((1,), {"b": "x"}) == {"a": 1, "b": "x"}
    with pytest.raises(ToolArgumentsInvalid, match="argument 'b' does not fit"):
        found.of_call((1,), {"b": 2})


def test_names_that_python_has_no_room_for_are_passed_by_keyword() -> None:
    found = arguments({"from": INTEGER, "max-size": INTEGER, "self": INTEGER})
    assert str(found.signature) == "(_self, /, self: int, **arguments)"
    given = {"from": 1, "max-size": 2}
    assert found.of_call((3,), given) == {**given, "self": 3}
    with pytest.raises(ToolArgumentsInvalid, match="'max-size' is missing"):
        found.of_call((3,), {"from": 1})


def test_the_signature_has_names_of_its_own_where_the_tool_takes_the_usual_ones() -> None:
    names = ["self", "_self", "arguments", "_arguments"]
    found = arguments(dict.fromkeys([*names, "no-name"], INTEGER))
    assert str(found.signature) == (
        "(__self, /, self: int, _self: int, arguments: int, _arguments: int, **__arguments)"
    )
    values = dict(zip([*names, "no-name"], range(5), strict=True))
    assert found.of_call((), values) == values


def test_null_is_a_value() -> None:
    found = arguments({"a": {"type": ["integer", "null"]}, "b": INTEGER})
    assert found.of_call((None, 1), {}) == {"a": None, "b": 1}
    with pytest.raises(ToolArgumentsInvalid, match="argument 'b' does not fit"):
        found.of_call((None, None), {})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "no such type"}}},
        {"properties": ["a"]},
        {"type": "object", "required": True, "properties": {"a": True}},
        {"$schema": []},
        {"$schema": 5},
        {"$schema": "http://["},
        {"$ref": "#"},
        {},
    ],
)
def test_a_schema_that_is_none_leaves_the_judgement_to_the_server(schema: dict[str, Any]) -> None:
    found = Arguments(REF, Tool("t", "", schema))
    assert inspect.Signature in type(found.signature).__mro__
    assert found.of_call((), {}) == {}


def test_references_within_the_schema_are_followed_and_others_never_fetched() -> None:
    definitions: dict[str, Any] = {"$defs": {"size": INTEGER}}
    local = arguments({"a": {"$ref": "#/$defs/size"}}, **definitions)
    with pytest.raises(ToolArgumentsInvalid, match="argument 'a' does not fit"):
        local.of_call(("x",), {})
    distant = arguments({"a": {"$ref": "http://127.0.0.1:1/schema"}})
    assert distant.of_call((1,), {}) == {"a": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"required": ["extra"]},
        {"if": {"required": ["a"]}, "then": {"properties": {"extra": INTEGER}}},
        {"if": {"required": ["a"]}, "else": {"properties": {"extra": INTEGER}}},
        {"dependentSchemas": {"a": {"properties": {"extra": INTEGER}}}},
        {"dependentRequired": {"a": ["extra"]}},
        {"dependencies": {"a": {"properties": {"extra": INTEGER}}}},
        {"allOf": [{"properties": {"extra": INTEGER}}]},
        {"anyOf": [{"required": ["extra"]}]},
        {"patternProperties": {"^e": INTEGER}},
        {"propertyNames": {"maxLength": 9}},
        {"unevaluatedProperties": INTEGER},
        {"$ref": "#/$defs/all", "$defs": {"all": {"properties": {"extra": INTEGER}}}},
    ],
)
def test_a_name_that_any_part_of_the_schema_may_give_passes(schema: dict[str, Any]) -> None:
    found = Arguments(REF, Tool("t", "", {"properties": {"a": INTEGER}, **schema}))
    assert found.of_call((), {"a": 1, "extra": 2}) == {"a": 1, "extra": 2}


def test_a_name_that_is_required_alone_is_in_the_signature() -> None:
    found = Arguments(REF, Tool("t", "", {"required": ["b", 7]}))
    assert str(found.signature) == "(self, /, b)"
    assert found.of_call((1,), {}) == {"b": 1}


def test_names_that_are_one_in_python_are_kept_apart() -> None:
    found = arguments({"\ufb01le": INTEGER, "file": INTEGER}, [])
    assert str(found.signature) == "(self, /, file: int = ..., **arguments)"
    both = {"\ufb01le": 1, "file": 2}
    assert found.of_call((), both) == both
    assert found.of_call((2,), {"\ufb01le": 1}) == both
    assert found.of_call((both,), {}) == both


def test_a_name_that_python_writes_otherwise_is_sent_as_the_server_knows_it() -> None:
    found = arguments({"\ufb01le": INTEGER})
    sent = {"\ufb01le": 1}
    assert str(found.signature) == "(self, /, file: int)"
    assert found.of_call((1,), {}) == sent
    assert found.of_call((), {"file": 1}) == sent
    assert found.of_call((), sent) == sent
    with pytest.raises(ToolArgumentsInvalid, match="missing a required argument: 'file'"):
        found.of_call((), {})


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("^(a+)+$", False),
        ("(.{0,500}){0,100}x", False),
        (r"^(a|a)*\1b", True),  # Too much to try.
        ("(", True),
        (r"\p{Nope}", True),
    ],
)
def test_a_pattern_of_a_servers_takes_no_time(pattern: str, *, fits: bool) -> None:
    found = arguments({"a": {"type": "string", "pattern": pattern}})
    value = "a" * 5000 + "!"
    if fits:
        assert found.of_call((value,), {}) == {"a": value}
    else:
        with pytest.raises(ToolArgumentsInvalid, match="does not match"):
            found.of_call((value,), {})
