"""The examples and tables of docs/manifest.md say what is so."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest
from installing import installation
from trees import PluginTree

from dagstack_dev import PluginManifest, PluginRegistry, load_manifest
from dagstack_dev.core.manifest.problems import REFUSED
from dagstack_dev.core.manifest_forms import FORMS
from dagstack_dev.disk.discovery import find_plugins
from dagstack_dev.disk.ignore import IgnoreRules

PAGE = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text(encoding="utf-8")
BLOCKS = {
    path: dedent(text)
    for path, text in re.findall(r"```\w+\n *(?:#|//) ([\w/.]+)\n(.*?) *```", PAGE, re.DOTALL)
}
FORM_BLOCKS = [path for path in BLOCKS if path.startswith("plugins/")]
FIELDS = PAGE.partition("## Fields")[2].partition("## In an editor")[0]


def test_there_is_an_example_of_every_form() -> None:
    assert [Path(path).name for path in FORM_BLOCKS] == [form.file_name for form in FORMS]


@pytest.mark.parametrize("path", FORM_BLOCKS)
def test_every_form_is_a_manifest(tree: PluginTree, path: str) -> None:
    file = tree.write(path.removeprefix("plugins/"), BLOCKS[path])
    manifest = load_manifest(file)
    assert (manifest.ref, manifest.entry_point) == (("tool", "greeter"), "plugin:Greeter")
    assert list(find_plugins(str(tree.root), IgnoreRules())) == [str(file.parent)]


def test_the_first_example_says_more(tree: PluginTree) -> None:
    manifest = load_manifest(tree.write("dagstack.toml", BLOCKS[FORM_BLOCKS[0]]))
    assert manifest.metadata == {"team": "platform"}
    assert manifest.depends_on == ("clock", ("llm", "openai"))


def test_the_table_of_fields_has_every_field_and_no_other() -> None:
    rows = [line.split("|")[1:3] for line in FIELDS.splitlines() if line.startswith("| `")]
    named = [name for names, _ in rows for name in re.findall(r"`(\w+)`", names)]
    assert sorted(named) == sorted(PluginManifest.model_fields)
    required = {name for names, kind in rows for name in re.findall(r"`(\w+)`", names)
                if "required" in kind}  # fmt: skip
    assert required == {
        name for name, field in PluginManifest.model_fields.items() if field.is_required()
    }


def test_the_page_names_every_field_that_is_refused() -> None:
    sentence = FIELDS.partition("Fields that would have no effect")[2]
    assert set(re.findall(r"`(\w+)`", sentence)) == set(REFUSED)


def test_the_example_for_editors_names_the_schema_where_it_was_written(tmp_path: Path) -> None:
    section = PAGE.partition("## In an editor")[2].partition("## Other forms")[0]
    (written,) = re.findall(r"dagstack-dev schema > (\S+)", section)
    (named,) = re.findall(r"^#:schema (\S+)", section, re.MULTILINE)
    manifest = tmp_path / "plugins/greeter/dagstack.toml"
    assert (manifest.parent / named).resolve() == tmp_path / written


def test_the_installed_example_is_found_with_and_without_its_entry_point(tmp_path: Path) -> None:
    code = BLOCKS["greeters/plugin.py"]
    (target,) = re.findall(r'greeter = "(.*)"', BLOCKS["pyproject.toml"])
    line = '    "entry_point": "greeters.plugin:Greeter",\n'
    assert line in code
    for number, text in enumerate((code, code.replace(line, ""))):
        with installation(tmp_path / str(number)) as made:
            files = {"greeters/__init__.py": "", "greeters/plugin.py": text}
            made.package("greeters", files, entry_points={"greeter": target})
            registry = PluginRegistry()
            registry.load_entry_points()
            assert registry.get_plugin("tool", "greeter").greet("you") == "Hello, you!"
            if text == code:
                registry = PluginRegistry()
                registry.register_module(import_module("greeters.plugin"))
                assert registry.get_plugin("tool", "greeter").greet("you") == "Hello, you!"
