"""The contract suite over folders: odd plugins are findings of their own, and of no other."""

from __future__ import annotations

from typing import Any

import pytest
from trees import PluginTree

from dagstack_dev import AmbiguousPlugin, PluginRef
from dagstack_dev.testing import own_tests
from dagstack_dev.testing.folders import PluginReport, check_folders

HOOK = "class Plugin:\n    async def hook(self): {statement}\n"
SETUP = "class Plugin:\n    def setup(self, ctx): {statement}\n"
STRAY = "raise __import__('asyncio').CancelledError"


async def reports(tree: PluginTree, **options: Any) -> dict[str, PluginReport]:
    """By the names of the folders."""
    found = [each async for each in check_folders([tree.root], **options)]
    return {each.folder.rpartition("/")[2]: each for each in found}


def failed(report: PluginReport) -> dict[str, str]:
    return {each.check_name: each.message for each in report.results if not each.passed}


async def test_two_folders_with_one_name_fail_the_second(tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("one", folder="two")
    tree.plugin("user", depends_on=["one"])
    found = await reports(tree)
    assert {name: each.passed for name, each in found.items()} == {
        "one": True,
        "two": False,
        "user": True,
    }
    assert found["two"].ref == PluginRef("demo", "one")
    [result] = found["two"].results
    assert isinstance(result.error, AmbiguousPlugin)
    assert f"in {tree.root}/one and {tree.root}/two" in result.message


@pytest.mark.parametrize("statement", ["raise SystemExit(0)", STRAY])
@pytest.mark.parametrize("code", [HOOK, SETUP], ids=["hook", "setup"])
async def test_a_plugin_cannot_end_the_run(tree: PluginTree, code: str, statement: str) -> None:
    folder = tree.plugin("odd", code=code.format(statement=statement))
    tree.write(folder / "tests/contract.toml", "[hook]\n")
    tree.plugin("zebra")
    found = await reports(tree)
    assert found["zebra"].passed
    checks = {"serialization", "determinism"} | ({"lifecycle"} if code is SETUP else set())
    assert failed(found["odd"]).keys() == checks
    words = "SystemExit: 0" if "SystemExit" in statement else "cancel"
    assert words.lower() in failed(found["odd"])["serialization"].lower()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[greet]\nargument = {}\n", ":2: greet.argument: unknown key; did you mean 'arguments'?"),
        ("\n[greet]\narguments = 1\n", ":3: greet.arguments: must be a table, by name"),
        ("greet = 1\n", ":1: greet: write [greet] with a table `arguments` in it"),
        ("[greet]\n[greet]\n", ":2: is not valid TOML"),
    ],
)
async def test_samples_that_cannot_be_used_are_reported_with_their_line(
    tree: PluginTree, text: str, says: str
) -> None:
    tree.write(tree.plugin("greeter") / "tests/contract.toml", text)
    found = await reports(tree, checks=["determinism"])
    assert f"/tests/contract.toml{says}" in failed(found["greeter"])["samples"]


async def test_a_teardown_that_fails_is_a_finding_of_its_own_plugin_alone(tree: PluginTree) -> None:
    tree.plugin("base", code="class Plugin:\n    def teardown(self): 1 / 0\n")
    tree.plugin("user", depends_on=["base"])
    found = await reports(tree)
    assert "ZeroDivisionError" in failed(found["base"])["lifecycle"]
    assert found["user"].passed


async def test_a_setup_that_fails_is_named_to_those_that_depend_on_it(tree: PluginTree) -> None:
    tree.plugin("base", code=SETUP.format(statement="raise LookupError('no luck')"))
    tree.plugin("user", depends_on=["base"])
    assert failed((await reports(tree))["user"]) == {
        "load": "a plugin that it depends on cannot be set up: LookupError: no luck"
    }


async def test_a_plugin_with_a_process_of_its_own_is_checked_too(tree: PluginTree) -> None:
    code = "class Plugin:\n    def hook(self): return 1\n"
    folder = tree.plugin("far", code=code, manifest='execution_model = "process_cpu_bound"\n')
    tree.write(folder / "tests/contract.toml", "[hook]\nexpected = 1\n")
    report = (await reports(tree))["far"]
    assert report.passed, report.results


async def test_a_module_with_a_byte_order_mark_is_looked_at(tree: PluginTree) -> None:
    folder = tree.plugin("marked")
    (folder / "part.py").write_bytes(b"\xef\xbb\xbfcache = {}\n")
    assert "part.py:1: cache" in failed((await reports(tree))["marked"])["ambient_state"]


async def test_own_tests_are_what_pytest_takes_for_tests(
    tree: PluginTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_run(*_: object, **__: object) -> tuple[int, str]:
        return 1, "they are not run"

    monkeypatch.setattr(own_tests, "_run", not_run)
    tests = ("test_it.py", "it_test.py", "deep/test_it.py")
    for number, name in enumerate((*tests, "helpers.py", "test_data.txt")):
        folder = tree.plugin(f"p{number}")
        tree.write(folder / "tests" / name, "def test_no(): assert 1 == 2\n")
    found = await reports(tree)
    assert [name for name, each in found.items() if each.tests] == ["p0", "p1", "p2"]
