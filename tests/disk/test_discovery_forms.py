"""Which folders are plugins by another form of the manifest than `dagstack.toml`."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import PluginTree

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest_forms import LARGEST_MANIFEST
from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.ignore import IgnoreRules
from dagstack_dev.disk.manifests import load_manifest
from dagstack_dev.disk.reading import read_plugin

FIELDS = """
name = "one"
kind = "demo"
core_version = ">=0.1"
runtime = "in_process"
entry_point = "plugin:Plugin"
"""
JSON = (
    '{"name": "one", "kind": "demo", "core_version": ">=0.1", "runtime": "in_process", '
    '"entry_point": "plugin:Plugin"}'
)
FORMS = {
    "dagstack.toml": f"[plugin]{FIELDS}",
    "dagstack_plugin.toml": FIELDS,
    "dagstack.json": JSON,
    "pyproject.toml": f"[tool.dagstack.plugin]{FIELDS}",
    "package.json": f'{{"dagstack": {JSON}}}',
}


def found(tree: PluginTree, *ignored: str) -> list[str]:
    root = str(tree.root)
    return [path[len(root) + 1 :] for path in find_plugins(root, IgnoreRules(ignored))]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_makes_a_folder_a_plugin_and_nothing_below_it_is_searched(
    tree: PluginTree, name: str
) -> None:
    tree.write(f"one/{name}", FORMS[name])
    tree.plugin("inner", folder="one/inner")
    assert found(tree) == ["one"]
    source, _ = read_plugin(str(tree.root / "one"), str(tree.root), IgnoreRules())
    assert source.manifest_path == str(tree.root / "one" / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[project]\nname = 'dagstack-things'\n"),
        ("package.json", '{"name": "dagstack-things", "dependencies": {"dagstack": "1"}}'),
    ],
)
def test_a_project_with_plugins_below_is_no_plugin_for_its_own_files(
    tree: PluginTree, name: str, text: str
) -> None:
    tree.write(name, text)
    tree.plugin("one")
    tree.plugin("two", folder="deep/two")
    tree.write(f"deep/{name}", text)
    assert found(tree) == ["deep/two", "one"]


@pytest.mark.parametrize("name", ["pyproject.toml", "package.json"])
def test_the_form_of_another_tool_can_be_ignored(tree: PluginTree, name: str) -> None:
    tree.write(f"one/{name}", FORMS[name])
    tree.plugin("inner", folder="one/inner")
    assert found(tree, name) == ["one/inner"]
    assert found(tree, f"one/{name}") == ["one/inner"]


def test_a_huge_file_of_another_tool_is_no_manifest(tree: PluginTree) -> None:
    padding = "x" * LARGEST_MANIFEST
    tree.write("one/package.json", f'{{"dagstack": {JSON}, "padding": "{padding}"}}')
    tree.plugin("inner", folder="one/inner")
    assert found(tree) == ["one/inner"]


def test_a_huge_file_of_another_tool_is_data_of_the_plugin(tree: PluginTree) -> None:
    folder = tree.plugin("one")
    tree.write("one/package.json", f'{{"padding": "{"x" * LARGEST_MANIFEST}"}}')
    source, _ = read_plugin(str(folder), str(tree.root), IgnoreRules())
    file = source.files["package.json"]
    assert (file.error, file.content) == (None, None)


def test_a_folder_by_the_name_of_a_manifest_is_none(tree: PluginTree) -> None:
    tree.plugin("inner", folder="one/dagstack.json")
    tree.plugin("other", folder="two/pyproject.toml")
    assert found(tree) == ["one/dagstack.json", "two/pyproject.toml"]


@pytest.mark.parametrize("name", FORMS)
def test_a_manifest_is_loaded_by_file_or_by_folder(tree: PluginTree, name: str) -> None:
    path = tree.write(f"one/{name}", FORMS[name])
    assert load_manifest(path) == load_manifest(str(path.parent))
    assert load_manifest(path).name == "one"


def test_a_folder_is_loaded_by_its_manifest_in_force(tree: PluginTree) -> None:
    tree.write("one/package.json", FORMS["package.json"].replace('"one"', '"other"'))
    tree.write("one/dagstack.json", FORMS["dagstack.json"])
    assert load_manifest(tree.root / "one").name == "one"


def test_what_cannot_be_loaded_is_reported_with_its_path(tree: PluginTree) -> None:
    missing = tree.root / "dagstack.toml"
    with pytest.raises(ManifestInvalid) as caught:
        load_manifest(missing)
    assert str(caught.value) == f"{missing}: cannot be read: No such file or directory"
    with pytest.raises(ManifestInvalid) as caught:
        load_manifest(tree.root)
    assert str(caught.value) == f"{tree.root}: holds no manifest; add a dagstack.toml"
    plain = tree.write("pyproject.toml", "[project]\n")
    with pytest.raises(ManifestInvalid, match=r"add a table \[tool\.dagstack\.plugin\]"):
        load_manifest(plain)


def test_a_manifest_below_the_home_folder_is_found(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write("one/dagstack.json", JSON)
    monkeypatch.setenv("HOME", str(tree.root))
    assert load_manifest(Path("~/one")).name == "one"
