"""What is answered about one plugin: its manifest, its methods, and what it has been through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from answering import Answering, answering
from jsonschema_rs import validator_for
from mcp_servers import SDK_SERVER, mcp_plugin
from serving import ref, serving
from trees import PluginTree

from dagstack_dev import PluginRef, PluginRegistry
from dagstack_dev.api.backend import Backend
from dagstack_dev.api.client import ApiError
from dagstack_dev.api.offers import Method, Offered, Offers
from dagstack_dev.core.events import PluginLeaked

TYPED = """
from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from nowhere import Unknown


class Colour(Enum):
    RED = "red"


@dataclass
class Size:
    width: int
    colour: Colour = Colour.RED


class Odd:
    def __repr__(self):
        raise ValueError


class Plugin:
    def plain(self, text: str, many: list[int] | None = None, anything=2.5):
        return f"{text} {many} {anything}"

    def typed(
        self,
        size: Size,
        when: datetime,
        more: Annotated[int, Field(gt=0, description="How many.")] = 1,
        colour: Colour = Colour.RED,
        odd: Odd = Odd(),
        unknown: Unknown = None,
        password: str = "hunter2a",
    ):
        return f"{size.width + 1} {size.colour} {when:%A} {more} {colour} {password}"

    def rest(self, *args: int, first: bool, **others: float):
        return others

    def by_place(self, one, /):
        return one

    takes_all = staticmethod(print)
"""


async def methods(server: Answering, name: str, kind: str = "demo") -> dict[str, Any]:
    """The parameters of all methods of a plugin."""
    detail = await server.get("plugins", kind, name)
    return {each["name"]: each["parameters"] for each in detail["methods"]}


async def test_a_signature_is_a_schema(tree: PluginTree) -> None:
    tree.plugin("typed", code=TYPED)
    async with answering(tree) as server:
        found = await methods(server, "typed")
    assert found["plain"] == {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "many": {
                "anyOf": [{"items": {"type": "integer"}, "type": "array"}, {"type": "null"}],
                "default": None,
            },
            "anything": {"default": 2.5},
        },
        "required": ["text"],
        "additionalProperties": False,
    }
    typed = found["typed"]["properties"]
    assert found["typed"]["required"] == ["size", "when"]
    assert typed["when"] == {"type": "string", "format": "date-time"}
    assert typed["more"] == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "description": "How many.",
        "default": 1,
    }
    assert typed["odd"] == {}
    assert typed["unknown"] == {"default": None}
    assert typed["password"] == {"type": "string"}
    assert found["rest"]["required"] == ["first"]
    assert found["rest"]["additionalProperties"] == {"type": "number"}
    assert found["by_place"] is None


NESTED = """
from typing import Annotated

from pydantic import BaseModel, Field


class Login(BaseModel):
    user: str = "ada"
    password: str = "hunter2a"


class Plugin:
    def call(
        self,
        options={"password": "hunter2a", "user": "ada"},
        login: Login = Login(),
        many: Annotated[dict, Field(examples=[{"api_key": "hunter2a"}])] = None,
        default: Login = None,
        headers: Annotated[list, Field(examples=[[["token", "hunter2a"]]])] = [
            ("api_token", "hunter2a"),
            ("size", 2),
        ],
    ): ...
