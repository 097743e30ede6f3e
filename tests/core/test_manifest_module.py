"""A manifest in Python code is read from its text, where the text spells it out."""

from __future__ import annotations

from textwrap import dedent

import pytest

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.module import module_manifest, parsed_module, written_manifest
from dagstack_dev.core.sources import ModulePlugin, PluginSource, SourceFile

FIELDS = (
    '"name": "echo", "kind": "tool", "core_version": ">=0.1",\n'
    '"runtime": "in_process", "entry_point": "echoes:Echo",\n'
)


def written(text: str, attribute: str | None = None) -> object:
    """What the text is found to spell out, None for nothing."""
    found = written_manifest(parsed_module(dedent(text).encode(), "echoes.py"), attribute)
    return found and found.fields


def source(text: str, plugin: ModulePlugin) -> PluginSource:
    return PluginSource("/p/echoes.py", {"echoes.py": SourceFile.of(text.encode())}, plugin)


@pytest.mark.parametrize(
    ("text", "attribute"),
    [
        ("DAGSTACK_PLUGIN_MANIFEST = {'name': 'a'}", None),
        ("DAGSTACK_PLUGIN_MANIFEST: dict[str, object] = {'name': 'a'}", None),
        ("def get_dagstack_manifest():\n    return {'name': 'a'}", None),
        ("def get_dagstack_manifest() -> dict:\n    'Says.'\n    return {'name': 'a'}", None),
        ("M = {'name': 'a'}", "M"),
        ("M = {'name': 'a'}\ndef get_dagstack_manifest():\n    return dict(M)", "M"),
        ("def m():\n    return {'name': 'a'}\nX = m()", "m"),
        ("DAGSTACK_PLUGIN_MANIFEST = {'name': 'a'}\ndef get_dagstack_manifest(): ...", None),
    ],
)
def test_a_dict_that_is_spelt_out_is_found(text: str, attribute: str | None) -> None:
    assert written(text, attribute) == {"name": "a"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M = dict(name='a')",
        "N = 'a'\nM = {'name': N}",
        "M = {'name': 'a'}\nM['kind'] = 'b'",
        "M = {'name': 'a'}\nM.update(kind='b')",
        "M = {'name': 'a'}\nM |= {'kind': 'b'}",
        "M = {'name': 'a'}\nM = {'name': 'b'}",
        "M = {'name': 'a'}\nif True:\n    M = {'name': 'b'}",
        "M = {'name': 'a'}\nfrom b import M",
        "from b import X as M",
        "M = {'name': 'a'}\ndel M",
        "if True:\n    M = {'name': 'a'}",
        "def M():\n    x = 1\n    return {'name': 'a'}",
        "def M():\n    return None",
        "@cache\ndef M():\n    return {'name': 'a'}",
        "M = {[]: 1}",
        "class M: ...",
    ],
)
def test_what_code_computes_or_alters_is_not_guessed(text: str) -> None:
    assert written(text, "M") is None


def test_a_problem_has_the_line_of_its_field() -> None:
    text = f'\nDAGSTACK_PLUGIN_MANIFEST = {{\n{FIELDS}"priority": "x",\n"env": {{\n"A": 1}}}}\n'
    with pytest.raises(ManifestInvalid) as caught:
        module_manifest(source(text, ModulePlugin("echoes")))
    assert {(each.field, each.line) for each in caught.value.problems} == {
        ("priority", 5),
        ("env.A", 7),
    }
    assert caught.value.path == "/p/echoes.py"


def test_what_is_missing_points_at_the_dict() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        module_manifest(source("\n\nM = {}\n", ModulePlugin("echoes", "M")))
    assert {each.line for each in caught.value.problems} == {3}


def test_the_text_counts_before_what_was_computed() -> None:
    old = {"name": "old", "kind": "tool", "core_version": "", "runtime": "r"}
    plugin = ModulePlugin("echoes", computed=old)
    assert module_manifest(source("NAME = 1", plugin)).name == "old"
    assert (
        module_manifest(source(f"DAGSTACK_PLUGIN_MANIFEST = {{{FIELDS}}}", plugin)).name == "echo"
    )


def test_an_entry_point_that_names_the_class_says_what_the_manifest_leaves_out() -> None:
    fields = FIELDS.replace(', "entry_point": "echoes:Echo"', "")
    text = f"class Echo: ...\nDAGSTACK_PLUGIN_MANIFEST = {{{fields}}}"
    assert module_manifest(source(text, ModulePlugin("echoes", "Echo"))).entry_class == "Echo"
    other = text.replace('"kind"', '"entry_point": "echoes:Other", "kind"')
    assert module_manifest(source(other, ModulePlugin("echoes", "Echo"))).entry_class == "Other"


def test_code_that_does_not_parse_is_reported_with_its_line() -> None:
    with pytest.raises(ManifestInvalid, match=r"^/p/echoes\.py:2: is not valid Python: "):
        module_manifest(source("\nM = {\n", ModulePlugin("echoes")))


def test_a_field_that_is_missing_is_to_be_written_as_python() -> None:
    text = 'DAGSTACK_PLUGIN_MANIFEST = {"name": "echo", "kind": "tool", "core_version": ">=0.1"}\n'
    with pytest.raises(ManifestInvalid, match='missing; add "runtime": "in_process"') as caught:
        module_manifest(source(text, ModulePlugin("echoes")))
    assert caught.value.line == 1
