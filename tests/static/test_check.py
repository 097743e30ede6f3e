"""What can be known of plugins without running them."""

from __future__ import annotations

import json

import pytest
from asking import Asking
from trees import PluginTree

from dagstack_dev.static.check import check
from dagstack_dev.static.project import read_project


def found(tree: PluginTree) -> list[tuple[str, str, int | None]]:
    """The codes of all findings, each with its file and line."""
    project = read_project([str(tree.root)])
    return [
        (each.rule.code, each.path.removeprefix(f"{tree.root}/"), each.line)
        for each in check(project)
    ]


def test_nothing_is_found_in_plugins_that_work(tree: PluginTree) -> None:
    tree.plugin("lower")
    tree.plugin("upper", depends_on=["lower"])
    assert found(tree) == []


def test_what_depends_on_code_that_does_not_load_is_no_finding(tree: PluginTree) -> None:
    tree.plugin("broken", code="class Plugin:\n    def (")
    tree.plugin("upper", depends_on=["broken"])
    assert found(tree) == [("D301", "broken/plugin.py", 2)]


def test_a_missing_dependency_is_found_in_its_line(tree: PluginTree) -> None:
    tree.plugin("upper", depends_on=["lwer"])
    tree.plugin("lower")
    assert found(tree) == [("D201", "upper/dagstack.toml", 7)]


def test_every_circle_is_found(tree: PluginTree) -> None:
    for one, other in ("ab", "ba", "cd", "dc"):
        tree.plugin(one, depends_on=[other])
    assert [code for code, _, _ in found(tree)] == ["D203", "D203"]


def test_each_problem_of_a_manifest_is_a_finding(tree: PluginTree) -> None:
    tree.plugin("odd", manifest='priority = "high"\nfallback = 3\n')
    assert [code for code, _, _ in found(tree)] == ["D101", "D101"]


def test_two_folders_of_one_name_are_found(tree: PluginTree) -> None:
    tree.plugin("same", folder="a")
    tree.plugin("same", folder="b")
    assert [code for code, _, _ in found(tree)] == ["D106"]


def test_the_command_prints_file_line_and_code(tree: PluginTree) -> None:
    tree.plugin("upper", depends_on=["lower"])
    done = Asking(tree.root.parent).run("check", "plugins")
    assert done.returncode == 1
    first, last = done.stdout.splitlines()
    assert first.startswith("plugins/upper/dagstack.toml:7: D201 demo/upper depends on 'lower'")
    assert last == "1 plugin checked, 1 error"


MANIFEST = {
    "name": "odd",
    "kind": "demo",
    "core_version": ">=0.1,<1",
    "runtime": "in_process",
    "entry_point": "plugin:Plugin",
    "depends_on": ["nowhere"],
    "priority": "high",
}
AS_TOML = "".join(f"{key} = {json.dumps(value)}\n" for key, value in MANIFEST.items())
AS_JSON = json.dumps(MANIFEST, indent=2)
MCP = """\
name = "far"
kind = "demo"
core_version = ">=0.1,<1"
runtime = "mcp_stdio"
"""


@pytest.mark.parametrize(
    ("name", "text", "needs", "priority"),
    [
        ("dagstack.toml", f"[plugin]\n{AS_TOML}", 7, 8),
        ("dagstack_plugin.toml", AS_TOML, 6, 7),
        ("dagstack.json", AS_JSON, 8, 10),
        ("pyproject.toml", f"[project]\n[tool.dagstack.plugin]\n{AS_TOML}", 8, 9),
        ("package.json", f'{{"dagstack":\n{AS_JSON}}}', 9, 11),
    ],
)
def test_manifests_of_every_form_are_read(
    tree: PluginTree, name: str, text: str, needs: int, priority: int
) -> None:
    tree.write("odd/plugin.py", "class Plugin: ...\n")
    tree.write(f"odd/{name}", text)
    assert found(tree) == [("D101", f"odd/{name}", priority)]
    tree.write(f"odd/{name}", text.replace('"high"', "1"))
    assert found(tree) == [("D201", f"odd/{name}", needs)]


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("dagstack.toml", "[plugin]\nname = nothing\n", (2, 8)),
        ("dagstack.toml", "[plugin]\nneeds = [\n", (2, None)),
        ("dagstack.json", '{\n  "name" "x"\n}', (2, 10)),
    ],
)
def test_where_a_file_is_not_what_it_should_be_is_a_line_and_a_column(
    tree: PluginTree, name: str, text: str, place: tuple[int, int | None]
) -> None:
    tree.write(f"odd/{name}", text)
    (finding,) = check(read_project([str(tree.root)]))
    assert (finding.line, finding.column) == place


def test_a_folder_below_two_paths_is_one_plugin(tree: PluginTree) -> None:
    tree.plugin("inner", folder="group/inner")
    project = read_project([str(tree.root), str(tree.root / "group")])
    assert (len(project.sources), check(project)) == (1, [])


def test_a_section_of_a_plugin_that_is_broken_is_none_that_is_unused(tree: PluginTree) -> None:
    tree.plugin("odd", manifest='priority = "high"\n')
    tree.plugin("fine")
    file = tree.root.parent / "config.toml"
    file.write_text("[demo.odd]\n[demo.other]\n[logging.handlers]\n")
    project = read_project([str(tree.root)], config_file=str(file))
    unused = [each for each in check(project) if each.rule.code == "D402"]
    assert [(each.message, each.line) for each in unused] == [
        ("[demo.other] belongs to no plugin", 2)
    ]


def test_a_misspelt_program_is_found_as_a_server_that_is_missing(tree: PluginTree) -> None:
    tree.write("far/dagstack.toml", f"[plugin]\n{MCP}command = ['nodde', 'server.mjs']\n")
    assert found(tree) == [("D601", "far/dagstack.toml", 6)]


def test_what_depends_on_a_manifest_that_cannot_be_read_is_no_finding(tree: PluginTree) -> None:
    tree.plugin("odd", manifest='priority = "high"\n')
    tree.write("far/dagstack.toml", f"[plugin]\n{MCP}command = ['./nowhere']\n")
    tree.plugin("upper", depends_on=["odd", '{ kind = "demo", name = "odd" }', "far"])
    assert [code for code, _, _ in found(tree)] == ["D601", "D101"]
