"""What the soak says of pictures: labels that contradict each other, or what a restart tells."""

from __future__ import annotations

from typing import Any

import pytest
from soaking.modules import Flaw, Module, Way
from soaking.soundness import unsound
from soaking.sources import Fault, Source
from soaking.verdicts import Known, differs
from soaking.workspace import Tree

FAILURE: dict[str, Any] = {"error": "on purpose", "kind": ["ValueError"]}
FAILED: dict[str, Any] = FAILURE | {"state": "failed", "stage": "setup"}
BLOCKED: dict[str, Any] = {"state": "blocked", "blocked_by": ["demo/b"]}
PENDING: dict[str, Any] = FAILURE | {"pending": True}

A, B = Source("demo", "a", 2, wants=("b",)), Source("demo", "b", 2)


def plugin(name: str, version: int = 2, /, **labels: Any) -> dict[str, dict[str, Any]]:
    """How a plugin is seen, by its ref; ready, in the folder of its name, unless told otherwise."""
    seen: dict[str, Any] = {
        "state": "ready",
        "pending": False,
        "stage": None,
        "blocked_by": [],
        "folder": name,
        "error": None,
        "kind": [],
        "crashed": False,
    }
    if labels.get("state", "ready") == "ready":
        seen |= {
            "versions": {"plugin": f"{version:06}"},
            "shared": {},
            "serial": 1,
            "wired": {},
            "borrowed": {},
            "worker": None,
            "depends_on": [],
            "priority": 0,
            "setup": ["1", 1, True],
            "ended": 1,
        }
    return {f"demo/{name}": seen | labels}


def picture(*plugins: dict[str, dict[str, Any]]) -> dict[str, Any]:
    seen = {ref: each for one in plugins for ref, each in one.items()}
    return {"plugins": seen, "modules": {}, "packages": [], "workers": [], "others": []}


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"state": "loaded"}, "demo/a rests in the state loaded"),
        (FAILED | {"pending": True}, "demo/a is failed and pending"),
        ({"pending": True}, "demo/a is ready, pending is True, its error is None"),
        (FAILED | {"error": None}, "demo/a is failed, pending is False, its error is None"),
        (FAILED | {"stage": None}, "demo/a is failed at the stage None"),
        ({"stage": "setup"}, "demo/a is ready at the stage setup"),
        (BLOCKED | {"blocked_by": []}, "demo/a is blocked by []"),
        (BLOCKED, "demo/a is blocked by demo/b, which is ready"),
    ],
)
def test_labels_that_contradict_each_other(labels: dict[str, Any], problem: str) -> None:
    assert [*unsound(picture(plugin("a", **labels), plugin("b")))] == [problem]


def compared(
    live: dict[str, Any], cold: dict[str, Any], *sources: Source, helpers: Module | None = None
) -> str:
    modules = {"helpers": helpers} if helpers is not None else {}
    tree = Tree({source.name: source for source in sources}, modules)
    return "\n".join(differs(live, cold, tree, Known()))


def test_news_that_would_lose_nothing_are_not_held_back() -> None:
    a, c = Source("demo", "a", 2), Source("demo", "c", 2, wants=("a",))
    live = picture(plugin("a", 1, **PENDING), plugin("c", **FAILED))
    cold = picture(plugin("a"), plugin("c", **FAILED))
    assert compared(live, cold, a, c) == "demo/a is held back for nothing, by on purpose"


def test_news_may_be_held_back_for_a_dependent() -> None:
    a, c = Source("demo", "a", 2), Source("demo", "c", 2, wants=("a",))
    dependent = plugin("c", wired={"demo/a": 1}, depends_on=["demo/a"])
    live, cold = picture(plugin("a", 1, **PENDING), dependent), picture(plugin("a"))
    assert compared(live, cold, a, c) == ""


def test_news_may_be_held_back_for_shared_code() -> None:
    shared = (("helpers", Way.TOP),)
    a, c = Source("demo", "a", 2, shared=shared), Source("demo", "c", 2, shared=shared)
    live = picture(plugin("a", 1, **PENDING, shared={"helpers": ["000001"]}))
    cold = picture(plugin("a", shared={"helpers": ["000009"]}), plugin("c", **FAILED))
    assert compared(live, cold, a, c, helpers=Module(9)) == ""


def test_news_may_be_held_back_for_shared_code_of_which_nothing_is_told() -> None:
    shared = (("helpers", Way.TOP),)
    a, c = Source("demo", "a", 2, shared=shared), Source("demo", "c", 2, shared=shared)
    versions = {"plugin": "000002", "probe": "ImportError"}
    live = picture(plugin("a", **PENDING), plugin("c", **PENDING, versions=versions))
    cold = picture(plugin("a"), plugin("c", **FAILED))
    assert compared(live, cold, a, c, helpers=Module(9)) == ""
    live["plugins"]["demo/c"]["versions"] = {"plugin": "000002"}
    assert compared(live, cold, a, c, helpers=Module(9)) != ""


