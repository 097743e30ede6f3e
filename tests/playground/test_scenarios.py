"""Every scenario of the playground shows what its README says, broken and repaired."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playgrounds import PLAYGROUND, copy_tree

from dagstack_dev import (
    AmbiguousPlugin,
    DependencyCycle,
    DependencyMissing,
    DevServer,
    ManifestInvalid,
    PluginLoadError,
    PluginRef,
    State,
)
from dagstack_dev.core.events import Fact, PluginRejected

READY, FAILED, BLOCKED = State.READY, State.FAILED, State.BLOCKED


@pytest.fixture
def scenario(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the scenario that the test names."""
    copy_tree(PLAYGROUND / "scenarios" / request.param, tmp_path / request.param)
    return tmp_path / str(request.param)


def named(scenario: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scenario", [scenario], indirect=True)


@contextmanager
def facts_of(server: DevServer) -> Iterator[list[Fact]]:
    """Everything that the server tells, its first start included."""
    facts: list[Fact] = []
    stop = server.registry.observe(facts.append)
    yield facts
    stop()


def states(server: DevServer) -> dict[str, State]:
    return {ref.name: status.state for ref, status in server.statuses().items()}


def error(server: DevServer, name: str) -> BaseException | None:
    return server.statuses()[PluginRef("demo", name)].error


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_each_scenario_has_a_test_and_a_readme() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    for folder in (PLAYGROUND / "scenarios").iterdir():
        assert f'@named("{folder.name}")' in tests
        assert (folder / "README.md").is_file()


@named("bad_manifest")
async def test_all_bad_manifests_are_reported_at_once_each_with_its_file(scenario: Path) -> None:
    server = DevServer(scenario)
    with facts_of(server) as facts:
        async with server:
            now = states(server)
            assert now["valid"] is READY
            assert READY not in {state for name, state in now.items() if name != "valid"}
            errors = [fact.error for fact in facts if isinstance(fact, PluginRejected)]
            errors += [s.error for s in server.statuses().values() if s.error is not None]
            told = {
                Path(each.path or "").parent.name: {problem.field for problem in each.problems}
                for each in errors
                if isinstance(each, ManifestInvalid)
            }
            assert told.keys() == {"unknown_key", "wrong_type", "no_core_version", "not_toml"}
            assert "depend_on" in str(told["unknown_key"])
            assert "priority" in str(told["wrong_type"])
            assert "core_version" in str(told["no_core_version"])


@named("broken_setup")
async def test_a_failing_setup_blocks_its_dependent_until_it_is_repaired(scenario: Path) -> None:
    async with DevServer(scenario) as server:
        assert states(server) == {"fragile": FAILED, "dependent": BLOCKED, "healthy": READY}
        assert str(error(server, "fragile")) == "fragile cannot be set up"
        replace(scenario / "fragile/plugin.py", "raise RuntimeError(", "str(")
        await server.wait_idle()
        assert set(states(server).values()) == {READY}


@named("cycle")
@pytest.mark.parametrize("broken_at", ["seed", "flower", "plant"])
async def test_a_cycle_ends_where_any_of_its_dependencies_is_taken_out(
    scenario: Path, broken_at: str
) -> None:
    async with DevServer(scenario) as server:
        now = states(server)
        assert now.pop("gardener") is READY
        assert set(now.values()) <= {FAILED, BLOCKED}
        cycles = [error(server, name) for name in now]
        assert any(isinstance(each, DependencyCycle) for each in cycles)
        manifest = scenario / broken_at / "dagstack.toml"
        lines = manifest.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not line.startswith("depends_on")]
        manifest.write_text("\n".join(kept), encoding="utf-8")
        await server.wait_idle()
        assert set(states(server).values()) == {READY}


@named("duplicate")
async def test_two_plugins_of_one_name_are_reported_with_both_folders(scenario: Path) -> None:
    server = DevServer(scenario)
    with facts_of(server) as facts:
        async with server:
            errors = [fact.error for fact in facts if isinstance(fact, PluginRejected)]
            errors += [s.error for s in server.statuses().values() if s.error is not None]
            (told, *_) = (each for each in errors if isinstance(each, AmbiguousPlugin))
            assert str(scenario / "first") in str(told)
            assert str(scenario / "second") in str(told)
            replace(scenario / "second/dagstack.toml", '"twin"', '"sibling"')
            await server.wait_idle()
            assert states(server) == {"twin": READY, "sibling": READY}


@named("missing_dependency")
async def test_a_misspelt_dependency_waits_for_the_right_spelling(scenario: Path) -> None:
    async with DevServer(scenario) as server:
        now = states(server)
        assert now["neighbour"] is READY
        assert now["visitor"] in {FAILED, BLOCKED}
        told = error(server, "visitor")
        blocked_by = server.statuses()[PluginRef("demo", "visitor")].blocked_by
        assert isinstance(told, DependencyMissing) or blocked_by == ("neighbor",)
        replace(scenario / "visitor/dagstack.toml", "neighbor", "neighbour")
        await server.wait_idle()
        assert states(server) == {"neighbour": READY, "visitor": READY}


@named("slow_setup")
async def test_slow_setups_run_side_by_side_and_leave_the_loop_free(scenario: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    server = DevServer(scenario)
    with facts_of(server) as facts:
        counting = asyncio.create_task(count())
        async with server:
            counting.cancel()
            assert states(server) == dict.fromkeys(["one", "two", "three", "four", "five"], READY)
    order = [str(getattr(fact, "to_state", "")) for fact in facts]
    first_ready = order.index("ready")
    assert order[:first_ready].count("setting_up") == 5  # All had begun before one had ended.
    assert turns > 0


@named("syntax_error")
async def test_a_syntax_error_is_reported_with_its_line_and_stops_no_other(scenario: Path) -> None:
    async with DevServer(scenario) as server:
        assert states(server) == {"typo": FAILED, "healthy": READY}
        told = error(server, "typo")
        assert isinstance(told, PluginLoadError)
        file = scenario / "typo/plugin.py"
        lines = file.read_text(encoding="utf-8").splitlines()
        assert (told.path, told.line) == (str(file), len(lines))
        file.write_text("\n".join([*lines[:-1], lines[-1] + ")"]), encoding="utf-8")
        await server.wait_idle()
        assert states(server) == {"typo": READY, "healthy": READY}


@named("task_group")
async def test_a_task_group_lives_from_setup_to_teardown(scenario: Path) -> None:
    before = asyncio.all_tasks()
    async with DevServer(scenario) as server:
        pulse = server.registry.get_plugin("demo", "pulse")
        for _ in range(2):
            await server.wait_idle()  # the beating task has had its turn by then
            assert pulse.beats >= 1
            await server.reload(("demo", "pulse"))
            assert states(server) == {"pulse": READY}
    assert asyncio.all_tasks() == before
