"""Hookspecs as YAML, and what is said of those that cannot be used."""

from __future__ import annotations

from textwrap import dedent

import pytest

from dagstack_dev import (
    DispatchClass,
    ErrorPolicy,
    HookSpec,
    HookspecsInvalid,
    KindSpec,
    parse_hookspecs,
)

FULL = """
kind: search
kind_api_version: 1.2.0
description: Finds things.
hooks:
  - name: find
    dispatch: broadcast_collect
    description: All that fits.
    input_schema: {type: object, properties: {query: {type: string}}}
    output_schema:
      type: array
    mcp_exposed: true
    mcp_tool_name_template: "{kind}.{plugin}.{hook}.{function}"
    error_policy: fail_fast
  - {name: rank, dispatch: chain}
"""


def test_every_key_is_read() -> None:
    find = HookSpec(
        name="find",
        dispatch=DispatchClass.BROADCAST_COLLECT,
        description="All that fits.",
        input_schema={"type": "object", "properties": {"query": {"type": "string"}}},
        output_schema={"type": "array"},
        mcp_exposed=True,
        mcp_tool_name_template="{kind}.{plugin}.{hook}.{function}",
        error_policy=ErrorPolicy.FAIL_FAST,
    )
    rank = HookSpec(name="rank", dispatch=DispatchClass.CHAIN)
    assert parse_hookspecs(FULL) == (
        KindSpec(
            kind="search",
            kind_api_version="1.2.0",
            description="Finds things.",
            hooks=(find, rank),
        ),
    )


def test_several_documents_are_several_kinds() -> None:
    specs = parse_hookspecs("kind: a\nhooks: []\n---\nkind: b\nhooks: []\n---\n")
    assert [spec.kind for spec in specs] == ["a", "b"]


@pytest.mark.parametrize(("written", "major"), [("1", 1), ("2.0", 2), ("'3.1.4'", 3)])
def test_a_version_may_be_written_as_a_number(written: str, major: int) -> None:
    [spec] = parse_hookspecs(f"kind: a\nkind_api_version: {written}\nhooks: []\n")
    assert spec.api_major == major


HOOK = "kind: a\nhooks:\n  - name: find\n    dispatch: chain\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "specs.yaml: is empty; a hookspec was expected"),
        ("kind: [", "specs.yaml:1: is not valid YAML: expected the node content"),
        ("- kind", "specs.yaml:1: must be a mapping"),
        ("kind: a", "specs.yaml:1: hooks: missing"),
        ("hooks: []", "specs.yaml:1: kind: missing"),
        ("kind: a\nhoks: []\nhooks: []", "specs.yaml:2: hoks: unknown key; did you mean 'hooks'?"),
        ("kind: a\nhooks: find", "specs.yaml:2: hooks: must be a list of hooks"),
        ("kind: a b\nhooks: []", "specs.yaml:1: kind: 'a b' may hold letters"),
        ("kind: {}\nhooks: []", "specs.yaml:1: kind: must be text"),
        ("kind:\nhooks: []", "specs.yaml:1: kind: must be text"),
        ("kind: a\nkind: b\nhooks: []", "specs.yaml:2: kind: is there twice"),
        ("kind: a\nhooks: []\nkind_api_version: v1", "specs.yaml:3: kind_api_version: 'v1' must"),
        ("kind: a\nhooks:\n  - name: find", "specs.yaml:3: hooks[0].dispatch: missing"),
        (
            "kind: a\nhooks:\n- {name: find, dispatch: chian}",
            (
                "specs.yaml:3: hooks[0].dispatch: 'chian' is none of singleton, broadcast_collect, "
                "broadcast_notify, chain, capability; did you mean 'chain'?"
            ),
        ),
        (HOOK.replace("find", "_find"), "specs.yaml:3: hooks[0].name: '_find' must be the name"),
        (f"{HOOK}    mcp_exposed: 1", "specs.yaml:5: hooks[0].mcp_exposed: must be true or false"),
        (f"{HOOK}    input_schema: []", "specs.yaml:5: hooks[0].input_schema: must be a JSON"),
        (
            f"{HOOK}    error_policy: fail-fast",
            (
                "specs.yaml:5: hooks[0].error_policy: 'fail-fast' is none of fail_fast, "
                "best_effort; did you mean 'fail_fast'?"
            ),
        ),
        (
            f"{HOOK}    mcp_tool_name_template: '{{plugn}}'",
            (
                "specs.yaml:5: hooks[0].mcp_tool_name_template: {plugn} is none of {kind}, "
                "{plugin}, {hook}, {function}; did you mean 'plugin'?"
            ),
        ),
        (f"{HOOK}    mcp_tool_name_template: '{{'", "specs.yaml:5: hooks[0].mcp_tool_name_templ"),
        (f"{HOOK}  - {{name: find, dispatch: chain}}", "specs.yaml: hooks: 'find' is declared tw"),
        (f"{HOOK}---\n{HOOK}", "specs.yaml: kind: 'a' is declared twice"),
        (f"{HOOK}    input_schema: !python/name:os.system x", "specs.yaml:5: hooks[0].input_schem"),
    ],
)
def test_what_is_wrong_is_reported_with_its_line(text: str, message: str) -> None:
    with pytest.raises(HookspecsInvalid) as caught:
        parse_hookspecs(text, "specs.yaml")
    assert str(caught.value).startswith(message)


def test_everything_is_reported_at_once() -> None:
    text = dedent("""\
        kind: a b
        hooks:
          - nam: find
            dispatch: chain
          - 7
        """)
    with pytest.raises(HookspecsInvalid) as caught:
        parse_hookspecs(text, "specs.yaml")
    assert str(caught.value).splitlines() == [
        "specs.yaml: 4 problems in the hookspecs",
        (
            "  line 1: kind: 'a b' may hold letters, digits, '-', '_' and '.' only, a letter or "
            "digit first"
        ),
        "  line 3: hooks[0].nam: unknown key; did you mean 'name'?",
        "  line 3: hooks[0].name: missing",
        "  line 5: hooks[1]: must be a mapping",
    ]
    assert (caught.value.path, caught.value.line) == ("specs.yaml", 1)


def test_nesting_without_end_is_a_problem_and_no_crash() -> None:
    with pytest.raises(HookspecsInvalid, match="cannot be parsed"):
        parse_hookspecs("[" * 50_000)


@pytest.mark.parametrize(
    "value", ["2024-99-99", "!!int x", "!!float x", "!!bool x", "!!timestamp x"]
)
def test_a_value_that_its_type_does_not_fit_is_a_problem_at_its_line(value: str) -> None:
    text = dedent(f"""\
        kind: a
        hooks:
          - name: find
            dispatch: chain
            input_schema: {{default: {value}}}
        """)
    with pytest.raises(HookspecsInvalid, match=r"5: hooks\[0\]\.input_schema: cannot be read: "):
        parse_hookspecs(text, "specs.yaml")


@pytest.mark.parametrize("name", ["import", "setup", "teardown", "health", "matches"])
def test_what_no_plugin_can_have_as_a_hook_is_refused(name: str) -> None:
    text = f"kind: a\nhooks:\n  - {{name: {name}, dispatch: chain}}\n"
    with pytest.raises(HookspecsInvalid, match=rf"^specs\.yaml:3: hooks\[0\]\.name: '{name}' "):
        parse_hookspecs(text, "specs.yaml")