@pytest.mark.parametrize(
    ("now", "restarted", "problem"),
    [
        (FAILED, FAILED | {"stage": "import"}, "stage is 'setup', after a restart 'import'"),
        (FAILED, FAILED | {"kind": ["OSError"]}, "kind is ['ValueError'], after a restart ['OSE"),
        (FAILED, {}, "state is 'failed', after a restart 'ready'"),
        (BLOCKED, FAILED, "state is 'blocked', after a restart 'failed'"),
        (PENDING, FAILED | {"kind": ["OSError"]}, "is pending by on purpose, a restart has on"),
        (PENDING, BLOCKED, "is pending by on purpose, a restart has None"),
        (PENDING, FAILED, ""),
        (PENDING | {"kind": ["DependencyBlocked"]}, BLOCKED, ""),
    ],
)
def test_labels_are_those_of_a_restart_beside_the_same_neighbours(
    now: dict[str, Any], restarted: dict[str, Any], problem: str
) -> None:
    held = plugin("c", 1, **PENDING), plugin("c", **FAILED)  # Something that is not whole.
    c = Source("demo", "c", 2, wants=("a",))
    live = picture(plugin("a", 1, **now), plugin("b"), held[0])
    cold = picture(plugin("a", **restarted), plugin("b"), held[1])
    found = compared(live, cold, A, B, c)
    assert problem in found if problem else found == ""


def test_other_neighbours_may_bring_other_labels() -> None:
    live = picture(plugin("a", **FAILED), plugin("b", 1, **PENDING))
    cold = picture(plugin("a", **BLOCKED), plugin("b", **FAILED))
    assert compared(live, cold, A, B) == ""


def test_what_needs_nothing_that_was_removed_is_not_lost() -> None:
    ran = picture(plugin("a"), plugin("b"), plugin("c", depends_on=["demo/a"]))
    live = picture(plugin("a", **FAILED), plugin("b", 1, **PENDING))
    cold = picture(plugin("a", **FAILED), plugin("b", **FAILED))
    tree = Tree({"a": A, "b": B})
    found = [*differs(live, cold, tree, Known(ran=ran, versions={"000001"}))]
    assert found == ["demo/a was ready, nothing that it needs was removed, and it is failed now"]


def test_what_was_renamed_in_vain_is_gone_when_its_folder_moves() -> None:
    ran = picture(plugin("b", **PENDING, folder="old"), plugin("c", **FAILED))
    live, cold = picture(plugin("c", **FAILED)), picture(plugin("c", **FAILED))
    named_c = Source("demo", "c", 2)
    tree = Tree({"new": named_c, "c": named_c, "b": Source("demo", "b", 2, fault=Fault.TOML)})
    assert [*differs(live, cold, tree, Known(ran=ran))] == []


def test_what_does_not_compile_may_be_held_back_though_a_restart_never_imports_it() -> None:
    shared = {"helpers": ["000001"]}
    a = Source("demo", "a", 2, shared=(("helpers", Way.OPTIONAL),))
    live = picture(plugin("a", **PENDING, shared=shared))
    cold = picture(plugin("a", shared={"helpers": ["missing"]}))
    assert compared(live, cold, a, helpers=Module(2, flaw=Flaw.SYNTAX)) == ""
    assert compared(live, cold, a, helpers=Module(2, flaw=Flaw.IMPORT)) != ""


def test_what_runs_code_of_another_one_goes_on_where_a_restart_cannot_load_that() -> None:
    a, c = Source("demo", "a", 2, borrows=("demo/c",)), Source("demo", "c", 2)
    live = picture(plugin("a", borrowed={"demo/c": "000001"}), plugin("c", **FAILED))
    cold = picture(plugin("a", **FAILED), plugin("c", **FAILED))
    assert compared(live, cold, a, c) == ""
    assert "borrowed" in compared(live, picture(plugin("a"), plugin("c", **FAILED)), a, c)


@pytest.mark.parametrize("packages", [[], ["helpers"]])
def test_news_may_be_held_back_for_a_module_that_becomes_a_package(packages: list[str]) -> None:
    a = Source("demo", "a", 2, shared=(("helpers.base", Way.OPTIONAL),), fault=Fault.TOML)
    c = Source("demo", "c", 2, shared=(("helpers.text", Way.OPTIONAL),))
    live = picture(plugin("a", 1, **PENDING), plugin("c", **PENDING)) | {"packages": packages}
    cold = picture(plugin("c")) | {"packages": ["helpers"]}
    tree = Tree({"a": a, "c": c}, {"helpers": Module(3), "helpers.base": Module(4)})
    found = [*differs(live, cold, tree, Known())]
    assert bool(found) is bool(packages), found
