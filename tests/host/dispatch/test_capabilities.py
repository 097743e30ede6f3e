"""One plugin that takes the input: by its manifest, by `matches`, or since nobody else does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev import (
    AmbiguousPlugin,
    CapabilityDispatcher,
    DispatchCandidate,
    NoCapabilityMatch,
    PluginContext,
    PluginRegistry,
)

Put = Callable[..., Any]
Told = Callable[[], list[tuple[str, str, str]]]


@pytest.fixture(autouse=True)
def _declared(declare: Any) -> None:
    declare(parse="capability")


@pytest.fixture
def parser(plugin: Put) -> Put:
    """A plugin whose hook answers its name, with a manifest and perhaps `matches`."""

    def register(name: str, matches: Callable[..., Any] | None = None, **manifest: Any) -> Any:
        methods: dict[str, Any] = {"parse": lambda self, ctx, *args, **kwargs: name}
        if matches is not None:
            methods["matches"] = lambda self, ctx, *args, **kwargs: matches(*args, **kwargs)
        return plugin(name, manifest, **methods)

    return register


async def test_the_manifest_says_what_a_plugin_takes(
    registry: PluginRegistry, ctx: PluginContext, parser: Put
) -> None:
    parser("python", supports_languages=["Python"], supports_extensions=[".py", "pyi"])
    parser("web", supports_mime_types=["text/html", "image/*"])
    await registry.setup_all(ctx)
    parse = CapabilityDispatcher(registry).dispatch
    taken: tuple[tuple[tuple[object, ...], dict[str, str], str], ...] = (
        ((), {"language": "PYTHON"}, "python"),
        (({"language": "python"},), {}, "python"),
        ((SimpleNamespace(extension="PY"),), {}, "python"),
        (({"path": "src/a.pyi"},), {}, "python"),
        ((Path("src/a.py"),), {}, "python"),
        ((), {"filename": "a.py", "language": "cobol"}, "python"),
        (({"mime_type": "text/HTML; charset=utf-8"},), {}, "web"),
        ((), {"mime_type": "image/png"}, "web"),
    )
    for args, kwargs, expected in taken:
        assert parse("demo", "parse", ctx, *args, **kwargs) == expected
    for arg in ("a.py", {"language": "cobol"}, {"path": "a"}, {"extension": 7}):
        with pytest.raises(NoCapabilityMatch, match="no ready plugin takes this input"):
            parse("demo", "parse", ctx, arg)


async def test_matches_is_asked_in_order_with_all_arguments(
    registry: PluginRegistry, ctx: PluginContext, parser: Put
) -> None:
    asked: list[object] = []
    parser("low", lambda *args, **kwargs: True, priority=1)
    parser("high", lambda *args, **kwargs: asked.append((args, kwargs)), priority=2)
    await registry.setup_all(ctx)
    assert CapabilityDispatcher(registry).dispatch("demo", "parse", ctx, 1, word=2) == "low"
    assert asked == [((1,), {"word": 2})]


async def test_the_manifest_rules_out_what_matches_would_take(
    registry: PluginRegistry, ctx: PluginContext, parser: Put
) -> None:
    parser("a", lambda *_, **__: True, supports_languages=["python"])
    parser("b", lambda *_, **__: False, supports_languages=["rust"])
    await registry.setup_all(ctx)
    parse = CapabilityDispatcher(registry).dispatch
    assert parse("demo", "parse", ctx, language="python") == "a"
    with pytest.raises(NoCapabilityMatch):  # One names it and says no, the other does not name it.
        parse("demo", "parse", ctx, language="rust")
    assert parse("demo", "parse", ctx, "says nothing of itself") == "a"


async def test_a_plugin_that_says_nothing_takes_nothing(
    registry: PluginRegistry, ctx: PluginContext, parser: Put
) -> None:
    parser("silent", priority=50)
    await registry.setup_all(ctx)
    with pytest.raises(NoCapabilityMatch) as caught:
        CapabilityDispatcher(registry).dispatch("demo", "parse", ctx, language="python")
    assert caught.value.asked == ()


async def test_the_fallback_takes_what_no_other_does(
    registry: PluginRegistry, ctx: PluginContext, parser: Put
) -> None:
    parser("rest", lambda *_, **__: False, fallback=True, priority=50)
    parser("python", supports_languages=["python"])
    await registry.setup_all(ctx)
    parse = CapabilityDispatcher(registry)
    assert parse.dispatch("demo", "parse", ctx, language="python") == "python"
    assert parse.dispatch("demo", "parse", ctx, language="cobol") == "rest"
    assert await parse.dispatch_async("demo", "parse", ctx, 1) == "rest"


async def test_a_kind_has_one_fallback(registry: PluginRegistry, parser: Put) -> None:
    parser("one", fallback=True)
    with pytest.raises(AmbiguousPlugin, match="demo/one, demo/two both say fallback = true"):
        parser("two", fallback=True)
    assert [manifest.name for manifest in registry.list_manifests()] == ["one"]


async def test_matches_that_raises_is_a_no_and_is_reported(
    registry: PluginRegistry, ctx: PluginContext, parser: Put, failures: Told
) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise LookupError("no grammar")

    parser("a", broken)
    parser("b", lambda *_: True)
    await registry.setup_all(ctx)
    assert CapabilityDispatcher(registry).dispatch("demo", "parse", ctx, 1) == "b"
    assert failures() == [("a", "matches", "no grammar")]


async def test_hook_and_matches_may_be_asynchronous(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put, failures: Told
) -> None:
    async def matches(self: object, ctx: object, word: str) -> bool:
        return word == "mine"

    async def parse(self: object, ctx: object, word: str) -> str:
        return f"parsed {word}"

    plugin("it", matches=matches, parse=parse)
    await registry.setup_all(ctx)
    dispatcher = CapabilityDispatcher(registry)
    assert await dispatcher.dispatch_async("demo", "parse", ctx, "mine") == "parsed mine"
    with pytest.raises(NoCapabilityMatch, match=r"asked: demo/it"):
        await dispatcher.dispatch_async("demo", "parse", ctx, "yours")
    with pytest.raises(NoCapabilityMatch):
        dispatcher.dispatch("demo", "parse", ctx, "mine")
    assert failures() == [("it", "matches", "demo/it: matches is asynchronous; use dispatch_async")]


async def test_an_error_of_the_hook_is_raised(
    registry: PluginRegistry, ctx: PluginContext, plugin: Put
) -> None:
    def parse(self: object, ctx: object) -> None:
        raise ValueError("bad input")

    plugin("a", {"priority": 2}, matches=lambda self, ctx: True, parse=parse)
    plugin("b", matches=lambda self, ctx: True, parse=lambda self, ctx: "b")
    await registry.setup_all(ctx)
    with pytest.raises(ValueError, match="bad input"):
        CapabilityDispatcher(registry).dispatch("demo", "parse", ctx)


async def test_a_filter_leaves_out_and_puts_in_order(
    registry: PluginRegistry, ctx: PluginContext, parser: Put
) -> None:
    for name in "abc":
        parser(name, lambda *_: True)
    parser("rest", fallback=True)
    await registry.setup_all(ctx)
    seen: list[tuple[object, list[str]]] = []

    def govern(given: object, candidates: list[DispatchCandidate]) -> list[DispatchCandidate]:
        seen.append((given, [each.manifest.name for each in candidates]))
        assert candidates[0].instance is registry.get_plugin("demo", "a")
        return [candidates[2], candidates[1]]

    parse = CapabilityDispatcher(registry, filter_fn=govern).dispatch
    assert parse("demo", "parse", ctx, 1) == "c"
    assert seen == [(ctx, ["a", "b", "c", "rest"])]
    nobody = CapabilityDispatcher(registry, filter_fn=lambda _, __: [])
    with pytest.raises(NoCapabilityMatch):
        nobody.dispatch("demo", "parse", ctx, 1)


async def test_an_input_that_takes_its_time_to_tell_of_itself_holds_up_no_other_thread(
    registry: PluginRegistry, ctx: PluginContext, parser: Put
) -> None:
    parser("python", supports_languages=["python"])
    await registry.setup_all(ctx)
    parse = CapabilityDispatcher(registry).dispatch

    class Slow:
        @property
        def language(self) -> str:
            threads = ThreadPoolExecutor(1)
            other = threads.submit(parse, "demo", "parse", ctx, language="python")
            threads.shutdown(wait=False)
            return "python" if wait([other], GUARD_SECONDS).done else "cobol"

    assert parse("demo", "parse", ctx, Slow()) == "python"
