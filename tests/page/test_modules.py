"""The parts of the page that only compute, as the browser computes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from browsing import Tab
from playwright.async_api import Browser, Route

from dagstack_dev.page.serving import WEB

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Tab]:
    """The files of the page in a tab, without a server."""
    origin = "http://page.invalid"

    async def answer(route: Route) -> None:
        await route.fulfill(path=WEB / route.request.url.removeprefix(f"{origin}/"))

    context = await browser.new_context()
    await context.route(f"{origin}/**", answer)
    opened = await context.new_page()
    await opened.goto(f"{origin}/favicon.svg")
    yield Tab(opened)
    await context.close()


def plugin(ref: str, *below: str, above: tuple[str, ...] = (), **other: Any) -> dict[str, Any]:
    return {
        "plugin": ref,
        "state": "ready",
        "error": None,
        "degraded": False,
        "requires_restart": False,
        "receipt": {"is_current": True, "pending": None},
        "depends_on": [*below],
        "dependents": [*above],
        **other,
    }


PLUGINS = [
    plugin("store/settings", above=("job/greeter", "web/theme")),
    plugin("job/greeter", "store/settings", above=("clock/ticker",)),
    plugin("web/theme", "store/settings", degraded=True),
    plugin("clock/ticker", "job/greeter", "tool/nowhere", state="blocked"),
    plugin("tool/settings-editor", state="failed", error={"type": "E", "message": "No key"}),
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["settings", "greeter", "theme", "ticker", "settings-editor"]),
        ("settings", ["settings", "settings-editor"]),
        ("SETTINGS", ["settings", "settings-editor"]),
        ("no", ["settings-editor"]),
        ("settings+", ["settings", "greeter", "theme", "ticker"]),
        ("settings+1", ["settings", "greeter", "theme"]),
        ("+ticker", ["settings", "greeter", "ticker"]),
        ("1+ticker", ["greeter", "ticker"]),
        ("+clock/ticker", ["settings", "greeter", "ticker"]),
        ("+greeter+", ["settings", "greeter", "ticker"]),
        ("kind:web,job", ["greeter", "theme"]),
        ("settings+ kind:web", ["theme"]),
        ("state:failed,blocked", ["ticker", "settings-editor"]),
        ("state:degraded", ["theme"]),
        ("name:theme", ["theme"]),
        ("other:theme", []),
        ("constructor:theme", []),
        ("+", []),
    ],
)
async def test_a_filter_selects(page: Tab, text: str, found: list[str]) -> None:
    names = "it.select(...given).map((each) => each.plugin.split('/')[1])"
    assert await page.module("selection.js", names, text, PLUGINS) == found


@pytest.mark.parametrize(
    ("behind", "place"),
    [
        ("", {"view": "inventory", "plugin": None, "query": {}}),
        ("#/errors", {"view": "errors", "plugin": None, "query": {}}),
        (
            "#/plugin/tool/a.b?filter=%2Ba+kind%3Atool",
            {"view": "plugin", "plugin": "tool/a.b", "query": {"filter": "+a kind:tool"}},
        ),
        ("#/%zz", {"view": "%zz", "plugin": None, "query": {}}),
    ],
)
async def test_an_address_says_what_is_shown(page: Tab, behind: str, place: dict[str, Any]) -> None:
    assert await page.module("address.js", "it.parse(...given)", behind) == place
    assert await page.module("address.js", "it.parse(it.href(...given))", place) == place


@pytest.mark.parametrize(
    ("signature", "fields"),
    [
        ("()", []),
        ("() -> str", []),
        ("(name)", [("name", True, "", "")]),
        (
            "(name: str, /, times: int = 1) -> str",
            [("name", True, "", "str"), ("times", False, "1", "int")],
        ),
        ("(*args, key: str = 'a, b=(', **more)", [("key", False, "'a, b=('", "str")]),
        ("(pairs: dict[str, list[int]])", [("pairs", True, "", "dict[str, list[int]]")]),
        ("(of: Literal['a:b', \")\"] = 'x')", [("of", False, "'x'", "Literal['a:b', \")\"]")]),
    ],
)
async def test_a_signature_makes_a_form(
    page: Tab, signature: str, fields: list[tuple[object, ...]]
) -> None:
    expression = (
        "it.fieldsOf({ signature: given[0], parameters: null })"
        ".map((each) => [each.name, each.isRequired, each.byDefault, each.help])"
    )
    assert await page.module("fields.js", expression, signature) == [*map(list, fields)]


async def test_a_schema_makes_a_form(page: Tab) -> None:
    properties = {
        "name": {"type": "string", "description": "Who."},
        "size": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "loud": {"type": "boolean", "default": False},
        "kind": {"enum": ["a", 1]},
        "more": {"type": "object"},
        "any": {},
    }
    expression = (
        "it.fieldsOf({ parameters: { properties: given[0], required: ['name'] } })"
        ".map((each) => [each.name, each.isRequired, each.byDefault,"
        " each.choices, each.isLong, each.help])"
    )
    assert await page.module("fields.js", expression, properties) == [
        ["name", True, "", None, False, "string: Who."],
        ["size", False, "null", None, False, "integer or null"],
        ["loud", False, "false", ["true", "false"], False, "boolean"],
        ["kind", False, "", ["a", "1"], True, "any value"],
        ["more", False, "", None, True, "object"],
        ["any", False, "", None, True, "any value"],
    ]


async def test_what_is_left_empty_is_left_out_unless_it_is_needed(page: Tab) -> None:
    fields = [{"name": name, "isRequired": name == "a"} for name in "abc"]
    given = await page.module("fields.js", "it.argumentsOf(...given)", fields, {"b": "1"})
    assert given == {"a": "", "b": "1"}


def text_of(node: Any) -> str:
    """A tree as its tags and texts."""
    if isinstance(node, str):
        return node
    inside = "".join(map(text_of, node["children"]))
    where = f" {node['href']}" if "href" in node else ""
    return f"<{node['tag']}{where}>{inside}</>"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("one\ntwo\n\nthree", "<p>one\ntwo</><p>three</>"),
        ("# Big #\ntext", "<h1>Big</><p>text</>"),
        ("- a\n- b\n  - c\n\n1. d", "<ul><li>a</><li>b<ul><li>c</></></></><ol><li>d</></>"),
        ("```py\n# not **this**\n```\nx", "<pre><code># not **this**</></><p>x</>"),
        ("```\nnever closed", "<pre><code>never closed</></>"),
        ("> said\n> so", "<blockquote><p>said\nso</></>"),
        ("***", "<hr></>"),
        (
            "| a | b |\n|---|---|\n| 1 | `x` |",
            "<table><thead><tr><th>a</><th>b</></></><tbody><tr><td>1</><td><code>x</></></></></>",
        ),
        ("**bold** *it* _it_ `a*b*`", "<p><strong>bold</> <em>it</> <em>it</> <code>a*b*</></>"),
        ("snake_case_name 2 * 3 * 4", "<p>snake_case_name 2 * 3 * 4</>"),
        ("[here](https://a.b/c)", "<p><a https://a.b/c>here</></>"),
        ("[no](javascript:alert(1))", "<p>[no](javascript:alert(1))</>"),
        ("<b>x</b>", "<p><b>x</b></>"),
        ("#no heading", "<p>#no heading</>"),
        ("# #", "<h1></>"),
        ("# one\u2028two", "<h1>one\u2028two</>"),
        ("``a ` b`` `", "<p><code>a ` b</> `</>"),
        ("", ""),
    ],
)
async def test_markdown_is_read(page: Tab, text: str, tree: str) -> None:
    nodes = await page.module("markdown.js", "it.parse(...given)", text)
    assert "".join(map(text_of, nodes)) == tree


@pytest.mark.parametrize(
    ("text", "least"),
    [
        (">" * 200_000, 0),
        ("- " * 200_000 + "end", 3),
        ("".join(f"{' ' * depth}- a\n" for depth in range(2000)), 2000),
        ("- a\n" + "  b\n" * 200_000, 200_000),
        ("*a " * 200_000, 200_000),
        ("_a " * 200_000, 200_000),
        ("[a" * 200_000, 200_000),
        ("a" + "`" * 200_000, 200_000),
        ("`` ` " * 100_000, 200_000),
        ("# " + " #" * 200_000 + "a", 200_000),
        ("a\n\n" * 200_000, 200_000),
    ],
    ids=["quotes", "lists", "indents", "lines", *"*_[`", "ticks", "#", "paragraphs"],
)
async def test_markdown_of_any_shape_is_read_in_time(page: Tab, text: str, least: int) -> None:
    """The time would be that of the test, and more, if it grew with the square of the length."""
    measured = """(function measure(children) {
        return children.map((each) => typeof each === "string" ? [0, each.length]
            : measure(each.children)
        ).reduce(([deep, long], [depth, length]) => [Math.max(deep, depth + 1), long + length],
            [0, 0]);
    })(it.parse(...given))"""
    depth, length = await page.module("markdown.js", measured, text)
    assert depth < 50
    assert length >= least


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "event": name,
        "timestamp": "2026-03-07T11:00:00Z",
        "fields": {"reload_id": 1, **fields},
    }


async def test_the_end_of_a_reload_says_what_has_become_of_which(
    page: Tab,
) -> None:
    touched = [f"demo/{name}" for name in ("one", "new", "above", "gone", "waits")]
    events = [
        event("plugin.ready", plugin="demo/one", to_state="ready"),
        event("plugin.discovered", plugin="demo/new", to_state="discovered"),
        event("plugin.ready", plugin="demo/new", to_state="ready"),
        event("plugin.ready", plugin="demo/gone", to_state="ready"),
        event("plugin.removed", plugin="demo/gone", to_state="removed"),
        event("plugin.ready", plugin="demo/above", to_state="ready"),
        event("plugin.blocked", plugin="demo/waits", to_state="blocked"),
        event("reload.committed", changed=touched[:2], affected=touched, duration_ms=12),
    ]
    told = await page.module("news.js", "given[0].map((each) => it.newsOf(each)).at(-1)", events)
    assert told["text"] == (
        "demo/one reloaded, demo/new added, 1 dependent set up again, demo/gone removed, "
        "demo/waits waits, in 12 ms"
    )
    removed = event("reload.committed", changed=[], affected=["demo/gone"], duration_ms=3)
    told = await page.module("news.js", "it.newsOf(...given)", removed)
    assert told["text"] == "demo/gone removed, in 3.0 ms"


async def test_what_is_tried_again_in_vain_does_not_hide_what_a_save_has_done(page: Tab) -> None:
    error = {"type": "ServerLost", "message": "demo/far: nothing listens there"}
    fails = {"changed": ["demo/far"], "errors": {"demo/far": error}, "as_before": ["demo/far"]}
    saved = [
        event("reload.started", reload_id=2, paths=["one/plugin.py"]),
        event("reload.failed", reload_id=2, **fails),
    ]
    tried = [
        event("reload.started", reload_id=3, paths=[]),
        event("reload.failed", reload_id=3, **fails),
    ]
    ends = "given[0].map((each) => it.newsOf(each, given[1])).at(-1)"
    done, asked = {"text": "demo/one reloaded", "reload": 1}, {"text": "reloading demo/far"}
    told = await page.module("news.js", ends, saved, done)
    assert told["text"] == "demo/far still fails: ServerLost: nothing listens there"
    assert await page.module("news.js", ends, tried, done) is None
    assert await page.module("news.js", ends, tried, asked) == told | {"reload": 3}
