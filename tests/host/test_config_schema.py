"""`config_schema`: a plugin's section is checked before its setup."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field, field_validator
from trees import PluginTree

from dagstack_dev import ManifestInvalid, PluginContext, PluginRegistry, State
from dagstack_dev.core.config import ConfigDocument
from dagstack_dev.core.errors.files import ConfigSectionInvalid
from dagstack_dev.core.refs import PluginRef
from dagstack_dev.host.plugins.config_schema import class_schema

SCHEMA = """
[plugin.config_schema]
type = "object"
required = ["url"]
additionalProperties = false
[plugin.config_schema.properties]
url = { type = "string" }
port = { type = "integer", default = 80, minimum = 1 }
retry = { type = "object", properties = { times = { type = "integer", default = 3 } } }
"""

READS = """
class Plugin:
    def setup(self, ctx):
        self.config = ctx.config
"""


class Reads:
    config: Any = None

    def setup(self, ctx: PluginContext) -> None:
        self.config = ctx.config


def document(text: str) -> ConfigDocument:
    import tomli

    return ConfigDocument(tomli.loads(text), path="/etc/app.toml", text=text)


@pytest.fixture
def with_schema(tree: PluginTree, registry: PluginRegistry) -> PluginRegistry:
    tree.plugin("one", code=READS, manifest=SCHEMA)
    return registry.discover(tree.root)


async def test_a_section_that_fits_gets_its_defaults(
    with_schema: PluginRegistry, ctx: PluginContext
) -> None:
    given = {"demo": {"one": {"url": "http://x", "retry": {}}}}
    await with_schema.setup_all(replace(ctx, config=given))
    plugin = with_schema.get_plugin("demo", "one")
    assert plugin.config == {"url": "http://x", "port": 80, "retry": {"times": 3}}
    assert given == {"demo": {"one": {"url": "http://x", "retry": {}}}}


async def test_all_that_is_wrong_is_reported_at_once_with_its_line(
    with_schema: PluginRegistry, ctx: PluginContext
) -> None:
    text = '[demo.one]\nport = "80"\nurll = "http://x"\n'
    with pytest.raises(ConfigSectionInvalid) as caught:
        await with_schema.setup_all(replace(ctx, config=document(text)))
    assert [(each.field, each.message, each.line) for each in caught.value.problems] == [
        ("demo.one.port", "must be of type integer, not '80'", 2),
        ("demo.one.url", "missing; add it", 1),
        (
            "demo.one.urll",
            "Additional properties are not allowed ('urll' was unexpected); did you mean 'url'?",
            3,
        ),
    ]
    assert str(caught.value).startswith(
        "/etc/app.toml: 3 problems in the configuration of demo/one\n  line 2: demo.one.port: must"
    )
    assert isinstance(caught.value, ManifestInvalid)
    assert caught.value.ref == ("demo", "one")


async def test_it_is_reported_before_anything_is_set_up(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext, journal: list[str]
) -> None:
    tree.plugin("first")
    tree.plugin("one", code=READS, manifest=SCHEMA, depends_on=["first"])
    tree.plugin("two", code=READS, manifest=SCHEMA)
    registry.discover(tree.root)
    with pytest.raises(ConfigSectionInvalid) as caught:
        await registry.setup_all(ctx)
    assert [each.ref and each.ref.name for each in (caught.value, *caught.value.others)] == [
        "one",
        "two",
    ]
    assert journal == []
    assert {status.state for status in registry.statuses().values()} == {State.LOADED}


async def test_a_section_from_code_is_reported_by_its_keys(
    with_schema: PluginRegistry, ctx: PluginContext
) -> None:
    config = {"demo": {"one": {"url": "http://x", "port": 0}}}
    with pytest.raises(ConfigSectionInvalid) as caught:
        await with_schema.setup_all(replace(ctx, config=config))
    assert str(caught.value) == (
        "<configuration>: the configuration of demo/one: demo.one.port: "
        "0 is less than the minimum of 1"
    )


async def test_a_schema_may_stand_in_a_file_of_the_folder(
    tree: PluginTree, registry: PluginRegistry, ctx: PluginContext
) -> None:
    folder = tree.plugin("one", code=READS, manifest='config_schema = "schema.json"\n')
    tree.write(folder / "schema.json", json.dumps({"required": ["url"]}))
    registry.discover(tree.root)
    with pytest.raises(ConfigSectionInvalid, match=r"demo\.one\.url: missing"):
        await registry.setup_all(replace(ctx, config={"demo": {"one": {}}}))


BAD_SCHEMAS = {
    "no draft": (
        'config_schema = { "$schema" = 5 }\n',
        None,
        r"config_schema\.\$schema: is no valid JSON Schema: 5 is not of type",
    ),
    "no schema": (
        'config_schema = { type = "wrong" }\n',
        None,
        'config_schema.type: is no valid JSON Schema: "wrong" is not valid under any',
    ),
    "no file": (
        'config_schema = "shema.json"\n',
        "{}",
        "'shema.json' is no file in .*; did you mean 'schema.json'?",
    ),
    "no JSON": ('config_schema = "schema.json"\n', "{", "'schema.json', line 1, is not valid JSON"),
    "no object": ('config_schema = "schema.json"\n', "[]", "must hold an object, a JSON Schema"),
}


@pytest.mark.parametrize(
    ("manifest", "file", "message"), BAD_SCHEMAS.values(), ids=BAD_SCHEMAS.keys()
)
def test_a_bad_schema_is_an_invalid_manifest(
    tree: PluginTree, registry: PluginRegistry, manifest: str, file: str | None, message: str
) -> None:
    folder = tree.plugin("one", code=READS, manifest=manifest)
    if file is not None:
        tree.write(folder / "schema.json", file)
    with pytest.raises(ManifestInvalid, match=message) as caught:
        registry.discover(tree.root)
    assert not isinstance(caught.value, ConfigSectionInvalid)
    assert caught.value.path == f"{folder}/dagstack.toml"
    assert caught.value.line == 8


def test_a_bad_part_of_a_schema_is_reported_with_its_own_line(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    schema = '[plugin.config_schema.properties]\nport = {type = "integer"}\ndepends_on = ["x"]\n'
    tree.plugin("one", code=READS, manifest=schema)
    with pytest.raises(ManifestInvalid, match=r"config_schema\.properties\.depends_on") as caught:
        registry.discover(tree.root)
    assert caught.value.line == 10


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"url": {"pattern": "^(a+)+$"}}},
        {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        {"propertyNames": {"pattern": r"^((a|b)+)+$"}},
        {"properties": {"url": {"pattern": r"^(?=a)((a+)+)\1$"}}},
    ],
)
async def test_no_pattern_holds_up_the_loop(
    put: Callable[..., Any],
    registry: PluginRegistry,
    ctx: PluginContext,
    schema: dict[str, Any],
) -> None:
    put(Reads(), config_schema=schema)
    config = {"demo": {"it": {"url": "a" * 60 + "!", "a" * 60 + "!": 1}}}
    with pytest.raises(ConfigSectionInvalid):  # Where backtracking would take until tomorrow.
        await registry.setup_all(replace(ctx, config=config))


async def test_a_date_is_held_against_the_schema_as_text(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    plugin = put(Reads(), config_schema={"properties": {"day": {"type": "string"}}})
    config = document("[demo.it]\nday = 2026-03-07\nat = [10:00:00]\n")
    await registry.setup_all(replace(ctx, config=config))
    assert plugin.config["day"].year == 2026


async def test_a_value_that_json_does_not_know_is_reported(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    put(Reads(), config_schema={"properties": {"url": {"type": "string"}}})
    config = {"demo": {"it": {"url": object()}}}
    with pytest.raises(ConfigSectionInvalid, match=r"cannot be checked: .*Unsupported type"):
        await registry.setup_all(replace(ctx, config=config))


def test_a_schema_of_a_class_that_json_does_not_know_is_reported(put: Callable[..., Any]) -> None:
    class Odd(Reads):
        config_schema: ClassVar[object] = {"properties": {5: {}}}

    with pytest.raises(ManifestInvalid, match=r"no valid JSON Schema: .*must be str"):
        class_schema(Odd, PluginRef("demo", "it"))


def test_nothing_is_fetched_for_a_reference(tree: PluginTree, registry: PluginRegistry) -> None:
    manifest = 'config_schema = { "$ref" = "http://127.0.0.1:9/schema.json" }\n'
    tree.plugin("one", code=READS, manifest=manifest)
    with pytest.raises(ManifestInvalid, match=r"schema\.json.*is not present"):
        registry.discover(tree.root)


class Model(BaseModel):
    url: str
    port: int = Field(default=80, alias="tcp-port")
    tags: list[str] = []


class WithModel(Reads):
    config_schema: ClassVar[object] = Model


async def test_a_model_of_the_class_fills_in_its_defaults(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    plugin = put(WithModel())
    section = {"url": "http://x", "other": 1}
    await registry.setup_all(replace(ctx, config={"demo": {"it": section}}))
    assert plugin.config == {"url": "http://x", "other": 1, "tcp-port": 80, "tags": []}
    assert plugin.config["url"] == "http://x"


@pytest.mark.parametrize(("text", "field"), [("", "demo.it.url"), ("port = 1\n", "url")])
async def test_what_is_missing_is_named_as_it_is_to_be_written(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext, text: str, field: str
) -> None:
    put(WithModel())
    with pytest.raises(ConfigSectionInvalid) as caught:
        await registry.setup_all(replace(ctx, config=document(text)))
    assert [each.field for each in caught.value.problems] == [field]


async def test_all_problems_of_a_model_are_reported(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    plugin = put(WithModel())
    config = document('[demo.it]\ntags = [\n  "a",\n  1,\n]\n')
    with pytest.raises(ConfigSectionInvalid) as caught:
        await registry.setup_all(replace(ctx, config=config))
    assert [str(each) for each in caught.value.problems] == [
        "line 1: demo.it.url: missing; add it",
        "line 2: demo.it.tags[1]: should be a valid string, not 1",
    ]
    assert plugin.config is None


class Careless(BaseModel):
    token: int

    @field_validator("token", mode="before")
    @classmethod
    def look_up(cls, given: str) -> int:
        return {"one": 1}[given]


class WithCareless(Reads):
    config_schema: ClassVar[object] = Careless


async def test_a_model_that_fails_in_its_own_way_is_reported(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    put(WithCareless())
    with pytest.raises(ConfigSectionInvalid, match="Careless cannot be applied: KeyError") as error:
        await registry.setup_all(replace(ctx, config={"demo": {"it": {"token": "two"}}}))
    assert isinstance(error.value.__cause__, KeyError)


async def test_a_json_schema_of_the_class_works_like_that_of_the_manifest(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    class WithDict(Reads):
        config_schema: ClassVar[object] = {"properties": {"port": {"default": 8080}}}

    plugin = put(WithDict())
    await registry.setup_all(replace(ctx, config={"demo": {"it": {}}}))
    assert plugin.config == {"port": 8080}


async def test_both_apply_where_both_are_there(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    plugin = put(WithModel(), config_schema={"properties": {"url": {"default": "http://y"}}})
    await registry.setup_all(replace(ctx, config={"demo": {"it": {}}}))
    assert plugin.config["url"] == "http://y"


async def test_what_is_no_schema_is_reported(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    class Odd(Reads):
        config_schema = 5

    put(Odd())
    message = "Odd: config_schema: must be a pydantic model or a JSON Schema, not 5"
    with pytest.raises(ManifestInvalid, match=message):
        await registry.setup_all(ctx)


async def test_a_configuration_without_sections_is_checked_as_a_whole(
    put: Callable[..., Any], registry: PluginRegistry, ctx: PluginContext
) -> None:
    put(Reads(), config_schema={"properties": {"port": {"type": "integer"}}})
    with pytest.raises(ConfigSectionInvalid, match=r"of demo/it: port: must be of type integer"):
        await registry.setup_all(replace(ctx, config={"port": "x"}))
