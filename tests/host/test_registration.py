"""Registration: each error in its situation with its facts; all or nothing."""

from __future__ import annotations

import sys
from textwrap import dedent

import pytest
from serving import edit
from trees import PluginTree

from dagstack_dev import (
    AmbiguousPlugin,
    ManifestInvalid,
    PluginLoadError,
    PluginRef,
    PluginRegistry,
    PluginRegistryError,
    RuntimeNotSupported,
    State,
    VersionIncompatible,
    discover,
    topo_sort,
)

BASE = 'kind = "demo"\ncore_version = ">=0.1"\n'


def manifest(tree: PluginTree, text: str, name: str = "one") -> str:
    path = tree.plugin(name) / "dagstack.toml"
    return str(tree.write(path, text))


def modules_of(tree: PluginTree) -> list[str]:
    prefix = str(tree.root)
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.copy().items()}
    return [name for name, file in files.items() if file and file.startswith(prefix)]


def test_discover_in_one_call_returns_a_registry_with_every_plugin(tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("two", folder="deep/down/two")
    found = discover(tree.root)
    assert [each.name for each in found.list_manifests()] == ["two", "one"]
    assert {status.state for status in found.statuses().values()} == {State.LOADED}


def test_a_missing_field_is_manifest_invalid_with_file_field_and_ref(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    path = manifest(tree, '[plugin]\nname = "one"\n' + BASE)
    with pytest.raises(ManifestInvalid) as caught:
        registry.discover(tree.root)
    error = caught.value
    assert (error.path, error.ref) == (path, PluginRef("demo", "one"))
    assert [problem.field for problem in error.problems] == ["runtime"]
    assert path in str(error)


def test_a_wrong_type_is_manifest_invalid_with_its_line(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    path = manifest(
        tree,
        '[plugin]\nname = "one"\n' + BASE + 'runtime = "in_process"\nentry_point = "plugin:Plugin"'
        '\npriority = "5"\n',
    )
    with pytest.raises(ManifestInvalid) as caught:
        registry.discover(tree.root)
    assert (caught.value.path, caught.value.line) == (path, 7)
    assert caught.value.problems[0].field == "priority"


def test_an_unknown_key_is_manifest_invalid_with_the_close_match(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    tree.plugin("one", manifest='dependson = ["two"]\n')
    with pytest.raises(ManifestInvalid, match="did you mean 'depends_on'"):
        registry.discover(tree.root)


def test_two_folders_with_one_kind_and_name_are_ambiguous(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    first = tree.plugin("same", folder="first")
    second = tree.plugin("same", folder="second")
    with pytest.raises(AmbiguousPlugin) as caught:
        registry.discover(tree.root)
    assert caught.value.ref == PluginRef("demo", "same")
    assert caught.value.paths == (str(first), str(second))
    assert registry.list_manifests() == []


def test_one_name_in_two_kinds_is_fine(tree: PluginTree, registry: PluginRegistry) -> None:
    tree.plugin("same", kind="a", folder="first", value="a")
    tree.plugin("same", kind="b", folder="second", value="b")
    registry.discover(tree.root)
    assert [registry.get_plugin(kind, "same").value() for kind in "ab"] == ["a", "b"]


def test_a_duplicate_in_a_second_discover_call_registers_nothing_more(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    tree.plugin("same", folder="left/same")
    tree.plugin("new", folder="right/new")
    tree.plugin("same", folder="right/same")
    registry.discover(tree.root / "left")
    proxy = registry.get_plugin("demo", "same")
    with pytest.raises(AmbiguousPlugin) as caught:
        registry.discover(tree.root / "right")
    assert caught.value.paths == (str(tree.root / "left/same"), str(tree.root / "right/same"))
    assert [each.name for each in registry.list_manifests()] == ["same"]
    assert registry.get_plugin("demo", "same") is proxy
    assert proxy.value() == 1


def test_a_core_version_that_excludes_this_core_is_version_incompatible(tree: PluginTree) -> None:
    folder = tree.plugin("one")
    with pytest.raises(VersionIncompatible) as caught:
        discover(tree.root, core_version="2.0.0")
    error = caught.value
    assert error.ref == PluginRef("demo", "one")
    assert (error.required, error.core_version) == (">=0.1.0,<1.0.0", "2.0.0")
    assert error.path == str(folder / "dagstack.toml")


@pytest.mark.parametrize("declared", ['"in_process"', '["elsewhere", "in_process"]'])
def test_the_first_runtime_that_is_served_is_taken(
    tree: PluginTree, registry: PluginRegistry, declared: str
) -> None:
    path = tree.plugin("one") / "dagstack.toml"
    path.write_text(path.read_text().replace('"in_process"', declared))
    registry.discover(tree.root)
    assert registry.get_plugin("demo", "one").value() == 1


@pytest.mark.parametrize("declared", ['"in-process"', '["elsewhere", "in-process"]'])
def test_no_served_runtime_is_runtime_not_supported_with_the_close_match(
    tree: PluginTree, registry: PluginRegistry, declared: str
) -> None:
    path = tree.plugin("one") / "dagstack.toml"
    path.write_text(path.read_text().replace('"in_process"', declared))
    with pytest.raises(RuntimeNotSupported, match="did you mean 'in_process'") as caught:
        registry.discover(tree.root)
    assert caught.value.ref == PluginRef("demo", "one")
    assert "in-process" in caught.value.declared
    assert caught.value.available[0] == "in_process"
    assert caught.value.path == str(path)


def test_the_first_error_is_raised_and_the_others_are_attached(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    manifest(tree, "[plugin\n", "a_broken")
    tree.plugin("b_fine")
    tree.plugin("c_old", manifest="").joinpath("dagstack.toml").write_text(
        '[plugin]\nname = "c_old"\nkind = "demo"\ncore_version = "<0.0.1"\n'
        'runtime = "in_process"\nentry_point = "plugin:Plugin"\n'
    )
    tree.plugin("d_typo", code="class Plugin\n")
    with pytest.raises(ManifestInvalid) as caught:
        registry.discover(tree.root)
    assert caught.value.path == str(tree.root / "a_broken/dagstack.toml")
    assert [type(error) for error in caught.value.others] == [VersionIncompatible, PluginLoadError]
    assert len(caught.value.__notes__) == 2
    assert registry.list_manifests() == []


@pytest.mark.parametrize(
    ("code", "stage", "cause"),
    [
        ("raise LookupError('no')\nclass Plugin: ...\n", "import", LookupError),
        ("raise SystemExit(3)\nclass Plugin: ...\n", "import", SystemExit),
        ("raise BaseException('odd')\nclass Plugin: ...\n", "import", BaseException),
        (
            "class Plugin:\n    def __init__(self):\n        raise LookupError\n",
            "construct",
            LookupError,
        ),
        ("class Plugin:\n    def __init__(self):\n        exit(3)\n", "construct", SystemExit),
    ],
)
def test_an_import_that_fails_registers_nothing_and_leaves_no_module(
    tree: PluginTree, registry: PluginRegistry, code: str, stage: str, cause: type[BaseException]
) -> None:
    tree.plugin("a_fine", code="from . import helper\nclass Plugin: ...\n")
    tree.write("a_fine/helper.py", "")
    folder = tree.plugin("b_broken", code=code)
    with pytest.raises(PluginLoadError) as caught:
        registry.discover(tree.root)
    error = caught.value
    assert (error.stage, error.ref) == (stage, PluginRef("demo", "b_broken"))
    assert type(error.__cause__) is cause
    assert error.path == str(folder / "plugin.py")
    assert error.line == (1 if stage == "import" else 3)
    assert registry.list_manifests() == []
    assert registry.statuses() == {}
    assert modules_of(tree) == []


def test_an_interrupted_discover_registers_nothing(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    tree.plugin("a_fine")
    tree.plugin("b_stop", code="raise KeyboardInterrupt\nclass Plugin: ...\n")
    with pytest.raises(KeyboardInterrupt):
        registry.discover(tree.root)
    assert registry.list_manifests() == []
    assert modules_of(tree) == []


def test_what_failed_once_registers_after_it_was_mended(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    tree.plugin("a_fine")
    tree.plugin("b_broken", code="raise LookupError\nclass Plugin: ...\n")
    with pytest.raises(PluginLoadError):
        registry.discover(tree.root)
    tree.plugin("b_broken", value="mended")
    registry.discover(tree.root)
    assert registry.get_plugin("demo", "b_broken").value() == "mended"


def test_a_missing_folder_is_named(tree: PluginTree, registry: PluginRegistry) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        registry.discover(tree.root / "nowhere")


def test_every_registry_error_has_the_common_base() -> None:
    classes = [
        ManifestInvalid,
        AmbiguousPlugin,
        VersionIncompatible,
        RuntimeNotSupported,
        PluginLoadError,
    ]
    assert all(issubclass(each, PluginRegistryError) for each in classes)


def test_topo_sort_orders_manifests_as_setup_all_starts_them(tree: PluginTree) -> None:
    tree.plugin("a", depends_on=["c"])
    tree.plugin("b", manifest="priority = 1\n")
    tree.plugin("c")
    manifests = discover(tree.root).list_manifests()
    assert [each.name for each in topo_sort(manifests)] == ["b", "c", "a"]


def test_a_syntax_error_carries_its_file_and_line(
    tree: PluginTree, registry: PluginRegistry
) -> None:
    folder = tree.plugin("typo", code=dedent("class Plugin:\n    def f(self:\n        ...\n"))
    with pytest.raises(PluginLoadError) as caught:
        registry.discover(tree.root)
    assert (caught.value.stage, caught.value.line) == ("compile", 2)
    assert caught.value.path == str(folder / "plugin.py")


def test_a_plugin_for_this_process_only_runs_here_whatever_else_it_names(tree: PluginTree) -> None:
    more = 'command = ["serve"]\nin_process_only = true\n'
    path = tree.plugin("one", manifest=more) / "dagstack.toml"
    edit(path, '"in_process"', '["mcp_stdio", "in_process"]')
    assert discover(tree.root).get_plugin("demo", "one").value() == 1