"""


async def test_no_default_or_example_shows_a_secret_within(tree: PluginTree) -> None:
    tree.plugin("nested", code=NESTED)
    async with answering(tree) as server:
        found = (await methods(server, "nested"))["call"]
    assert "hunter2a" not in json.dumps(found)
    assert found["properties"] == {
        "options": {"default": {"password": "***", "user": "ada"}},
        "login": {"$ref": "#/$defs/Login", "default": {"password": "***", "user": "ada"}},
        "many": {
            "type": "object",
            "additionalProperties": True,
            "examples": [{"api_key": "***"}],
            "default": None,
        },
        "default": {"$ref": "#/$defs/Login", "default": None},
        "headers": {
            "type": "array",
            "items": {},
            "examples": [[["token", "***"]]],
            "default": [["api_token", "***"], ["size", 2]],
        },
    }


async def test_a_plugin_that_goes_while_it_is_asked_for_is_not_there(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree.plugin("one")
    offered = Backend.offered

    async def offered_and_gone(self: Backend, ref: PluginRef) -> Offered:
        found = await offered(self, ref)
        (folder / "dagstack.toml").unlink()
        await self.reload((), everything=False)
        return found

    monkeypatch.setattr(Backend, "offered", offered_and_gone)
    async with answering(tree) as server:
        with pytest.raises(ApiError, match="there is no plugin 'demo/one'"):
            await server.get("plugins", "demo", "one")


async def test_what_fits_the_schema_can_be_called(tree: PluginTree) -> None:
    tree.plugin("typed", code=TYPED)
    arguments = {"size": {"width": 2}, "when": "2026-05-04T12:00:00Z", "colour": "red"}
    async with answering(tree) as server:
        schema = validator_for((await methods(server, "typed"))["typed"])
        assert schema.is_valid(arguments)
        assert not schema.is_valid(arguments | {"size": {"width": "wide"}})
        assert not schema.is_valid(arguments | {"sise": 1})
        texts = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in arguments.items()
        }
        answer = await server.post(
            "call", plugin="demo/typed", method="typed", arguments=texts, coerce=True
        )
    assert answer["result"] == "3 Colour.RED Monday 1 Colour.RED hunter2a"


async def test_a_method_in_another_process_shows_its_arguments(tree: PluginTree) -> None:
    tree.plugin("typed", code=TYPED, manifest='execution_model = "process_cpu_bound"\n')
    async with answering(tree) as server:
        found = await methods(server, "typed")
    assert [*found["plain"]["properties"]] == ["text", "many", "anything"]
    assert found["plain"]["required"] == ["text"]
    assert found["plain"]["properties"]["anything"] == {"default": 2.5}


async def test_a_tool_of_a_server_has_the_schema_that_the_server_gives(tree: PluginTree) -> None:
    mcp_plugin(tree, "calc", code=SDK_SERVER)
    async with answering(tree) as server:
        found = await methods(server, "calc", "tool")
        detail = await server.get("plugins", "tool", "calc")
    assert {each["path"] for each in detail["methods"]} == {None}  # Whose code it is, is unknown.
    assert found["add"] == {
        "type": "object",
        "title": "addArguments",
        "properties": {
            "a": {"type": "integer", "title": "A"},
            "b": {"type": "integer", "title": "B", "default": 2},
        },
        "required": ["a"],
    }
    assert found["execute"]["properties"]["args"]["additionalProperties"] == {"type": "integer"}


COUNTING = """
class Counted(str):
    count = 0

    def __repr__(self):
        Counted.count += 1
        return "..."


class Plugin:
    def one(self, text: str = Counted("x")):
        return Counted.count
