"""What holds for every plan, whatever runs and whatever changes."""

from __future__ import annotations

from hypothesis import given, settings
from worlds import Change, changes

from dagstack_dev.core.errors.registry import DependencyCycle
from dagstack_dev.core.graph import DependencyGraph
from dagstack_dev.core.plan import Load, ReloadPlan
from dagstack_dev.core.planning import plan_reload
from dagstack_dev.core.refs import PluginRef

# The same worlds in every run: a rare one must not stop an unrelated change.
EXAMPLES = settings(max_examples=60, derandomize=True)


def plan_of(change: Change) -> ReloadPlan:
    return plan_reload(change.world, change.candidates, change.removed)


def set_up(plan: ReloadPlan) -> list[PluginRef]:
    return [step.ref for each in plan.transactions for step in each.set_up]


def torn_down(plan: ReloadPlan) -> list[PluginRef]:
    return [step.ref for each in plan.transactions for step in each.tear_down]


def taken_out(plan: ReloadPlan) -> set[PluginRef]:
    return {step.ref for each in plan.transactions for step in each.remove}


@EXAMPLES
@given(changes())
def test_a_plan_is_the_same_every_time(change: Change) -> None:
    again = Change(change.world, change.candidates[::-1], change.removed)
    one, other = plan_of(change), plan_of(again)
    assert repr(one.transactions) == repr(other.transactions)
    assert {ref: str(error) for ref, error in one.rejected.items()} == {
        ref: str(error) for ref, error in other.rejected.items()
    }


@EXAMPLES
@given(changes())
def test_each_plugin_appears_once_per_role_and_has_one_outcome(change: Change) -> None:
    plan = plan_of(change)
    down = torn_down(plan)
    assert len(down) == len(set(down))
    outcomes = [
        step.ref
        for each in plan.transactions
        for step in (*each.remove, *each.set_up, *each.block, *each.fail)
    ]
    assert len(outcomes) == len(set(outcomes))
    assert set(outcomes) == plan.affected, "what is torn down has an outcome too"
    assert set(down) == {ref for ref in outcomes if change.world.is_live(ref)}


@EXAMPLES
@given(changes())
def test_nothing_outside_the_affected_subgraph_appears(change: Change) -> None:
    plan = plan_of(change)
    world = change.world
    kept = {
        candidate.ref for candidate in change.candidates if candidate.keeps in plan.rejected
    } - plan.rejected.keys()
    roots = set(change.removed)
    for candidate in change.candidates:
        if candidate.keeps not in plan.rejected:
            roots |= {candidate.ref, candidate.keeps}
    moved = {ref.name for ref in plan.graph.refs ^ world.graph.refs}
    roots |= {  # A name that means another plugin now is a change of its own.
        ref
        for ref in plan.graph.refs & world.graph.refs
        if moved & {getattr(want, "name", want) for want in world.graph.wants(ref)}
    }
    reached: set[PluginRef] = set()
    while roots - reached:
        reached |= roots
        roots = world.graph.downstream(reached) | plan.graph.downstream(reached)
        for ref in reached:
            roots |= world.importers(ref)
    assert plan.affected <= reached
    assert plan.affected.isdisjoint(kept - world.graph.refs)


@EXAMPLES
@given(changes())
def test_teardown_is_the_reverse_of_the_setup_order_in_force(change: Change) -> None:
    for each in plan_of(change).transactions:
        order = [change.world.setup_order[step.ref] for step in each.tear_down]
        assert order == sorted(order, reverse=True)


@EXAMPLES
@given(changes())
def test_every_dependency_is_set_up_before_or_runs_untouched(change: Change) -> None:
    plan = plan_of(change)
    for each in plan.transactions:
        done: set[PluginRef] = set()
        for step in each.set_up:
            assert plan.graph.problem(step.ref) is None
            for other in plan.graph.dependencies(step.ref):
                untouched = change.world.is_live(other) and other not in plan.affected
                assert other in done or untouched
            done.add(step.ref)


@EXAMPLES
@given(changes())
def test_after_the_plan_every_live_plugin_has_its_dependencies(change: Change) -> None:
    plan = plan_of(change)
    live = (set(change.world.setup_order) - plan.affected) | set(set_up(plan))
    for ref in live:
        assert plan.graph.problem(ref) is None
        assert set(plan.graph.dependencies(ref)) <= live


