"""A `DevServer` of an app answers on a socket, on either event loop."""

from __future__ import annotations

import gc
import importlib.util
import json
import logging
import os
import signal
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import anyio
import pytest
from answering import Answering, answering
from anyio import to_thread
from mcp_servers import mcp_plugin
from serving import context, make_live
from trees import PluginTree

from dagstack_dev import DevServer, discover
from dagstack_dev.api.client import ApiError, ServerGone
from dagstack_dev.api.socket import find_server
from dagstack_dev.app.local_api import LocalApi
from dagstack_dev.core.events import WatchProblem

SLOW = """
import anyio

class Plugin:
    is_busy = False

    async def forever(self):
        self.is_busy = True
        try:
            await anyio.sleep_forever()
        finally:
            self.is_busy = False

    def quits(self):
        raise SystemExit(3)

    def odd(self):
        return "\\udc80", {b"\\xff": object()}
"""


ANNOTATED = """
from dataclasses import dataclass

@dataclass
class Size:
    width: int

class Handler:
    pass

class Plugin:
    def scale(self, size: Size, times: int, name: str | None = None):
        return [size, times, name]

    def unknown(self, one: "Missing", other: int):
        return [one, other]

    def handler(self, one: Handler):
        return one
"""


ODD = """
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, Field, SecretStr

@dataclass
class Held:
    items: object

class Model(BaseModel):
    token: SecretStr
    numbers: Iterable[int] = Field((), serialization_alias="counted")

class Unseen:
    def __repr__(self):
        raise RuntimeError("none")

class Plugin:
    circle = []
    circle.append(circle)

    def setup(self, ctx):
        pass

    def login(self, user, password="hunter2a"):
        return user

    def unseen(self, what=Unseen()):
        return 1

    def endless(self):
        return {"x": [itertools.count()], "y": (each for each in itertools.count())}

    def held(self):
        model = Model(token="x", numbers=itertools.count())
        return Held([Held(each for each in itertools.count()), model])

    def model(self):
        return Model(token="x")

    def nested(self):
        def counts(depth):
            return (counts(depth - 1) if depth else each for each in itertools.count())
        return counts(3)

    def itself(self):
        return self.circle
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_server_of_an_app_answers_and_leaves_nothing(
    tree: PluginTree, sockets: Path, backend: str
) -> None:
    tree.plugin("one", value=7)

    async def main() -> None:
        async with answering(tree) as server:
            status = await server.at_rest()
            assert status["is_current"]
            assert [each["plugin"] for each in status["plugins"]] == ["demo/one"]
            for method in ("value", "async_value"):
                answer = await server.post("call", plugin="demo/one", method=method)
                assert answer["result"] == 7
            tree.plugin("one", value=8)
            one = (await server.wait())["one"]
            assert one["receipt"]["generation"] == 2
            assert {each.suffix for each in sockets.iterdir()} == {".sock", ".json"}

    anyio.run(main, backend=backend)
    assert list(sockets.iterdir()) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_under_way_when_the_server_ends_is_answered_with_a_problem(
    tree: PluginTree, backend: str
) -> None:
    tree.plugin("slow", code=SLOW)
    problems: list[BaseException] = []

    async def call(server: Answering) -> None:
        try:
            await server.post("call", plugin="demo/slow", method="forever")
        except (ApiError, ServerGone) as error:
            problems.append(error)

    async def main() -> None:
        async with anyio.create_task_group() as group, answering(tree) as server:
            group.start_soon(call, server)
            while not server.live.plugin("slow").is_busy:
                await anyio.sleep(0.01)

    anyio.run(main, backend=backend)
    (problem,) = problems
    assert isinstance(problem, ApiError)
    assert problem.problem["type"] == "ending"


async def test_a_call_that_is_not_waited_for_any_more_is_cancelled(tree: PluginTree) -> None:
    tree.plugin("slow", code=SLOW)
    async with answering(tree) as server:
        with pytest.raises(ApiError, match=r"not ended after 0\.1 s"):
            await server.post("call", plugin="demo/slow", method="forever", timeout_seconds=0.1)
        while server.live.plugin("slow").is_busy:
            await anyio.sleep(0.01)


async def test_a_plugin_that_exits_ends_its_call_and_nothing_else(tree: PluginTree) -> None:
    tree.plugin("slow", code=SLOW)
    async with answering(tree) as server:
        answer = await server.post("call", plugin="demo/slow", method="quits")
        assert answer["error"]["type"] == "SystemExit"
        answer = await server.post("call", plugin="demo/slow", method="odd")
        assert "object" in answer["text"]
        assert (await server.at_rest())["is_current"]


async def test_an_endless_result_is_cut_at_any_depth(tree: PluginTree) -> None:
    tree.plugin("odd", code=ODD)
    async with answering(tree) as server:
        answer = await server.post("call", plugin="demo/odd", method="endless")
        first = [*range(1000)]
        assert answer["result"] == {"x": [first], "y": first}
        held = (await server.post("call", plugin="demo/odd", method="held"))["result"]
        one, model = held["items"]
        assert one == {"items": first}
        assert model["counted"] == first
        nested = await server.post("call", plugin="demo/odd", method="nested")
        assert json.dumps(nested["result"]).count(",") < 10_000
        answer = await server.post("call", plugin="demo/odd", method="model")
        assert answer["result"] == {"token": "**********", "counted": []}
        answer = await server.post("call", plugin="demo/odd", method="itself")
        assert answer["text"] == "[[...]]"


async def test_signatures_show_no_secret_and_no_repr_that_raises(tree: PluginTree) -> None:
    tree.plugin("odd", code=ODD)
    async with answering(tree) as server:
        methods = (await server.get("plugins", "demo", "odd"))["methods"]
        shown = {each["name"]: each["signature"] for each in methods}
        assert shown["login"] == "(user, password='***')"
        assert shown["unseen"] == "(...)"
        for method, arguments in (("login", {}), ("unseen", {"other": "password=hunter2a"})):
            with pytest.raises(ApiError) as caught:
                await server.post("call", plugin="demo/odd", method=method, arguments=arguments)
            assert caught.value.problem["type"] == "bad-request"
            assert "hunter2a" not in str(caught.value)


@pytest.mark.parametrize("method", ["setup", "teardown"])
async def test_what_the_server_itself_calls_is_refused(tree: PluginTree, method: str) -> None:
    tree.plugin("odd", code=ODD)
    async with answering(tree) as server:
        with pytest.raises(ApiError, match="by the server alone") as caught:
            await server.post("call", plugin="demo/odd", method=method)
        assert caught.value.problem["type"] == "not-callable"


async def test_the_loggers_of_uvicorn_stay_as_they_are_for_others(
    tree: PluginTree, caplog: pytest.LogCaptureFixture
) -> None:
    tree.plugin("one")
    loggers = [logging.getLogger(f"uvicorn.{name}") for name in ("access", "error", "asgi")]

    def settings() -> list[tuple[object, ...]]:
        return [(each.level, each.propagate, [*each.handlers]) for each in loggers]

    before, filters = settings(), [[*each.filters] for each in loggers]
    with caplog.at_level(logging.INFO):
        async with answering(tree) as server:
            await server.get("status")
            assert settings() == before
            for each in loggers:
                each.info("of a server of the app")
    assert [each.getMessage() for each in caplog.records if each.name.startswith("uvicorn")] == [
        "of a server of the app"
    ] * 3
    assert [each.filters for each in loggers] == filters


async def test_two_servers_over_one_folder_are_told_apart(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as first, answering(tree) as second:
        assert first.socket != second.socket
        assert await first.get("status")
        assert await second.get("status")
    assert find_server(tree.root) is None


async def test_plugins_that_ran_before_the_server_are_shown(tree: PluginTree) -> None:
    tree.plugin("one")
    registry = discover(tree.root)
    await registry.setup_all(context(registry=registry))
    async with answering(tree, registry=registry) as server:
        (one,) = (await server.get("status"))["plugins"]
        assert one["state"] == "ready"
        assert one["receipt"]["is_current"]
    await registry.teardown_all()


async def test_a_folder_that_is_not_ours_is_reported_and_the_plugins_run(
    tree: PluginTree, sockets: Path
) -> None:
    tree.plugin("one")
    sockets.symlink_to(tree.root)
    live = make_live(tree, api=LocalApi())
    async with live.server:
        problem = await live.fact(WatchProblem)
        assert f"commands cannot reach this server: {sockets} does not belong to you" in (
            problem.message
        )
        assert live.plugin("one").value() == 1


async def test_old_generations_are_gone_though_their_events_are_kept(
    tree: PluginTree, idle_at_once: None
) -> None:
    raising = "class Plugin:\n    def {}:\n        raise ValueError(self)\n"
    tree.plugin("one", code=raising.format("fail(self)"))
    async with answering(tree) as server:
        old = weakref.ref(server.live.instance("one"))
        await server.post("call", plugin="demo/one", method="fail")
        tree.plugin(
            "one", code="class Plugin:\n    def setup(self, ctx):\n        raise ValueError(self)\n"
        )
        await server.wait()
        tree.plugin("one", value=2)
        await server.wait()
        await server.live.looked_for_leaks()
        gc.collect()
        assert old() is None
        assert (await server.get("plugins", "demo", "one"))["leaks"] == []


async def test_a_copy_of_the_process_does_not_keep_the_thread_from_its_end(
    tree: PluginTree,
) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        await server.get("status")
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
    names = {each.name for each in threading.enumerate()}
    os.kill(child, signal.SIGKILL)
    await to_thread.run_sync(os.waitpid, child, 0)
    assert "dagstack-dev api" not in names


async def test_an_api_answers_for_one_server(tree: PluginTree) -> None:
    tree.plugin("one")
    api = LocalApi()
    async with DevServer(tree.root, api=api):
        pass
    with pytest.raises(RuntimeError, match="make a new one for the next"):
        await DevServer(tree.root, api=api).start()


async def test_texts_are_read_as_the_annotations_say(tree: PluginTree) -> None:
    tree.plugin("one", code=ANNOTATED)
    async with answering(tree) as server:

        async def call(method: str, **arguments: str) -> Any:
            body = {"plugin": "demo/one", "method": method, "arguments": arguments}
            return (await server.post("call", coerce=True, **body))["result"]

        assert await call("scale", size='{"width": 3}', times="2") == [{"width": 3}, 2, None]
        scaled = await call("scale", size='{"width": "4"}', times="0", name="5")
        assert scaled == [{"width": 4}, 0, "5"]
        assert await call("unknown", one="x", other="5") == ["x", 5]
        assert await call("handler", one="5") == 5
        with pytest.raises(ApiError, match="times: should be a valid integer"):
            await call("scale", size='{"width": 3}', times="often")


async def test_texts_are_read_so_wherever_a_plugin_runs(tree: PluginTree) -> None:
    code = (
        "class Plugin:\n    def echo(self, text: str, times: int = 1):\n        return text * times"
    )
    tree.plugin("here", code=code)
    tree.plugin("process", code=code, manifest='execution_model = "process_cpu_bound"\n')
    mcp_plugin(tree, "server", kind="demo")
    async with answering(tree) as server:
        for name in ("here", "process", "server"):
            body = {"plugin": f"demo/{name}", "method": "echo", "arguments": {"text": "42"}}
            assert (await server.post("call", coerce=True, **body))["result"] == "42"


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "dagstack_dev.app.local_api.find_spec",
        lambda name: None if name == "starlette" else find(name),
    )
    with pytest.raises(RuntimeError, match=r"pip install 'dagstack-dev\[api\]'"):
        LocalApi()


async def test_a_server_without_an_api_imports_nothing_of_it(tree: PluginTree) -> None:
    tree.plugin("one")
    loaded = {*sys.modules}
    async with DevServer(tree.root):
        assert not {"uvicorn", "dagstack_dev.api.routes"} & ({*sys.modules} - loaded)
        assert find_server(tree.root) is None
