"""The rules of a reload, one by one, in plain words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dagstack_dev.core.errors.life import PluginLoadError
from dagstack_dev.core.errors.registry import (
    AmbiguousPlugin,
    DependencyBlocked,
    DependencyCycle,
    DependencyMissing,
)
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.lifecycle import State
from dagstack_dev.core.plan import Candidate, Failure, Load, ReloadPlan, SharedNews, World
from dagstack_dev.core.planning import plan_reload
from dagstack_dev.core.refs import PluginRef


def ref(name: str) -> PluginRef:
    """`name` in kind `k`, or `kind/name`."""
    kind, _, rest = name.rpartition("/")
    return PluginRef(kind or "k", rest)


def world(
    order: str,
    *,
    at_rest: str = "",
    importers: dict[str, str] | None = None,
    **wants: str,
) -> World:
    """A world where the plugins of `order` were set up in that order, and `at_rest` failed."""
    names = [*order.split(), *at_rest.split()]
    imported_by = {
        ref(name): frozenset(map(ref, who.split())) for name, who in (importers or {}).items()
    }
    return World(
        DependencyGraph(
            {ref(name): wants.get(name.rpartition("/")[2], "").split() for name in names}
        ),
        {ref(name): State.READY if name in order.split() else State.FAILED for name in names},
        {ref(name): index for index, name in enumerate(order.split())},
        importers=lambda ref: imported_by.get(ref, frozenset()),
    )


def change(
    name: str,
    wants: str = "",
    *,
    broken: bool = False,
    load: Load = Load.IMPORT,
    replaces: str | None = None,
    seen: int = 0,
) -> Candidate:
    return Candidate(
        ref(name),
        wants=tuple(wants.split()),
        load=load,
        error=PluginLoadError(ref(name), "compile", "invalid syntax") if broken else None,
        replaces=ref(replaces) if replaces else None,
        version="new",
        seen=seen,
    )


def summary(plan: ReloadPlan) -> list[str]:
    """The plan as lines: one per step, in order, transactions apart."""
    lines = []
    for each in plan.transactions:
        lines += [f"down {step.ref.name}" for step in each.tear_down]
        lines += [f"remove {step.ref.name}" for step in each.remove]
        for step in each.set_up:
            assert step.load is not None
            lines.append(f"{step.load.value} {step.ref.name}")
        lines += [f"block {step.ref.name} by {' '.join(step.blocked_by)}" for step in each.block]
        lines += [f"fail {step.ref.name}: {type(step.error).__name__}" for step in each.fail]
    return lines


def rejected(plan: ReloadPlan) -> dict[str, type[BaseException]]:
    return {each.name: type(error) for each, error in plan.rejected.items()}


CHAIN = world("c b a z", a="b", b="c")


def test_a_change_takes_its_dependents_along_in_order_and_nothing_else() -> None:
    plan = plan_reload(CHAIN, [change("c")])
    assert summary(plan) == ["down a", "down b", "down c", "import c", "renew b", "renew a"]
    assert plan.affected == {ref("a"), ref("b"), ref("c")}


def test_every_step_says_in_words_why() -> None:
    (each,) = plan_reload(CHAIN, [change("c")]).transactions
    assert [(step.ref.name, step.reason) for step in each.set_up] == [
        ("c", "changed"),
        ("b", "depends on k/c"),
        ("a", "depends on k/b"),
    ]
    (gone,) = plan_reload(CHAIN, removed=[ref("c")]).transactions
    assert [step.reason for step in gone.remove] == ["removed"]


def test_a_change_of_nothing_is_an_empty_plan() -> None:
    plan = plan_reload(CHAIN)
    assert (plan.transactions, plan.rejected, plan.graph) == ((), {}, CHAIN.graph)


def test_a_broken_change_to_a_running_plugin_is_rejected_and_touches_nothing() -> None:
    plan = plan_reload(CHAIN, [change("b", "c", broken=True)])
    assert summary(plan) == []
    assert rejected(plan) == {"b": PluginLoadError}
    assert plan.graph.dependencies(ref("b")) == (ref("c"),)


def test_a_broken_plugin_that_did_not_run_fails_and_blocks_who_needs_it() -> None:
    plan = plan_reload(
        world("", at_rest="a b", a="b"), [change("b", broken=True), change("a", "b")]
    )
    assert summary(plan) == ["block a by k/b", "fail b: PluginLoadError"]
    assert rejected(plan) == {}


def test_a_plugin_that_cannot_go_on_is_torn_down_with_who_needs_it() -> None:
    lost = replace(change("b", "c", broken=True), is_lost=True)
    plan = plan_reload(CHAIN, [lost])
    assert summary(plan) == ["down a", "down b", "block a by k/b", "fail b: PluginLoadError"]
    assert rejected(plan) == {}


def test_who_waits_for_a_failed_plugin_comes_alive_with_it() -> None:
    plan = plan_reload(world("", at_rest="a b", a="b"), [change("b")])
    assert summary(plan) == ["import b", "import a"]


def test_a_missing_dependency_rejects_what_runs_and_blocks_what_does_not() -> None:
    assert rejected(plan_reload(CHAIN, [change("z", "nowhere")])) == {"z": DependencyMissing}
    assert summary(plan_reload(CHAIN, [change("new", "nowhere")])) == ["block new by nowhere"]


def test_a_missing_plugin_that_appears_unblocks_who_waits_for_it() -> None:
    plan = plan_reload(world("", at_rest="a", a="b"), [change("b")])
    assert summary(plan) == ["import b", "import a"]


def test_a_change_that_closes_a_cycle_is_rejected() -> None:
    plan = plan_reload(CHAIN, [change("c", "a")])
    assert summary(plan) == []
    assert rejected(plan) == {"c": DependencyCycle}
    assert plan.rejected[ref("c")].args == ((ref("a"), ref("b"), ref("c")),)


def test_a_cycle_among_plugins_that_do_not_run_fails_its_members_and_blocks_the_rest() -> None:
    news = [change("x", "y"), change("y", "x"), change("w", "x"), change("loner")]
    plan = plan_reload(World(DependencyGraph(), {}, {}), news)
    assert summary(plan) == [
        "import loner",
        "block w by k/x",
        "fail x: DependencyCycle",
        "fail y: DependencyCycle",
    ]


def test_two_cycles_are_two_errors() -> None:
    news = [change("a", "b"), change("b", "a"), change("c", "d"), change("d", "c")]
    plan = plan_reload(World(DependencyGraph(), {}, {}), news)
    assert [len(each.fail) for each in plan.transactions] == [2, 2]


def test_removing_a_plugin_blocks_its_dependents_by_its_name() -> None:
    plan = plan_reload(CHAIN, removed=[ref("c")])
    assert summary(plan) == [
        "down a",
        "down b",
        "down c",
        "remove c",
        "block a by k/b",
        "block b by c",
    ]
    assert rejected(plan) == {}
    assert ref("c") not in plan.graph


def test_a_dependent_that_lets_go_of_a_removed_plugin_lives_on() -> None:
    plan = plan_reload(CHAIN, [change("b")], removed=[ref("c")])
    assert summary(plan) == ["down a", "down b", "down c", "remove c", "import b", "renew a"]


def test_removing_one_of_two_of_a_name_points_the_name_at_the_other() -> None:
    both = world("k1/x", at_rest="k2/x a", a="x")
    plan = plan_reload(both, [change("k2/x")], removed=[ref("k1/x")])
    assert summary(plan) == ["import x", "import a", "down x", "remove x"]
    assert plan.graph.dependencies(ref("a")) == (ref("k2/x"),)


def test_a_second_plugin_of_a_name_does_not_disturb_who_uses_the_first() -> None:
    plan = plan_reload(world("k1/x a", a="x"), [change("k2/x")])
    assert summary(plan) == ["import x"]
    assert rejected(plan) == {"a": AmbiguousPlugin}
    assert plan.graph.dependencies(ref("a")) == (ref("k1/x"),)


def test_losing_one_dependency_while_another_becomes_ambiguous_fails_as_after_a_restart() -> None:
    plan = plan_reload(world("k1/x d a", a="x d"), [change("k2/x")], removed=[ref("d")])
    assert "fail a: AmbiguousPlugin" in summary(plan)
    assert rejected(plan) == {}


def test_who_waits_for_something_missing_and_something_broken_waits_for_both() -> None:
    plan = plan_reload(world("c"), [change("b", broken=True), change("a", "nowhere b c")])
    assert summary(plan) == ["block a by nowhere k/b", "fail b: PluginLoadError"]


def test_a_name_that_only_a_rejected_candidate_made_ambiguous_is_no_trouble() -> None:
    both = world("k1/x a old", a="x")
    plan = plan_reload(both, [change("k2/x", "nowhere", replaces="old")])
    assert summary(plan) == []
    assert rejected(plan) == {"old": DependencyMissing}


def test_a_renamed_plugin_takes_the_place_of_the_old_one_in_one_transaction() -> None:
    plan = plan_reload(CHAIN, [change("fresh", replaces="z")])
    assert summary(plan) == ["down z", "remove z", "import fresh"]
    assert len(plan.transactions) == 1


def test_renaming_what_others_need_blocks_them() -> None:
    plan = plan_reload(CHAIN, [change("sea", replaces="c")])
    assert summary(plan)[3:] == ["remove c", "import sea", "block a by k/b", "block b by c"]


def test_a_broken_rename_leaves_the_old_name_running() -> None:
    plan = plan_reload(CHAIN, [change("sea", replaces="c", broken=True)])
    assert (summary(plan), rejected(plan)) == ([], {"c": PluginLoadError})
    assert ref("sea") not in plan.graph


def test_two_plugins_swap_names_both_or_neither() -> None:
    pair = world("a b")
    fine = [change("a", replaces="b"), change("b", replaces="a")]
    assert summary(plan_reload(pair, fine)) == ["down b", "down a", "import a", "import b"]
    bad = [change("a", "nowhere", replaces="b"), change("b", replaces="a")]
    plan = plan_reload(pair, bad)
    assert summary(plan) == []
    assert rejected(plan).keys() == {"a", "b"}
    assert DependencyMissing in rejected(plan).values()


def test_a_candidate_is_rejected_when_what_it_newly_needs_cannot_start() -> None:
    plan = plan_reload(CHAIN, [change("z", "new"), change("new", broken=True)])
    assert summary(plan) == ["fail new: PluginLoadError"]
    assert rejected(plan) == {"z": DependencyBlocked}


def test_a_candidate_that_only_waits_for_a_rejected_one_goes_ahead_with_the_old_code() -> None:
    plan = plan_reload(CHAIN, [change("c", broken=True), change("b", "c")])
    assert summary(plan) == ["down a", "down b", "import b", "renew a"]
    assert rejected(plan) == {"c": PluginLoadError}


def test_a_rejected_plugin_still_follows_what_it_depended_on() -> None:
    plan = plan_reload(CHAIN, [change("b", broken=True), change("c")])
    assert summary(plan) == ["down a", "down b", "down c", "import c", "renew b", "renew a"]
    assert rejected(plan) == {"b": PluginLoadError}


def test_who_imported_changed_code_gets_new_code_too() -> None:
    shared = world("c b a z", a="b", importers={"c": "z"})
    plan = plan_reload(shared, [change("c")])
    assert summary(plan) == ["down z", "down c", "import c", "import z"]
    (each,) = plan.transactions
    assert each.set_up[1].reason == "imports code of k/c"


def test_a_change_of_configuration_asks_for_a_new_instance_only() -> None:
    plan = plan_reload(CHAIN, [change("c", load=Load.RENEW)])
    assert summary(plan)[3:] == ["renew c", "renew b", "renew a"]


def test_unrelated_changes_are_transactions_of_their_own() -> None:
    plan = plan_reload(CHAIN, [change("z"), change("a", "b")])
    assert [sorted(each.name for each in part.refs) for part in plan.transactions] == [["a"], ["z"]]


def test_changes_of_the_same_shared_code_are_one_transaction() -> None:
    words = SharedNews("words", frozenset({ref("z"), ref("a")}))
    plan = plan_reload(CHAIN, [change("new")], shared=[words])
    assert [each.shared for each in plan.transactions] == [("words",), ()]
    assert [sorted(each.name for each in part.refs) for part in plan.transactions] == [
        ["a", "z"],
        ["new"],
    ]


def test_shared_code_that_only_rejected_news_name_is_not_theirs() -> None:
    words = SharedNews("words", frozenset({ref("a"), ref("z")}), naming=frozenset({ref("z")}))
    plan = plan_reload(world("a z"), [change("z", broken=True)], shared=[words])
    assert summary(plan) == ["down a", "import a"]
    assert plan.rejected.keys() == {ref("z")}


def test_what_waits_for_whom_it_makes_fail_stays_down_alone() -> None:
    """`d` cannot do with the code of `c`, which waits for `b`, which waits for `d`."""
    before = world("d", at_rest="c", importers={"c": "d"}, c="b")
    alone = plan_reload(before, [change("b", "d"), change("c", "b")])
    failed = Failure(alone.key(ref("d")), RuntimeError(), alone.files(ref("d"), [ref("c")]))
    plan = plan_reload(before, [change("b", "d"), change("c", "b")], failures={ref("d"): [failed]})
    assert summary(plan) == ["import b", "fail c: RuntimeError"]


def test_what_is_waited_for_comes_up_before_what_cannot_beside_who_imports_it() -> None:
    """`d` cannot do with the code of `a`, which waits for `b`, which waits for `d`."""
    before = world("d", at_rest="a", importers={"a": "d"}, a="b")
    news = [change("a", "b"), change("b", "d")]
    alone = plan_reload(before, news)
    failed = Failure(alone.key(ref("d")), RuntimeError(), alone.files(ref("d"), [ref("a")]))
    plan = plan_reload(before, news, failures={ref("d"): [failed]})
    assert summary(plan) == ["import b", "fail a: RuntimeError"]


def test_what_failed_with_the_news_of_another_is_tried_with_what_runs_of_it() -> None:
    """`b` as it runs depends on `a`; its news import `a`, and have failed with the news of that."""
    before = replace(world("a b", b="a"), version=lambda ref: f"old {ref}")
    news = [change("a", seen=1), change("b", seen=2)]
    both = plan_reload(before, news)
    failures = {
        ref("a"): [Failure(both.key(ref("a")), RuntimeError())],
        ref("b"): [Failure(both.key(ref("b")), RuntimeError(), both.files(ref("b"), [ref("a")]))],
    }
    plan = plan_reload(before, news, failures=failures)
    assert summary(plan) == ["down b", "import b"]
    assert rejected(plan) == {"a": RuntimeError}


def test_what_an_ill_plugin_has_come_to_need_comes_up_without_it() -> None:
    """`z` cannot do with the new code of `a`, which cannot go on as it is, and needs `n` now."""
    before = world("a z", importers={"a": "z"})
    news = [change("n"), replace(change("a", "n"), is_lost=True)]
    both = plan_reload(before, news)
    failed = Failure(both.key(ref("z")), RuntimeError(), both.files(ref("z"), [ref("a")]))
    plan = plan_reload(before, news, failures={ref("z"): [failed]})
    assert summary(plan) == ["down z", "down a", "renew z", "fail a: RuntimeError", "import n"]


def test_teardown_follows_the_order_in_force_and_setup_the_new_one() -> None:
    plan = plan_reload(world("a b", b="a"), [change("a", "b"), change("b")])
    assert summary(plan) == ["down b", "down a", "import b", "import a"]


def test_priorities_decide_between_equals() -> None:
    news = [Candidate(ref(name), priority=rank) for name, rank in (("a", 0), ("b", 5))]
    hub = Candidate(ref("hub"), wants=("a", "b"))
    plan = plan_reload(World(DependencyGraph(), {}, {}), [*news, hub])
    assert summary(plan) == ["import b", "import a", "import hub"]


@pytest.mark.parametrize("count", [3000])
def test_a_first_start_of_thousands_is_planned_in_order(count: int) -> None:
    news = [
        change(f"p{index:05}", f"p{index - 1:05}" if index % 2 else "") for index in range(count)
    ]
    plan = plan_reload(World(DependencyGraph(), {}, {}), news)
    assert len(plan.transactions) == count // 2
    assert len(plan.affected) == count
