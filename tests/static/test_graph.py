"""Pictures of plugins that do not run, and what a save would do, compared with the real thing."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
from asking import Asking
from hypothesis import given
from hypothesis import strategies as st
from serving import edit, serving
from trees import PluginTree

from dagstack_dev.core.events import ReloadCommitted, Transition
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Load
from dagstack_dev.static import drawing
from dagstack_dev.static.drawing import Node
from dagstack_dev.static.plans import Start, save
from dagstack_dev.static.project import read_project
from dagstack_dev.static.tree import tree

USER = """
import helpers.text

class Plugin:
    def setup(self, ctx): ...
"""


@pytest.fixture
def family(tree: PluginTree) -> PluginTree:
    """Two that import a helper, one between them that does not, and one beside them."""
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/text.py", "WORD = 1\n")
    tree.plugin("base", code=USER)
    tree.write("base/tests/test_base.py", "")
    tree.plugin("middle", depends_on=["base"])
    tree.plugin("top", depends_on=["middle", "base"], code=USER)
    tree.plugin("beside")
    return tree


def start(tree: PluginTree) -> Start:
    return Start(read_project([str(tree.root)]))


@pytest.fixture
def ask(family: PluginTree) -> Asking:
    return Asking(family.root.parent)


@pytest.mark.parametrize(
    "file",
    [
        "base/plugin.py",
        "middle/plugin.py",
        "middle/dagstack.toml",
        "helpers/text.py",
        "base/tests/test_base.py",
    ],
)
async def test_a_save_does_what_was_said_before(family: PluginTree, file: str) -> None:
    plan = save(start(family), str(family.root / file))
    assert not isinstance(plan, str)
    (part,) = plan.transactions
    async with serving(family) as live:
        assert live.reached(State.READY) == [each.name for each in start(family).order]
        await live.settle()
        with (family.root / file).open("a", encoding="utf-8") as text:
            text.write("# saved\n")
        committed = await live.fact(ReloadCommitted)
        assert {each.ref for each in part.tear_down} == {*committed.affected}
        assert live.reached(State.TEARING_DOWN) == [each.ref.name for each in part.tear_down]
        assert live.reached(State.SETTING_UP) == [each.ref.name for each in part.set_up]
        generations = {each.ref for each in live.of(Transition) if each.generation > 1}
        assert generations == {each.ref for each in part.set_up if each.load is Load.IMPORT}
        assert {each.ref: each.reason for each in part.tear_down} == {
            each.ref: each.reason
            for each in live.of(Transition)
            if each.to_state is State.TEARING_DOWN
        }


async def test_a_save_that_mends_a_plugin_sets_up_what_waits(family: PluginTree) -> None:
    edit(family.root / "base/plugin.py", "class Plugin:", "class Plugin")
    plan = save(start(family), str(family.root / "base/plugin.py"))
    assert not isinstance(plan, str)
    (part,) = plan.transactions
    assert [each.ref.name for each in part.set_up] == ["base", "middle", "top"]
    assert part.tear_down == ()


def test_a_save_of_what_no_plugin_uses_does_nothing(family: PluginTree) -> None:
    assert save(start(family), str(family.root / "notes.py")) == "no plugin imports it"


def test_a_save_in_a_folder_without_a_manifest_that_can_be_read(family: PluginTree) -> None:
    file = family.write("odd/dagstack.toml", "[plugin\n")
    reason = "it belongs to a plugin whose manifest cannot be read"
    assert save(start(family), str(file)) == reason


def test_two_folders_of_one_name_are_one_node_that_cannot_be_set_up(family: PluginTree) -> None:
    family.plugin("base", folder="other")
    nodes = {each.name: each for each in start(family).nodes}
    assert len(nodes) == len(start(family).nodes)
    assert "declared twice" in nodes["demo/base"].error
    assert nodes["demo/middle"].waits_for == ("demo/base",)


def test_what_cannot_be_read_harms_no_plugin_of_that_name(family: PluginTree) -> None:
    family.plugin("base", folder="other", manifest="priority = -1\n")
    nodes = {each.path: each for each in start(family).nodes}
    assert nodes[str(family.root / "other")].error
    assert not nodes[str(family.root / "base")].error


def test_the_command_prints_the_steps(ask: Asking) -> None:
    done = ask.run("graph", "plugins", "--reload", "plugins/base/plugin.py")
    assert done.stdout.splitlines() == [
        "plugins/base/plugin.py: a save reloads 3 of 4 plugins",
        "  tear down  demo/top     depends on demo/middle",
        "  tear down  demo/middle  depends on demo/base",
        "  tear down  demo/base    plugin.py changed",
        "  import     demo/base    plugin.py changed",
        "  set up     demo/base",
        "  set up     demo/middle",
        "  set up     demo/top",
    ]
    assert done.returncode == 0


def test_the_command_says_why_a_save_does_nothing(ask: Asking) -> None:
    done = ask.run("graph", "plugins", "--reload", "plugins/base/run.log")
    assert done.stdout == "plugins/base/run.log: a save reloads nothing: it is ignored\n"


def test_the_tree_marks_what_cannot_run_and_what_waits(ask: Asking, family: PluginTree) -> None:
    edit(family.root / "middle/plugin.py", "class Plugin:", "class Plugin")
    family.write("odd/dagstack.toml", "[plugin\n")
    family.plugin("lost", depends_on=["bse"])
    done = ask.run("graph", "plugins")
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        "6 plugins, 2 cannot be set up, 2 waiting",
        "demo/base",
        "└── demo/middle  compile failed: SyntaxError: expected ':' (plugins/middle/plugin.py:2)",
        "    └── demo/top  + demo/base  waits for demo/middle",
        "demo/beside",
    ]
    assert lines[5] == "demo/lost  waits for bse, which does not exist"
    assert lines[6].startswith("plugins/odd  plugins/odd/dagstack.toml:1: ")
    assert done.returncode == 0


def test_what_waits_for_a_plugin_that_is_there_is_not_said_to_miss_it(
    ask: Asking, family: PluginTree
) -> None:
    family.plugin("base", manifest="priority = -1\n")
    lines = ask.run("graph", "plugins").stdout.splitlines()
    assert "demo/middle  waits for base" in lines
    assert any(each.startswith("plugins/base  plugins/base/dagstack.toml:8: ") for each in lines)


def test_around_one_plugin_is_all_that_it_needs_and_all_that_needs_it(ask: Asking) -> None:
    done = ask.run("graph", "plugins", "--around", "middle", "--format", "json")
    assert {each["plugin"]: each["depends_on"] for each in json.loads(done.stdout)["plugins"]} == {
        "demo/base": [],
        "demo/middle": ["demo/base"],
        "demo/top": ["demo/middle", "demo/base"],
    }
    done = ask.run("graph", "plugins", "--around", "midle")
    assert done.stderr == "dagstack-dev: there is no plugin 'midle'; did you mean 'middle'?\n"
    assert done.returncode == 2


def test_the_command_prints_json_with_the_steps(ask: Asking) -> None:
    file = "plugins/middle/plugin.py"
    done = ask.run("graph", "plugins", "--reload", file, "--format", "json")
    steps = [(each["step"], each["plugin"]) for each in json.loads(done.stdout)["reload"]["steps"]]
    assert steps == [
        ("tear down", "demo/top"),
        ("tear down", "demo/middle"),
        ("import", "demo/middle"),
        ("set up", "demo/middle"),
        ("set up", "demo/top"),
    ]


def test_no_code_runs(ask: Asking, family: PluginTree) -> None:
    family.plugin("loud", code="open('ran', 'w')\nclass Plugin: ...\n")
    for form in ("tree", "mermaid", "dot", "json", "svg"):
        done = ask.run("graph", "plugins", "--format", form, "--reload", "plugins/loud/plugin.py")
        assert "demo/loud" in done.stdout
    assert not [*family.root.rglob("ran"), *family.root.parent.glob("ran")]


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("mermaid", ["flowchart RL", '    p0["demo/a"]', '    p1["demo/b"]:::import',
                     "    p1 --> p0", "    classDef import "]),
        ("dot", ["digraph plugins {", '    "demo/a" [', '    "demo/b" [',
                 '    "demo/b" -> "demo/a";', "}"]),
    ],
)  # fmt: skip
def test_programs_that_draw_get_each_plugin_and_each_dependency(
    form: str, lines: list[str]
) -> None:
    nodes = [Node("demo/a", ""), Node("demo/b", "", depends_on=("demo/a",), load="import")]
    drawn = getattr(drawing, form)(nodes).splitlines()
    for line in lines:
        assert any(each.startswith(line) for each in drawn), line


def test_what_a_folder_is_called_breaks_no_picture() -> None:
    name = 'a"b\\c<&>]'
    (box,) = ET.fromstring(drawing.svg([Node(name, name, error=name)])).iterfind(".//{*}text")
    assert box.text == name
    assert '"a\\"b\\\\c<&>]"' in drawing.dot([Node(name, name)])
    assert '["a&quot;b\\c&lt;&amp;&gt;]"]' in drawing.mermaid([Node(name, name)])


graphs = st.lists(st.sets(st.integers(0, 11), max_size=4), max_size=12).map(
    lambda wants: [
        Node(f"n{at}", "", depends_on=tuple(f"n{each}" for each in sorted(needs)))
        for at, needs in enumerate(wants)
    ]
)


@given(graphs)
def test_a_tree_has_each_plugin_once_below_one_that_it_depends_on(nodes: list[Node]) -> None:
    by_name = {each.name: each for each in nodes}
    branches = [*tree(by_name, lambda name: by_name[name].depends_on)]
    assert sorted(each.key for each in branches) == sorted(by_name)
    depth: dict[str | None, int] = {None: -4}
    for each in branches:
        wanted = {*by_name[each.key].depends_on} & by_name.keys() - {each.key}
        assert {each.parent, *each.others} - {None} == wanted
        depth[each.key] = len(each.prefix)
        assert depth[each.key] == depth[each.parent] + 4  # Its parent has been drawn.


@given(graphs)
def test_a_picture_has_a_box_for_each_plugin_and_an_arrow_for_each_dependency(
    nodes: list[Node],
) -> None:
    root = ET.fromstring(drawing.svg(nodes))
    names = [each.name for each in nodes]
    assert [each.text for each in root.iterfind("{*}g/{*}text")] == names
    boxes = [
        [float(each.attrib[key]) for key in ("x", "y", "width", "height")]
        for each in root.iterfind("{*}g/{*}rect")
    ]
    middle = {
        name: (x, x + width, y + height / 2)
        for name, (x, y, width, height) in zip(names, boxes, strict=True)
    }
    arrows = [
        (middle[each.name][0], middle[each.name][2], middle[other][1], middle[other][2])
        for each in nodes
        for other in each.depends_on
        if other in middle
    ]
    drawn = [
        [float(number) for number in re.findall(r"[\d.-]+", each.attrib["d"])]
        for each in root.iterfind("{*}g/{*}path")
    ]
    assert [(*each[:2], *each[-2:]) for each in drawn] == arrows


def test_a_section_that_does_not_fit_keeps_a_plugin_from_being_set_up(
    family: PluginTree, ask: Asking
) -> None:
    schema = {"type": "object", "properties": {"size": {"type": "integer"}}}
    family.write("base/schema.json", json.dumps(schema))
    edit(family.root / "base/dagstack.toml", "[plugin]", '[plugin]\nconfig_schema = "schema.json"')
    config = ask.folder / "app.toml"
    config.write_text('[demo.base]\nsize = "large"\n')
    done = ask.run("graph", "plugins", "--config", "app.toml")
    assert done.stdout.startswith("4 plugins, 1 cannot be set up, 2 waiting\n")
    assert "app.toml: the configuration of demo/base: line 2: demo.base.size: " in done.stdout
    config.write_text("[demo\n")
    done = ask.run("graph", "plugins", "--config", "app.toml")
    assert done.stdout.startswith("4 plugins\n")
    assert done.stderr.startswith("dagstack-dev: app.toml:1: is not valid TOML: ")
