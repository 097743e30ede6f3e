"""The JSON Schema of `dagstack.toml` says what the parser does."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from asking import Asking
from hypothesis import given
from hypothesis import strategies as st

import dagstack_dev
from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.parsing import load_manifest_from_dict, parse_manifest
from dagstack_dev.core.manifest.problems import REFUSED
from dagstack_dev.static.schema import manifest_schema, schema_text

ROOT = Path(__file__).parents[2]
SCHEMA = manifest_schema()
VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA)
FIELDS: Final[dict[str, dict[str, Any]]] = SCHEMA["$defs"]["PluginManifest"]["properties"]
GREETER = {
    "name": "greeter",
    "kind": "tool",
    "core_version": ">=0.1,<1",
    "runtime": "in_process",
    "entry_point": "plugin:Greeter",
}

BEYOND = (
    "PEP 440",
    "is no URL",
    "differs from",
    '"module:Class"',
    "contradicts",
    "names a secret as well",
    "has nothing to carry",
    "says nothing",
    "name is empty",
    "cannot stand in an HTTP header",
    "missing; add",
)
"""What a schema cannot say: what a text means, and which fields contradict each other."""


def problems(fields: Mapping[str, Any]) -> list[str]:
    """What the parser has against a manifest."""
    try:
        load_manifest_from_dict(fields)
    except ManifestInvalid as error:
        return [each.message for each in error.problems]
    return []


def properties(schema: object, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property that the schema describes, with its place."""
    if isinstance(schema, list):
        for each in schema:
            yield from properties(each, place)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties" and "type" in schema:
                yield from ((f"{place}.{name}", each) for name, each in value.items())
            if key not in ("examples", "default", "allOf"):
                yield from properties(value, f"{place}.{key}")


def test_every_field_has_a_description_and_examples_that_are_valid() -> None:
    described = dict(properties(SCHEMA["$defs"]))
    assert len(described) > len(FIELDS) + 20
    for place, each in described.items():
        assert each.get("description", "").endswith("."), place
        validator = jsonschema_rs.Draft7Validator({**each, "$defs": SCHEMA["$defs"]})
        assert each["examples"], place
        for example in each["examples"]:
            validator.validate(example)


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_the_parser_takes_the_examples(field: str) -> None:
    fields: dict[str, Any] = dict(GREETER)
    if field in ("command", "env", "mcp_stdio"):
        fields |= {"runtime": "mcp_stdio", "command": ["node", "server.mjs"]}
    if field in ("endpoint", "url", "auth", "mcp_http"):
        fields |= {"runtime": "mcp_http", "url": "http://localhost:8000/mcp"}
    for example in FIELDS[field]["examples"]:
        assert problems({**fields, field: example}) == []


def test_manifests_of_the_playground_are_as_valid_as_the_parser_finds_them() -> None:
    files = sorted((ROOT / "playground").rglob("dagstack.toml"))
    assert len(files) > 20
    for file in files:
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError:
            continue
        try:
            parse_manifest(file.read_bytes(), str(file))
        except ManifestInvalid:
            assert not VALIDATOR.is_valid(table), file
        else:
            VALIDATOR.validate(table)


@pytest.mark.parametrize(
    "fields",
    [
        *({key: value for key, value in GREETER.items() if key != each} for each in GREETER),
        *({**GREETER, each: 5} for each in (*REFUSED, "nmae")),
        {**GREETER, "priority": "5"},
        {**GREETER, "resources": {"needed": ["clock"]}},
        {**GREETER, "depends_on": [{"kind": "llm"}]},
        {**GREETER, "tryfirst": True, "trylast": True},
        {**GREETER, "entry_point": "plugin.Greeter"},
        {**GREETER, "runtime": []},
        {**GREETER, "runtime": "mcp_http"},
        {**GREETER, "runtime": ["in_process"], "execution_model": "fast"},
        {**GREETER, "schema_version": "2"},
        {**GREETER, "auth": {"tocken": "x"}},
    ],
)
def test_a_mistake_is_one_for_both_wherever_the_fields_stand(fields: dict[str, Any]) -> None:
    assert problems(fields)
    assert not VALIDATOR.is_valid(fields)
    assert not VALIDATOR.is_valid({"plugin": fields})


values = st.one_of(
    st.booleans(),
    st.integers(-1, 3),
    st.sampled_from(["", "a", "1", "in_process", "mcp_stdio", "plugin:A", "http://h/mcp"]),
    st.lists(st.sampled_from(["a", "in_process", "mcp_http", "", 1, {}]), max_size=2),
    st.dictionaries(
        st.sampled_from(["token", "command", "url", "languages", "required", "a=", ""]),
        st.sampled_from(["a", 1, ["a"], True, "http://h/mcp"]),
        max_size=2,
    ),
)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Manifests with some fields that may be anything, most of them valid."""
    fields = draw(st.lists(st.sampled_from([*FIELDS, "other"]), max_size=4, unique=True))
    given = {
        field: draw(st.sampled_from(FIELDS.get(field, {}).get("examples", [1])) | values)
        for field in fields
    }
    return {**GREETER, **given}


@given(manifests())
def test_what_the_parser_takes_is_valid_and_the_reverse(fields: dict[str, Any]) -> None:
    found = problems(fields)
    if VALIDATOR.is_valid({"plugin": fields}):
        assert [each for each in found if not any(map(each.__contains__, BEYOND))] == []
    else:
        assert found
    assert VALIDATOR.is_valid(fields) is VALIDATOR.is_valid({"plugin": fields})


def test_the_command_prints_what_the_package_publishes(tmp_path: Path) -> None:
    published = Path(dagstack_dev.__file__).parent / "schema/dagstack.schema.json"
    assert published.read_text(encoding="utf-8") == schema_text(), (
        "write it anew: python -m dagstack_dev schema > dagstack_dev/schema/dagstack.schema.json"
    )
    assert Asking(tmp_path).run("schema").stdout == schema_text()
