"""What a manifest may say: every field of the contract, its default and its type."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.core.manifest.mcp import McpHttp, McpStdio
from dagstack_dev.core.manifest.parsing import manifest_from, parse_manifest
from dagstack_dev.core.refs import PluginRef

BASE = {
    "name": '"greeter"',
    "kind": '"tool"',
    "core_version": '">=0.1"',
    "runtime": '"in_process"',
    "entry_point": '"plugin:Greeter"',
}


def manifest_text(**fields: str) -> str:
    """A manifest whose required fields are right unless `fields`, as TOML, say otherwise."""
    lines = [f"{key} = {value}" for key, value in (BASE | fields).items()]
    return "\n".join(["[plugin]", *lines])


def parse(text: str) -> PluginManifest:
    return parse_manifest(text.encode(), "dagstack.toml")


def test_a_minimal_manifest_has_the_defaults_of_the_contract() -> None:
    manifest = parse(manifest_text())
    assert manifest.ref == PluginRef("tool", "greeter")
    assert (manifest.entry_module, manifest.entry_class) == ("plugin", "Greeter")
    assert manifest.model_dump(exclude={"name", "kind", "core_version", "entry_point"}) == {
        "runtime": ("in_process",),
        "schema_version": "1",
        "kind_api_version": "1",
        "priority": 0,
        "depends_on": (),
        "tryfirst": False,
        "trylast": False,
        "startup_timeout_sec": 30,
        "teardown_timeout_sec": 15,
        "capabilities": (),
        "supports_languages": (),
        "supports_extensions": (),
        "supports_mime_types": (),
        "fallback": False,
        "execution_model": "sync",
        "in_process_only": False,
        "resources": {"required": (), "optional": ()},
        "unit_of_work": {
            "declared": False,
            "checkpointable": False,
            "partition_key": None,
            "estimated_duration_sec": None,
            "idempotency_mode": "none",
            "content_hash": None,
        },
        "config_schema": None,
        "license": None,
        "maintainer": None,
        "homepage": None,
        "health_check": None,
        "version": None,
        "description": None,
        "authors": (),
        "ignore": (),
        "command": (),
        "env": {},
        "endpoint": None,
        "url": None,
        "auth": {},
        "mcp_stdio": None,
        "mcp_http": None,
        "supports": None,
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("field", "toml", "value"),
    [
        ("schema_version", '"1"', "1"),
        ("kind_api_version", '"3"', "3"),
        ("priority", "1000", 1000),
        ("tryfirst", "true", True),
        ("trylast", "true", True),
        ("startup_timeout_sec", "1", 1),
        ("teardown_timeout_sec", "600", 600),
        ("capabilities", '["audit"]', ("audit",)),
        ("supports_languages", '["python"]', ("python",)),
        ("supports_extensions", '[".py"]', (".py",)),
        ("supports_mime_types", '["text/plain"]', ("text/plain",)),
        ("fallback", "true", True),
        ("execution_model", '"thread_cpu_bound"', "thread_cpu_bound"),
        ("in_process_only", "true", True),
        ("license", '"MIT"', "MIT"),
        ("maintainer", '"me"', "me"),
        ("homepage", '"https://example.org"', "https://example.org"),
        ("health_check", '"ping"', "ping"),
        ("version", '"1.2.3"', "1.2.3"),
        ("description", '"says hello"', "says hello"),
        ("authors", '["me"]', ("me",)),
        ("ignore", '["*.csv", "!words.csv"]', ("*.csv", "!words.csv")),
        ("command", '["python", "-m", "x"]', ("python", "-m", "x")),
        ("command", '"serve"', ("serve",)),
        ("env", '{ A = "1" }', {"A": "1"}),
        ("auth", '{ token = "t" }', {"token": "t"}),
        ("mcp_stdio", '{ command = ["x"] }', McpStdio(command=("x",))),
        ("mcp_http", "{ tls_verify = false }", McpHttp(tls_verify=False)),
        ("config_schema", '{ type = "object" }', {"type": "object"}),
        ("runtime", '"mcp_stdio"', ("mcp_stdio",)),
        ("runtime", '["in_process", "no_such"]', ("in_process", "no_such")),
        ("runtime", '"no_such_runtime"', ("no_such_runtime",)),
        ("depends_on", '["theme"]', ("theme",)),
        (
            "depends_on",
            '["theme", { kind = "tool", name = "theme" }]',
            ("theme", PluginRef("tool", "theme")),
        ),
        ("name", '"A.b-c_9"', "A.b-c_9"),
        ("entry_point", '"pkg.mod:A"', "pkg.mod:A"),
    ],
)
def test_every_field_of_the_contract_is_accepted(field: str, toml: str, value: object) -> None:
    assert getattr(parse(manifest_text(**{field: toml})), field) == value


def test_the_nested_tables_are_accepted() -> None:
    manifest = parse(
        manifest_text()
        + """
        [plugin.resources]
        required = ["clock"]
        optional = ["rng"]
        [plugin.unit_of_work]
        declared = true
        checkpointable = true
        partition_key = "user"
        estimated_duration_sec = 5
        idempotency_mode = "input_hash"
        """
    )
    assert manifest.resources.required == ("clock",)
    assert manifest.resources.optional == ("rng",)
    assert manifest.unit_of_work.model_dump(exclude={"content_hash"}) == {
        "declared": True,
        "checkpointable": True,
        "partition_key": "user",
        "estimated_duration_sec": 5,
        "idempotency_mode": "input_hash",
    }


@pytest.mark.parametrize(
    ("field", "toml"),
    [
        ("name", "5"),
        ("name", '""'),
        ("name", '"../evil"'),
        ("name", '".."'),
        ("name", '"a/b"'),
        ("name", '"has space"'),
        ("name", '"line\\n"'),
        ("kind", '"../evil"'),
        ("kind", '"a\\\\b"'),
        ("core_version", '"^0.2"'),
        ("core_version", "1"),
        ("runtime", "[]"),
        ("runtime", "true"),
        ("runtime", "[1]"),
        ("schema_version", '"2"'),
        ("schema_version", "1"),
        ("kind_api_version", "1"),
        ("priority", '"5"'),
        ("priority", "true"),
        ("priority", "1.0"),
        ("priority", "-1"),
        ("tryfirst", "1"),
        ("tryfirst", '"true"'),
        ("startup_timeout_sec", "0"),
        ("startup_timeout_sec", "1.5"),
        ("teardown_timeout_sec", "true"),
        ("capabilities", '"audit"'),
        ("capabilities", "[1]"),
        ("fallback", "0"),
        ("execution_model", '"parallel"'),
        ("resources", '{ required = "clock" }'),
        ("resources", '{ wanted = ["clock"] }'),
        ("unit_of_work", "{ declared = 1 }"),
        ("unit_of_work", "{ estimated_duration_sec = 0 }"),
        ("unit_of_work", '{ idempotency_mode = "never" }'),
        ("depends_on", '"theme"'),
        ("depends_on", "[1]"),
        ("depends_on", '[{ name = "theme" }]'),
        ("depends_on", '[{ kind = "tool", name = 1 }]'),
        ("depends_on", '[{ kind = "tool", name = "theme", version = "1" }]'),
        ("env", "{ A = 1 }"),
        ("authors", '"me"'),
        ("license", "true"),
        ("entry_point", '"plugin"'),
        ("entry_point", '":Greeter"'),
        ("entry_point", '"plugin:"'),
        ("entry_point", '"../x:A"'),
        ("entry_point", '"/abs:A"'),
        ("entry_point", '"a/b:A"'),
        ("entry_point", '"..x:A"'),
        ("entry_point", '"a..b:A"'),
        ("entry_point", '"a:A.B"'),
        ("entry_point", '"a:A\\n"'),
        ("entry_point", '"C:\\\\x:A"'),
        ("pirority", "5"),
    ],
)
def test_wrong_values_are_refused_and_never_coerced(field: str, toml: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(manifest_text(**{field: toml}))
    (problem,) = caught.value.problems
    assert problem.field.split(".")[0] == field


def test_every_wrong_value_above_is_reported_with_its_line() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(manifest_text(priority='"5"'))
    (problem,) = caught.value.problems
    assert problem.line == len(BASE) + 2
    assert str(caught.value) == ("dagstack.toml:7: priority: should be a valid integer, not '5'")


@pytest.mark.parametrize(
    ("specifier", "core", "accepted"),
    [
        (">=0.1", "0.5.0.dev1", True),
        (">=0.1.0,<1.0.0", "0.1.0", True),
        (">=0.0.1.dev0", "0.1.0", True),
        (">=0.1", "0.1.0.dev1", False),
        ("<1", "1.0", False),
        ("==0.1.*", "0.1.7rc1", True),
        (">=0.2", "0.1.0", False),
    ],
)
def test_prereleases_of_the_core_count_as_versions(
    specifier: str, core: str, accepted: bool
) -> None:
    assert parse(manifest_text(core_version=f'"{specifier}"')).accepts_core(core) is accepted


@pytest.mark.parametrize("specifier", [">=0.1.0,<1.0.0", ">=0.0.1.dev0"])
def test_this_core_satisfies_the_specifiers_of_existing_plugins(specifier: str) -> None:
    from dagstack_dev import CORE_VERSION

    assert parse(manifest_text(core_version=f'"{specifier}"')).accepts_core(CORE_VERSION)


def test_a_manifest_cannot_be_changed() -> None:
    manifest = parse(manifest_text(depends_on='["theme"]'))
    with pytest.raises(ValidationError, match="frozen"):
        manifest.priority = 5  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        manifest.resources.required = ("clock",)  # type: ignore[misc]
    assert isinstance(manifest.depends_on, tuple)


def test_equal_content_makes_equal_manifests() -> None:
    assert parse(manifest_text()) == parse(manifest_text(priority="0"))
    assert parse(manifest_text()) != parse(manifest_text(priority="1"))


def test_metadata_is_free_and_cannot_be_changed() -> None:
    text = manifest_text() + "\n[plugin.metadata]\nanything = [1, 2]\n[plugin.metadata.deep]\nx = 1"
    metadata = parse(text).metadata
    assert metadata == {"anything": (1, 2), "deep": {"x": 1}}
    with pytest.raises(TypeError):
        metadata["deep"]["x"] = 2
    assert pickle.loads(pickle.dumps(parse(text))) == parse(text)
    assert parse(text).model_dump()["metadata"] == {"anything": [1, 2], "deep": {"x": 1}}


def test_metadata_is_a_part_of_what_makes_manifests_equal() -> None:
    text = manifest_text() + "\n[plugin.metadata]\nteam = 'a'"
    assert parse(text) == parse(text)
    assert parse(text) != parse(text.replace("'a'", "'b'"))


def test_the_plugin_table_may_be_left_out() -> None:
    assert parse(manifest_text().removeprefix("[plugin]\n")) == parse(manifest_text())


def test_other_tables_beside_the_plugin_table_are_not_ours() -> None:
    assert parse(manifest_text() + "\n[tool.other]\nx = 1") == parse(manifest_text())


def test_mcp_plugins_need_no_entry_point() -> None:
    text = manifest_text(runtime='"mcp_stdio"', command='["serve"]')
    assert parse(text.replace('entry_point = "plugin:Greeter"\n', "")).entry_point is None


def test_a_plugin_registered_by_hand_is_held_to_the_same_rules() -> None:
    values: dict[str, Any] = {
        "name": "greeter",
        "kind": "tool",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "plugin:Greeter",
        "depends_on": ["theme", PluginRef("tool", "theme")],
    }
    manifest = manifest_from(values)
    assert manifest.depends_on == ("theme", PluginRef("tool", "theme"))
    assert manifest_from(manifest) is manifest
    with pytest.raises(ManifestInvalid) as caught:
        manifest_from(values | {"priority": "5", "runtime": []})
    assert {problem.field for problem in caught.value.problems} == {"priority", "runtime"}
    assert caught.value.line is None
    assert caught.value.ref == PluginRef("tool", "greeter")


def test_a_plugin_registered_by_hand_has_no_lines_to_name() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        manifest_from({"kind": "tool"})
    assert {problem.line for problem in caught.value.problems} == {None}
    assert {problem.field for problem in caught.value.problems} >= {"name", "runtime"}