@EXAMPLES
@given(changes())
def test_cycles_are_reported_with_their_members_and_never_followed(change: Change) -> None:
    plan = plan_of(change)
    started = set(set_up(plan))
    for each in plan.transactions:
        for step in each.fail:
            if step.error is plan.rejected.get(step.ref):
                continue  # Its folder offered a cycle under another name.
            if isinstance(step.error, DependencyCycle):
                cycle = step.error.cycle
                assert step.ref in cycle
                assert started.isdisjoint(cycle)
                for ref, following in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
                    assert following in plan.graph.dependencies(ref)


@EXAMPLES
@given(changes())
def test_every_step_says_why(change: Change) -> None:
    plan = plan_of(change)
    for each in plan.transactions:
        for step in (*each.tear_down, *each.remove, *each.set_up, *each.block, *each.fail):
            assert step.reason
        assert all(step.load is not None for step in each.set_up)
        assert all(step.blocked_by for step in each.block)
        assert all(step.error is not None and not step.blocked_by for step in each.fail)


@EXAMPLES
@given(changes())
def test_a_bad_candidate_costs_nothing_that_is_live(change: Change) -> None:
    plan = plan_of(change)
    world = change.world
    gone = taken_out(plan)
    blocked = {step.ref for each in plan.transactions for step in each.block}
    for each in plan.transactions:
        for step in each.fail:
            assert not world.is_live(step.ref)
        for step in each.block:
            if world.is_live(step.ref):
                lost = set(world.graph.dependencies(step.ref)) & (gone | blocked)
                assert lost, "blocked although nothing it depended on was removed"
    replaced = {c.replaces for c in change.candidates if c.keeps not in plan.rejected}
    for ref in gone:
        assert ref in change.removed or ref in replaced


@EXAMPLES
@given(changes())
def test_what_is_rejected_keeps_its_old_dependencies(change: Change) -> None:
    plan = plan_of(change)
    gone = taken_out(plan)
    for ref in plan.rejected:
        assert change.world.is_live(ref) or ref in {c.keeps for c in change.candidates}
        assert ref not in gone
        old = change.world.graph.dependencies(ref)
        assert plan.graph.dependencies(ref) == tuple(each for each in old if each not in gone)


@EXAMPLES
@given(changes())
def test_what_is_rejected_is_not_also_taken_over_from_elsewhere(change: Change) -> None:
    plan = plan_of(change)
    for candidate in change.candidates:
        if candidate.keeps in plan.rejected:
            for rival in change.candidates:
                if candidate.keeps in {rival.ref, rival.keeps}:
                    assert rival.keeps in plan.rejected


@EXAMPLES
@given(changes())
def test_transactions_are_disjoint_and_each_is_connected(change: Change) -> None:
    plan = plan_of(change)
    world = change.world
    parts = [each.refs for each in plan.transactions]
    assert sum(map(len, parts)) == len(plan.affected)
    linked = {
        frozenset({ref, other})
        for ref in plan.affected
        for other in (
            *(world.graph.dependencies(ref) if world.is_live(ref) else ()),
            *plan.graph.dependencies(ref),
            *world.importers(ref),
        )
    } | {frozenset({c.ref, c.replaces}) for c in change.candidates if c.replaces is not None}
    for part in parts:
        reached = {min(part)}
        while (
            more := {other for link in linked if link & reached for other in link & part} - reached
        ):
            reached |= more
        assert reached == part
    for link in linked:
        homes = {index for index, part in enumerate(parts) for ref in link if ref in part}
        assert len(homes) <= 1 or link <= {c.ref for c in change.candidates} | plan.rejected.keys()


@EXAMPLES
@given(changes())
def test_new_code_is_loaded_for_what_changed_did_not_run_or_imported_such(change: Change) -> None:
    plan = plan_of(change)
    world = change.world
    loads = {s.ref: s.load for each in plan.transactions for s in each.set_up}
    asked = {c.ref: c.load for c in change.candidates if c.keeps not in plan.rejected}
    for ref, load in loads.items():
        if not world.is_live(ref) or asked.get(ref) is Load.IMPORT:
            assert load is Load.IMPORT
    for ref in world.states:
        importers = world.importers(ref)
        if loads.get(ref) is Load.IMPORT or ref in taken_out(plan):
            assert all(loads.get(other, Load.IMPORT) is Load.IMPORT for other in importers)


@EXAMPLES
@given(changes())
def test_carrying_out_a_plan_and_asking_again_changes_nothing_more(change: Change) -> None:
    plan = plan_of(change)
    world = change.world
    graph = DependencyGraph({ref: plan.graph.wants(ref) for ref in plan.graph.refs})
    assert {ref: graph.dependencies(ref) for ref in graph.refs} == {
        ref: plan.graph.dependencies(ref) for ref in plan.graph.refs
    }
    assert world.graph.refs - taken_out(plan) <= graph.refs
