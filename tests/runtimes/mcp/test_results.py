"""What a call returns, and what it raises for a tool that failed."""

from __future__ import annotations

from typing import Any

import pytest

from dagstack_dev import PluginRef
from dagstack_dev.runtimes.mcp.catalogue import Tool, contents_of, error_of, result_of

REF = PluginRef("tool", "demo")
TEXT = {"type": "text", "text": "hello"}
IMAGE = {"type": "image", "data": "aGk=", "mimeType": "image/png"}


def tool(output: dict[str, Any] | None = None) -> Tool:
    return Tool("add", "", {}, output)


def wrapped(**more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"result": {"type": "integer"}}, **more}


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ({"content": [TEXT]}, "hello"),
        ({"content": []}, None),
        ({"content": [TEXT, TEXT]}, [TEXT, TEXT]),
        ({"content": [IMAGE]}, [IMAGE]),
        ({"content": [TEXT], "structuredContent": {"a": 1}}, {"a": 1}),
        ({"content": [TEXT], "structuredContent": None}, "hello"),
        ({"structuredContent": {"a": 1}}, {"a": 1}),
        ({"content": None}, None),
        ({"content": TEXT}, "hello"),
        ({"content": "hello"}, "hello"),
        ({"content": [{"type": "text", "text": None}]}, [{"type": "text", "text": None}]),
    ],
)
def test_structure_comes_before_text_and_text_before_content(
    answer: dict[str, Any], value: object
) -> None:
    assert result_of(REF, answer, tool()) == value


@pytest.mark.parametrize(
    "schema", [wrapped(title="addOutput"), wrapped(**{"x-fastmcp-wrap-result": True})]
)
def test_what_the_sdk_has_wrapped_is_unwrapped(schema: dict[str, Any]) -> None:
    assert result_of(REF, {"content": [], "structuredContent": {"result": 3}}, tool(schema)) == 3


@pytest.mark.parametrize(
    "schema",
    [
        None,
        wrapped(),
        wrapped(title="Verdict"),
        {"title": "addOutput", "properties": {"result": {}, "other": {}}},
    ],
)
def test_an_object_of_the_tools_own_stays_one(schema: dict[str, Any] | None) -> None:
    answer = {"content": [], "structuredContent": {"result": 3}}
    assert result_of(REF, answer, tool(schema)) == {"result": 3}


@pytest.mark.parametrize(
    ("text", "type_name", "message"),
    [
        ("too long", None, "too long"),
        ("ValueError: too long", "ValueError", "too long"),
        ("Error executing tool add: ValueError: a\nb", "ValueError", "a\nb"),
        ("Note: something else", None, "Note: something else"),
    ],
)
def test_an_error_keeps_type_and_message(text: str, type_name: str | None, message: str) -> None:
    answer = {"isError": True, "content": [{"type": "text", "text": text}, IMAGE]}
    error = error_of(REF, "add", answer)
    assert (error.type_name, error.message, error.tool) == (type_name, message, "add")


def test_an_error_without_a_word_is_one_all_the_same() -> None:
    error = error_of(REF, "add", {"content": []})
    assert str(error) == "tool/demo: add failed: the server does not say why"


def test_each_part_of_a_resource_is_text_or_bytes() -> None:
    text, blob = {"uri": "a:b", "text": "x"}, {"uri": "a:b", "blob": "aGk="}
    assert contents_of(REF, "x", {"contents": [text, blob]}) == [(text, "x"), (blob, b"hi")]
    assert contents_of(REF, "x", {"contents": text}) == [(text, "x")]
    assert contents_of(REF, "x", {"contents": []}) == []
