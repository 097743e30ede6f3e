"""The files that can hold a manifest: where it stands in each, which counts, what is reported."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.parsing import line_in_manifest, parse_manifest
from dagstack_dev.core.manifest_forms import differing_forms, manifest_among
from dagstack_dev.core.sources import PluginSource, SourceFile

FIELDS = {
    "name": "greeter",
    "kind": "tool",
    "core_version": ">=0.1",
    "runtime": "in_process",
    "entry_point": "plugin:Greeter",
}
LINES = "\n".join(f'{key} = "{value}"' for key, value in FIELDS.items())

TEXTS = {
    "dagstack.toml": f"[plugin]\n{LINES}\n",
    "dagstack_plugin.toml": f"{LINES}\n",
    "dagstack.json": json.dumps({"plugin": FIELDS}, indent=1),
    "pyproject.toml": f"[project]\nname = 'x'\n[tool.dagstack.plugin]\n{LINES}\n",
    "package.json": json.dumps({"name": "x", "dagstack": FIELDS}, indent=1),
}


def source(texts: Mapping[str, str]) -> PluginSource:
    return PluginSource("/p", {name: SourceFile.of(text.encode()) for name, text in texts.items()})


@pytest.mark.parametrize("name", TEXTS)
def test_every_form_says_the_same(name: str) -> None:
    manifest = parse_manifest(TEXTS[name].encode(), f"p/{name}")
    assert manifest == parse_manifest(TEXTS["dagstack.toml"].encode(), "p/dagstack.toml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dagstack.toml", LINES),
        ("dagstack_plugin.toml", f"[tool.dagstack.plugin]\n{LINES}"),
        ("dagstack_plugin.toml", f"[plugin]\n{LINES}"),
        ("dagstack.json", json.dumps({"$schema": "https://example.org/s.json", **FIELDS})),
        ("other.json", json.dumps(FIELDS)),
        ("other.toml", LINES),
    ],
)
def test_the_fields_may_stand_elsewhere_in_some_forms(name: str, text: str) -> None:
    assert parse_manifest(text.encode(), name).name == "greeter"


def test_metadata_can_be_read_in_every_form() -> None:
    texts = {
        "dagstack.toml": f"[plugin]\n{LINES}\n[plugin.metadata]\nteam = 'a'\n",
        "dagstack_plugin.toml": f"{LINES}\n[metadata]\nteam = 'a'\n",
        "dagstack.json": json.dumps({**FIELDS, "metadata": {"team": "a"}}),
        "pyproject.toml": f"[tool.dagstack.plugin]\n{LINES}\nmetadata = {{team = 'a'}}\n",
        "package.json": json.dumps({"dagstack": {**FIELDS, "metadata": {"team": "a"}}}),
    }
    for name, text in texts.items():
        assert parse_manifest(text.encode(), name).metadata == {"team": "a"}


def test_the_first_form_is_in_force_and_the_others_count_when_it_goes() -> None:
    left = dict(TEXTS)
    while left:
        found = source(left)
        name = next(iter(left))
        assert found.manifest_name == name
        assert found.manifest_path == f"/p/{name}"
        assert found.manifest == found.files[name]
        del left[name]
    assert source({}).manifest is None
    assert source({}).manifest_path == "/p/dagstack.toml"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[project]\nname = 'dagstack'\n[tool.dagstack]\nx = 1\n"),
        ("pyproject.toml", "[tool]\nx = 1\n"),
        ("pyproject.toml", ""),
        ("pyproject.toml", "[project\n"),
        ("package.json", '{"name": "dagstack", "dependencies": {"dagstack-x": "1"}}'),
        ("package.json", '{"name": "x", "scripts": {"dagstack": "run"}}'),
        (
            "package.json",
            '{"name": "x", "keywords": ["dagstack"], "dependencies": {"dagstack": "1",',
        ),
        ("pyproject.toml", "[project\n[tool.dagstack]\nx = 1\n"),
        ("package.json", "[]"),
        ("package.json", ""),
    ],
)
def test_a_file_of_another_tool_without_the_table_is_no_manifest(name: str, text: str) -> None:
    assert source({name: text}).manifest is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", f"[tool.dagstack.plugin]\n{LINES}\nname = \n"),
        ("pyproject.toml", f"[ tool . 'dagstack' . plugin ]\n{LINES}\nname = \n"),
        ("pyproject.toml", "[tool]\ndagstack.plugin = {name = \n"),
        ("package.json", '{"dagstack": {"name": "x",'),
    ],
)
def test_a_broken_file_of_another_tool_stays_the_manifest_that_it_was(name: str, text: str) -> None:
    found = source({name: text})
    assert found.manifest is not None
    with pytest.raises(ManifestInvalid, match="is not valid"):
        parse_manifest(text.encode(), found.manifest_path)


def test_nothing_is_read_where_a_dagstack_toml_is_there() -> None:
    asked = []

    def read(name: str) -> bytes | None:
        asked.append(name)
        return b"" if name == "dagstack.toml" else None

    assert manifest_among(read) == "dagstack.toml"
    assert asked == ["dagstack.toml"]


def test_forms_that_say_something_else_than_the_one_in_force_are_named() -> None:
    same = source(TEXTS)
    assert differing_forms(same.manifest_text) == ()
    other = source(TEXTS | {"package.json": '{"dagstack": {"name": "other"}}'})
    assert differing_forms(other.manifest_text) == ("package.json",)
    broken = source(TEXTS | {"dagstack.json": "{"})
    assert differing_forms(broken.manifest_text) == ("dagstack.json",)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("dagstack.toml", 6),
        ("dagstack_plugin.toml", 5),
        ("dagstack.json", 7),
        ("pyproject.toml", 8),
        ("package.json", 8),
    ],
)
def test_a_problem_is_reported_with_its_line_in_every_form(name: str, line: int) -> None:
    text = TEXTS[name].replace("plugin:Greeter", "plugin")
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(text.encode(), f"p/{name}")
    (problem,) = caught.value.problems
    assert (problem.field, problem.line) == ("entry_point", line)
    assert str(caught.value).startswith(f"p/{name}:{line}: entry_point: 'plugin' must read")
    assert line_in_manifest(text.encode(), f"p/{name}", "entry_point") == line
    assert line_in_manifest(text.encode(), f"p/{name}", "priority") is None


def test_a_json_syntax_error_is_reported_with_its_line() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(b'{\n "name": "x",\n "kind": }\n', "p/dagstack.json")
    assert str(caught.value).startswith("p/dagstack.json:3: is not valid JSON: ")


def test_json_without_end_is_reported_in_words() -> None:
    with pytest.raises(ManifestInvalid, match="is nested too deeply"):
        parse_manifest(b"[" * 100_000, "p/dagstack.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pyproject.toml", "[project]\n", "holds no manifest; add a table [tool.dagstack.plugin]"),
        ("package.json", "{}", 'holds no manifest; add a field "dagstack"'),
        ("package.json", '{\n"dagstack": 5}', "2: dagstack: must be an object"),
        ("dagstack.json", "[]", "1: must be an object"),
    ],
)
def test_what_holds_no_manifest_says_what_is_missing(name: str, text: str, message: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(text.encode(), name)
    assert str(caught.value) == f"{name}:{'' if message[0].isdigit() else ' '}{message}"
