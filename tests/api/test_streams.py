"""Server-sent events: from now on, resumed by id, and with what was missed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import pytest
from answering import answering, lines
from anyio import from_thread, to_thread
from serving import ref
from starlette.requests import Request
from trees import PluginTree

from dagstack_dev.api.board import HELD_SECONDS, Breath, Feed, Numbered
from dagstack_dev.api.streams import newest
from dagstack_dev.core.events import PluginLeaked, WatchProblem
from dagstack_dev.logs import as_event


def events(found: Iterator[str]) -> Iterator[Any]:
    return (json.loads(line.removeprefix("data: ")) for line in found if line.startswith("data:"))


def read(socket: str, target: str, count: int, **headers: str) -> list[Any]:
    return [*islice(events(lines(socket, target, headers)), count)]


async def test_a_stream_goes_on_after_the_last_event_that_was_seen(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        found = await to_thread.run_sync(read, server.socket, "/api/events?after=0", 3)
        assert [each["id"] for each in found] == [1, 2, 3]
        assert found[0]["event"] == "plugin.discovered"

        def resume() -> list[Any]:
            return read(server.socket, "/api/events", 2, **{"Last-Event-ID": "1"})

        assert [each["id"] for each in await to_thread.run_sync(resume)] == [2, 3]


async def test_without_an_id_a_stream_begins_now(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:

        def follow() -> Any:
            stream = lines(server.socket, "/api/events?plugin=demo/one")
            assert next(stream) == ": connected"
            from_thread.run_sync(partial(tree.plugin, "one", value=2))
            return next(events(stream))

        first = await to_thread.run_sync(follow)
        assert first["event"] == "plugin.tearing_down"
        assert first["fields"]["plugin"] == "demo/one"


async def test_a_stream_in_which_nothing_has_come_yet_can_be_resumed(tree: PluginTree) -> None:
    async with answering(tree) as server:
        feed = server.api.board.events

        def begin() -> list[str]:
            return [*islice(lines(server.socket, "/api/events"), 2)]

        feed.publish(WatchProblem(message="before"))
        assert await to_thread.run_sync(begin) == [": connected", f"id: {feed.last}"]
        seen = str(feed.last)
        feed.publish(WatchProblem(message="meanwhile"))

        def resume() -> list[Any]:
            return read(server.socket, "/api/events", 1, **{"Last-Event-ID": seen})

        (found,) = await to_thread.run_sync(resume)
        assert found["fields"]["message"] == "meanwhile"


async def test_one_stream_brings_the_log_of_a_plugin_as_well(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        board = server.api.board
        board.logs.publish({"plugin": "demo/one", "event": "before", "level": "info"})
        events, logs = board.events.last, board.logs.last

        def follow() -> list[list[str]]:
            found = lines(server.socket, f"/api/events?log=demo/one&log_after={logs}")
            assert [*islice(found, 3)] == [": connected", f"id: {events}", ""]
            for plugin in ("demo/two", "demo/one"):
                board.logs.publish({"plugin": plugin, "event": plugin, "level": "debug"})
            line = [*islice(found, 3)]
            board.events.publish(WatchProblem(message="odd"))
            return [line, [*islice(found, 3)]]

        line, event = await to_thread.run_sync(follow)
        assert line[0] == "event: log"
        assert json.loads(line[1].removeprefix("data: "))["event"] == "demo/one"
        assert event[0] == f"id: {events + 1}"
        assert json.loads(event[1].removeprefix("data: "))["event"] == "watch.problem"


async def test_the_id_of_an_earlier_server_begins_with_all_that_is_there(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        found = await to_thread.run_sync(read, server.socket, "/api/events?after=999999", 1)
        assert found[0]["id"] == 1


async def test_what_came_too_early_for_a_reader_is_counted(tree: PluginTree) -> None:
    async with answering(tree) as server:
        feed = server.api.board.events
        while feed.last < 10_005:
            feed.publish(WatchProblem(message=str(feed.last)))
        missed, first = await to_thread.run_sync(read, server.socket, "/api/events?after=2", 2)
        assert missed["event"] == "events.missed"
        assert missed["fields"] == {"count": 3}
        assert missed["id"] == 5
        assert first["id"] == 6


async def test_a_stream_can_be_narrowed(tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("bad", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
    async with answering(tree) as server:
        (found,) = await to_thread.run_sync(
            read, server.socket, "/api/events?after=0&level=error", 1
        )
        assert found["fields"]["plugin"] == "demo/bad"
        last = await server.get("events", "last", plugin="demo/one", limit=2)
        assert [each["event"] for each in last["events"]] == ["plugin.setting_up", "plugin.ready"]
        assert (await server.get("events", "last", limit=0))["events"] == []


async def test_what_comes_while_the_newest_are_collected_is_told_once() -> None:
    class Busy(Feed[WatchProblem]):
        def after(self, number: int) -> list[Numbered[WatchProblem]]:
            self.publish(WatchProblem(message="meanwhile"))
            return super().after(number)

    for after in (0, 9):
        feed = Busy(10)
        request = Request({"type": "http", "query_string": f"after={after}".encode()})
        found = await newest(request, feed, as_event)
        assert found.last == max((each.id for each in found.events), default=0)


async def test_what_is_not_asked_for_is_not_put_into_words(tree: PluginTree) -> None:
    shown: list[str] = []

    class Value:
        def __init__(self, owner: str) -> None:
            self.owner = owner

        def __repr__(self) -> str:
            shown.append(self.owner)
            return "a value"

    async with answering(tree) as server:
        logs = server.api.board.logs
        for plugin, level in (("demo/one", "info"), ("demo/two", "info"), ("demo/one", "debug")):
            logs.publish({"plugin": plugin, "level": level, "value": Value(f"{plugin} {level}")})
        found = await server.get("logs", plugin="demo/one", level="info", limit=5)
        assert [each["fields"]["value"] for each in found["events"]] == ["a value"]
        target = "/api/logs/stream?after=0&plugin=demo/two"
        (sent,) = await to_thread.run_sync(read, server.socket, target, 1)
        assert sent["fields"]["value"] == "a value"
    assert shown == ["demo/one info", "demo/two info"]


async def test_a_reader_of_much_lets_others_run_in_between() -> None:
    breath, done, others = Breath(), [], []

    async def read() -> None:
        for number in range(3):
            began = time.perf_counter()
            while time.perf_counter() - began < HELD_SECONDS:
                pass
            await breath.draw()
            done.append(number)

    reading = asyncio.ensure_future(read())
    while not reading.done():
        others.append(len(done))
        await asyncio.sleep(0)
    assert {0, 1, 2} <= {*others}


async def test_secrets_are_masked_wherever_they_are_reported(tree: PluginTree) -> None:
    code = (
        "class Plugin:\n    def setup(self, ctx):\n        raise ValueError('password=hunter2a')\n"
    )
    tree.plugin("bad", code=code)
    async with answering(tree) as server:
        board = server.api.board
        board.logs.publish({"event": "password=hunter2a", "token": "hunter2a"})
        holders = ("a thread named password=hunter2a",)
        leaked = PluginLeaked(ref=ref("bad"), generation=1, holders=holders)
        server.live.server.registry.table.publish(leaked)
        await server.at_rest()
        detail = await server.get("plugins", "demo", "bad")
        assert detail["leaks"] == ["generation 1: a thread named password=***"]
        for parts in (("status",), ("events", "last"), ("logs",), ("plugins", "demo", "bad")):
            answer = json.dumps(await server.get(*parts))
            assert "hunter2a" not in answer
            assert "***" in answer


def test_a_reader_that_waits_twice_is_woken_once() -> None:
    feed: Feed[str] = Feed(10)
    woken: list[int] = []

    def waker() -> None:
        woken.append(feed.last)

    for _ in range(3):
        feed.wake_after(0, waker)
    feed.publish("a")
    feed.publish("b")
    assert woken == [1]
    feed.wake_after(1, waker)
    assert woken == [1, 2]
    feed.wake_after(2, waker)
    feed.let_sleep(waker)
    feed.end()
    assert woken == [1, 2]


@pytest.mark.parametrize(("after", "ids"), [(0, [3, 4]), (3, [4]), (4, []), (9, [])])
def test_a_feed_keeps_the_newest(after: int, ids: list[int]) -> None:
    feed: Feed[str] = Feed(2)
    for text in "abcd":
        feed.publish(text)
    assert [each.id for each in feed.after(after)] == ids
