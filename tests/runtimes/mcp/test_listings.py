"""What a server lists: one part that is malformed costs that part only, and no list is endless."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from mcp_talks import REF
from odd_servers import outcome, over_pipes, plain, result_of, served, usual

from dagstack_dev.core.errors.remote import ToolError, ToolResultInvalid, ToolTimeout
from dagstack_dev.runtimes.mcp.arguments import class_of
from dagstack_dev.runtimes.mcp.catalogue import Tool
from dagstack_dev.runtimes.mcp.server_log import ServerLog

Events = list[dict[str, Any]]

SCHEMA = {"type": "object"}


def told(events: Events) -> list[str]:
    return [each["event"] for each in events if each["log_level"] == "warning"]


async def listed(tools: object, call: bytes = b"") -> tuple[tuple[Tool, ...], list[Any]]:
    """The tools of a server that lists `tools`, and what a call of each returns."""

    def answer(message: dict[str, Any]) -> bytes:
        if message["method"] == "tools/call":
            return call.replace(b"ID", str(message["id"]).encode())
        return usual(message, tools=tools)

    async with over_pipes(answer) as session:
        found = await session.list_tools(20)
        return found, [await outcome(session, tool) for tool in found] if call else []


async def test_a_malformed_tool_costs_that_tool_only_and_is_named(captured_events: Events) -> None:
    odd = [
        7,
        None,
        {},
        {"name": "", "inputSchema": SCHEMA},
        {"name": ["list"], "inputSchema": SCHEMA},
        {"name": "schemaless"},
        {"name": "text", "inputSchema": "object"},
        {"name": "yes", "inputSchema": True},
    ]
    found, _ = await listed([*odd, {"name": "good", "inputSchema": SCHEMA}])
    assert [tool.name for tool in found] == ["good"]
    warned = told(captured_events)
    assert len(warned) == len(odd)
    assert "leaves out a malformed tool: 7 is no object" in warned
    assert "leaves out a malformed tool: schemaless: its inputSchema is no object" in warned


@pytest.mark.parametrize(
    "odd",
    [
        {"description": 7, "title": {}, "annotations": ["readOnlyHint"], "icons": 1, "_meta": "x"},
        {"annotations": {"readOnlyHint": "yes"}, "execution": None, "description": None},
        {"inputSchema": {}},
        {"inputSchema": {"type": "array", "required": 7, "properties": []}},
        {"outputSchema": "text"},
        {"outputSchema": None},
        {"outputSchema": {"type": "nonsense"}},
        {"outputSchema": {"type": "object", "pattern": "("}},
        {"outputSchema": {"$ref": "#/nowhere"}},
        {"outputSchema": {"$schema": 7}},
        {"outputSchema": {"$ref": "http://127.0.0.1:1/schema"}},
    ],
)
async def test_an_odd_field_costs_that_field_only(odd: dict[str, Any]) -> None:
    said = b'{"jsonrpc": "2.0", "id": ID, "result": {"structuredContent": {"a": "x"}}}'
    (tool,), outcomes = await listed([{"name": "odd", "inputSchema": SCHEMA, **odd}], said)
    assert tool.name == "odd"
    assert outcomes == [{"a": "x"}]


async def test_a_faulty_output_schema_lets_text_through() -> None:
    said = b'{"jsonrpc": "2.0", "id": ID, "result": {"content": [{"type": "text", "text": "x"}]}}'
    tool = {"name": "odd", "inputSchema": SCHEMA, "outputSchema": {"type": "nonsense"}}
    assert (await listed([tool], said))[1] == ["x"]
    tool["outputSchema"] = {"type": "object"}
    (error,) = (await listed([tool], said))[1]
    assert isinstance(error, ToolResultInvalid)
    assert "no structured content, but text: x" in str(error)


async def test_null_is_a_structured_result_where_the_schema_says_so() -> None:
    said = b'{"jsonrpc": "2.0", "id": ID, "result": {"content": [], "structuredContent": null}}'
    tool = {"name": "odd", "inputSchema": SCHEMA, "outputSchema": {"type": ["object", "null"]}}
    assert (await listed([tool], said))[1] == [None]


async def test_a_pattern_of_a_result_takes_no_time() -> None:
    value = "a" * 5000 + "!"
    said = b'{"jsonrpc": "2.0", "id": ID, "result": {"structuredContent": {"a": "%s"}}}'
    output = {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}
    tool = {"name": "odd", "inputSchema": SCHEMA, "outputSchema": output}
    (error,) = (await listed([tool], said % value.encode()))[1]
    assert isinstance(error, ToolResultInvalid)


async def test_what_a_schema_refers_to_is_fetched_from_nowhere() -> None:
    asked = []

    async def respond(head: str, _: bytes) -> bytes:
        asked.append(head)
        return plain("404 Not Found")

    async with served(respond) as url:
        distant = {"type": "object", "$ref": url}
        said = b'{"jsonrpc": "2.0", "id": ID, "result": {"structuredContent": {"a": 1}}}'
        tool = {"name": "odd", "inputSchema": distant, "outputSchema": distant}
        (found,), outcomes = await listed([tool], said)
        class_of(object, REF, [found], description="")[1]["odd"].checked({"a": 1})
        await anyio.wait_all_tasks_blocked()
    assert outcomes == [{"a": 1}]
    assert asked == []


async def test_of_two_tools_of_one_name_the_first_counts() -> None:
    first, second = ({"name": "odd", "inputSchema": SCHEMA, "title": each} for each in "ab")
    assert [tool.title for tool in (await listed([first, second]))[0]] == ["a"]


async def test_names_that_are_one_in_python_are_kept_apart() -> None:
    (*tools,), _ = await listed(
        [{"name": each, "inputSchema": SCHEMA} for each in ("\ufb01le", "file")]
    )
    cls, arguments = class_of(object, REF, tools, description="")
    assert arguments.keys() == {"\ufb01le", "file"}
    assert "\ufb01le" not in vars(cls)

    class Base:
        async def _call(self, tool: Tool, _arguments: dict[str, Any]) -> str:
            return tool.name

    assert await class_of(Base, REF, tools, description="")[0]().file() == "file"
    assert await class_of(Base, REF, tools[:1], description="")[0]().file() == "\ufb01le"


def pages(cursor: Any, asked: list[Any]) -> Any:
    """A server whose pages each hold one tool and name the cursor that `cursor` makes."""

    def answer(message: dict[str, Any]) -> bytes:
        if message["method"] != "tools/list":
            return usual(message)
        asked.append(message.get("params", {}).get("cursor"))
        tool = {"name": f"t{len(asked)}", "inputSchema": SCHEMA}
        result = {"tools": [tool], "nextCursor": cursor(len(asked))}
        return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()

    return answer


@pytest.mark.parametrize(
    ("cursor", "asked"),
    [
        (lambda _: "same", [None, "same"]),
        (lambda page: "ab"[page % 2], [None, "b", "a"]),
        (lambda page: page if page < 3 else None, [None, 1, 2]),
        (lambda _: "", [None]),
        (lambda _: {"odd": 1}, [None]),
    ],
)
async def test_a_cursor_that_comes_again_is_not_asked_for_again(
    cursor: Any, asked: list[Any], captured_events: Events
) -> None:
    found: list[Any] = []
    async with over_pipes(pages(cursor, found)) as session:
        assert len(await session.list_tools(20)) == len(asked)
    assert found == asked
    ends = [each for each in told(captured_events) if "comes to no end" in each]
    assert bool(ends) == (asked[1:] in (["same"], ["b", "a"]))


async def test_pages_without_end_are_given_up(captured_events: Events) -> None:
    async with over_pipes(pages(str, [])) as session:
        assert len(await session.list_tools(20)) == 1000
    assert "listing tools: given up after 1000 pages" in told(captured_events)[0]


async def test_optional_lists_that_a_server_lacks_are_empty() -> None:
    resource = {"uri": "a:b"}

    async with over_pipes(
        lambda message: usual(message, **{"resources/list": {"resources": [resource]}})
    ) as session:
        assert [each.uri for each in await session.list_resources(20)] == ["a:b"]
        assert await session.list_prompts(20) == ()


async def test_malformed_resources_and_prompts_cost_themselves_only() -> None:
    lists = {
        "resources/list": {"resources": [7, {"uri": 7, "name": "x"}, {"uri": "a:b", "name": 7}]},
        "resources/templates/list": {"resourceTemplates": [{}, {"uriTemplate": "a:{b}"}]},
        "prompts/list": {"prompts": [{"name": 7}, {"name": "p", "arguments": {}}, {"name": "q"}]},
    }
    async with over_pipes(lambda message: usual(message, **lists)) as session:
        assert [each.uri for each in await session.list_resources(20)] == ["a:b", "a:{b}"]
        assert [each.name for each in await session.list_prompts(20)] == ["p", "q"]


async def test_a_list_that_never_comes_runs_out_of_time() -> None:
    async def asked() -> object:
        async with over_pipes(
            lambda m: b"" if m["method"] == "prompts/list" else usual(m)
        ) as session:
            try:
                return await session.list_prompts(0.01)
            except ToolError as error:
                return error

    with pytest.raises(ToolTimeout, match="listing prompts"):
        result_of(await asked())


@pytest.mark.parametrize("tools", [{}, "odd", None])
async def test_a_list_that_is_none_is_invalid(tools: object) -> None:
    async def asked() -> object:
        async with over_pipes(lambda message: usual(message, tools=tools)) as session:
            try:
                return await session.list_tools(20)
            except ToolError as error:
                return error

    with pytest.raises(ToolResultInvalid, match="holds no list of tools"):
        result_of(await asked())


@pytest.mark.parametrize(
    "odd",
    [
        {"serverInfo": None},
        {"serverInfo": {"name": 7}},
        {"capabilities": {"tools": True, "logging": None, "experimental": 7}},
        {"capabilities": {"tools": {"listChanged": "yes"}}},
        {"capabilities": {"tools": []}, "instructions": {}, "_meta": 1},
    ],
)
async def test_an_odd_handshake_is_one(odd: dict[str, Any]) -> None:
    info = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "a", "version": "1"}}
    said = {"capabilities": {"tools": {}}, **info, **odd}
    async with over_pipes(lambda message: usual(message, initialize=said)) as session:
        assert [tool.name for tool in await session.list_tools(20)] == ["odd"]


def test_a_logger_that_fails_costs_no_list() -> None:
    log = ServerLog(object())
    log.say("leaves out a malformed tool: odd", "warning")