"""


@pytest.mark.usefixtures("idle_at_once")
async def test_the_methods_of_a_class_are_looked_at_once(tree: PluginTree) -> None:
    tree.plugin("one", code=COUNTING)
    async with answering(tree) as server:
        for number in range(3):
            for _ in range(2):
                found = await methods(server, "one")
                assert found["one"]["properties"]["text"] == {"type": "string", "default": "x"}
            answer = await server.post("call", plugin="demo/one", method="one")
            assert answer["result"] == 1
            tree.plugin("one", code=f"{COUNTING}\nNUMBER = {number}\n")
            await server.wait()
            await server.live.looked_for_leaks()
        assert server.live.of(PluginLeaked) == []


async def test_methods_are_known_in_the_end_however_soon_each_look_is_broken_off(
    tree: PluginTree,
) -> None:
    names = [f"method_{number}" for number in range(9)]
    tree.plugin("one", code="class Plugin:\n" + "".join(f"    def {n}(self): ...\n" for n in names))
    async with serving(tree) as live:
        offers = Offers(live.server.registry, live.server.is_reloading)

        async def look() -> asyncio.Future[Sequence[Method]]:
            looking = asyncio.ensure_future(offers.methods(ref("one")))
            for _ in range(4):
                await asyncio.sleep(0)
            return looking

        for _ in names:
            (await look()).cancel()
        assert [each.name for each in (await look()).result()] == names


@pytest.mark.usefixtures("idle_at_once")
async def test_schemas_keep_no_old_class_alive(tree: PluginTree) -> None:
    tree.plugin("typed", code=TYPED)
    async with answering(tree) as server:
        for number in range(3):
            assert (await methods(server, "typed"))["typed"]
            tree.plugin("typed", code=f"{TYPED}\nNUMBER = {number}\n")
            await server.wait()
            await server.live.looked_for_leaks()
        assert server.live.of(PluginLeaked) == []


async def test_the_manifest_is_shown_without_secrets(tree: PluginTree) -> None:
    folder = tree.plugin("one", manifest='env = { API_TOKEN = "not4anybody" }\n')
    async with answering(tree) as server:
        manifest = (await server.get("plugins", "demo", "one"))["manifest"]
    assert manifest["path"] == f"{folder}/dagstack.toml"
    written = (folder / "dagstack.toml").read_text(encoding="utf-8")
    assert manifest["text"] == written.replace('{ API_TOKEN = "not4anybody" }', "***")


async def test_resources_are_those_that_it_asks_for_and_gets(tree: PluginTree) -> None:
    asks = '[plugin.resources]\nrequired = ["clock", "tmpdir"]\noptional = ["cache", "rng"]\n'
    tree.plugin("one", manifest=asks)
    tree.plugin("other")
    registry = PluginRegistry()
    registry.resources.register_standard()
    async with answering(tree, registry=registry) as server:
        one, other = [await server.get("plugins", "demo", name) for name in ("one", "other")]
    assert one["resources"] == ["clock", "tmpdir", "rng"]
    assert other["resources"] == []


async def test_the_history_names_each_state_with_its_reason(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        await server.wait()
        tree.plugin("one", code="class Plugin:\n    def setup(self, ctx):\n        1 / 0\n")
        await server.wait()
        detail = await server.get("plugins", "demo", "one")
        history = detail["history"]
        assert [each["state"] for each in history] == [
            *("discovered", "loaded", "setting_up", "ready", "tearing_down", "stopped"),
            *("loaded", "setting_up", "failed", "loaded", "setting_up", "ready"),
        ]
        (failed,) = (each for each in history if each["error"] is not None)
        assert failed["state"] == "failed"
        assert failed["error"]["type"] == "ZeroDivisionError"
        assert failed["error"]["line"] == 3
        assert history[4]["reason"] == "plugin.py changed"
        assert detail["since"] == history[-1]["since"]
        assert [each["since"] for each in history] == sorted(each["since"] for each in history)


async def test_the_history_has_the_last_fifty_states(tree: PluginTree) -> None:
    tree.plugin("one")
    async with answering(tree) as server:
        for _ in range(12):
            await server.post("reload", plugins=["demo/one"])
        history = (await server.get("plugins", "demo", "one"))["history"]
    assert len(history) == 50
    assert history[0]["state"] != "discovered"
    assert history[-1]["state"] == "ready"


async def test_each_generation_has_its_diff_to_the_one_before(tree: PluginTree) -> None:
    folder = tree.plugin("one", code="class Plugin:\n    KEY = 1\n")
    async with answering(tree) as server:
        await server.wait()
        tree.plugin("one", code="class Plugin:\n    PASSWORD = 'hunter2a'\n")
        tree.write(folder / "own.py", "VALUE = 1\n")
        await server.wait()
        await server.post("reload", plugins=["demo/one"])
        tree.plugin("one", code="class Plugin\n")
        await server.wait()
        generations = (await server.get("plugins", "demo", "one"))["generations"]
    assert [each["generation"] for each in generations] == [1, 2, 3]
    first, second, third = (each["diff"] for each in generations)
    assert first is None
    assert third == ""
    assert (
        second
        == f"""\
--- /dev/null
+++ {folder}/own.py
@@ -0,0 +1 @@
+VALUE = 1
--- {folder}/plugin.py
+++ {folder}/plugin.py
@@ -1,2 +1,2 @@
 class Plugin:
-    KEY = 1
+    PASSWORD = '***'
"""
    )


async def test_a_generation_that_is_rolled_back_gives_way_to_the_one_before(
    tree: PluginTree,
) -> None:
    tree.plugin("one", value=1)
    tree.plugin("above", depends_on=["one"])
    async with answering(tree) as server:
        await server.wait()
        tree.plugin("one", value=2)
        tree.plugin("above", depends_on=["one"], code="1 / 0\n\nclass Plugin: ...\n")
        await server.wait()
        detail = await server.get("plugins", "demo", "one")
        assert detail["receipt"]["generation"] == detail["generations"][-1]["generation"]


async def test_a_file_that_is_no_text_just_differs(tree: PluginTree) -> None:
    folder = tree.plugin("one")
    (folder / "data.bin").write_bytes(b"\0")
    async with answering(tree) as server:
        await server.wait()
        (folder / "data.bin").write_bytes(b"\1")
        await server.wait()
        generations = (await server.get("plugins", "demo", "one"))["generations"]
    assert generations[-1]["diff"] == f"{folder}/data.bin differs\n"
