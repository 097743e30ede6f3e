"""The orchestrator that runs units of work in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from command_runs import GUARD_SECONDS

from dagstack_dev import (
    ORCHESTRATOR_KIND,
    KindUnknown,
    LocalExecutorOrchestrator,
    PluginContext,
    PluginRegistry,
    Progress,
    SingletonDispatcher,
    UnitRefused,
    unwrap,
)

Put = Callable[..., Any]


class Worker:
    """Answers when it is let go; `running` are the words it works on."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.most = 0
        self.done: list[str] = []
        self.go = anyio.Event()

    async def execute(self, ctx: PluginContext, args: dict[str, Any]) -> str:
        word = str(args["word"])
        self.running.append(word)
        self.most = max(self.most, len(self.running))
        ctx.progress.report(Progress(current=1, total=2, message=word))
        await self.go.wait()
        self.running.remove(word)
        if word == "bad":
            raise ValueError("bad word")
        self.done.append(word)
        return word


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def start(
    registry: PluginRegistry, ctx: PluginContext, put: Put, worker: Worker
) -> Callable[..., Any]:
    async def start(limit: int = 8, history: int = 100, **unit_of_work: object) -> Any:
        put(worker, "worker", unit_of_work={"declared": True, **unit_of_work})
        put(object(), "idle")
        registry.register_manifest(
            dict(LocalExecutorOrchestrator.MANIFEST),
            LocalExecutorOrchestrator(limit=limit, history=history),
        )
        await registry.setup_all(ctx)
        return registry.get_plugin("orchestrator")

    return start


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(GUARD_SECONDS):
        while not condition():
            await anyio.lowlevel.checkpoint()


def unit(word: str, **more: object) -> dict[str, Any]:
    return {"plugin_name": "worker", "args": {"word": word}, **more}


async def state(local: Any, answer: dict[str, Any]) -> str:
    return str((await local.status({"unit_id": answer["unit_id"]}))["state"])


async def test_a_unit_runs_and_its_status_says_so(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start()
    answer = await local.enqueue(unit("a"))
    assert answer["deduplicated"] is False
    status = {"unit_id": answer["unit_id"]}
    assert await local.status(status) == {**status, "state": "queued"}
    await until(lambda: worker.running == ["a"])
    running = await local.status(status)
    assert running["state"] == "running"
    assert running["progress"] == {"current": 1, "total": 2, "message": "a"}
    worker.go.set()
    await until(lambda: worker.done == ["a"])
    ended = await local.status(status)
    assert ended["state"] == "succeeded"
    assert running["started_at"] == ended["started_at"] <= ended["finished_at"]
    await registry.teardown_all()


async def test_a_dispatcher_calls_it_with_a_context_in_front(
    registry: PluginRegistry, ctx: PluginContext, start: Any
) -> None:
    await start()
    dispatcher = SingletonDispatcher(registry)
    answer = await dispatcher.dispatch_async("orchestrator", "enqueue", ctx, unit("a"))
    assert answer["deduplicated"] is False
    await registry.teardown_all()


async def test_its_answers_fit_the_schemas_of_the_kind(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    from jsonschema_rs import validate

    local = await start()
    worker.go.set()
    answer = await local.enqueue(unit("bad"))
    await until(lambda: "bad" not in worker.running)
    for hook, value in (
        ("enqueue", answer),
        ("status", await local.status({"unit_id": answer["unit_id"]})),
        ("backfill", await local.backfill({})),
    ):
        schema = ORCHESTRATOR_KIND.hook(hook).output_schema
        assert schema is not None
        validate(dict(schema), value)
    await registry.teardown_all()


async def test_a_unit_that_fails_can_be_run_again(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start()
    worker.go.set()
    bad = await local.enqueue(unit("bad", idempotency_key="k"))
    good = await local.enqueue(unit("good"))
    await until(lambda: worker.done == ["good"])
    status = await local.status({"unit_id": bad["unit_id"]})
    assert (status["state"], status["error"]) == ("failed", "ValueError: bad word")
    worker.go = anyio.Event()
    assert await local.backfill({"plugin_name": "idle"}) == {
        "enqueued_count": 0,
        "skipped_count": 2,
    }
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert (await local.backfill({"since": tomorrow}))["enqueued_count"] == 0
    assert await local.backfill({"until": tomorrow}) == {"enqueued_count": 1, "skipped_count": 1}
    assert await state(local, bad) == "queued"
    assert await state(local, good) == "succeeded"
    await until(lambda: worker.running == ["bad"])
    await registry.teardown_all()


async def test_equal_keys_or_equal_inputs_are_one_unit(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start(idempotency_mode="input_hash")
    first = await local.enqueue(unit("a"))
    again = await local.enqueue(unit("a"))
    other = await local.enqueue(unit("b"))
    assert again == {"unit_id": first["unit_id"], "deduplicated": True}
    assert other["deduplicated"] is False
    named = await local.enqueue(unit("c", idempotency_key="k"))
    assert (await local.enqueue(unit("d", idempotency_key="k")))["unit_id"] == named["unit_id"]
    worker.go.set()
    await until(lambda: sorted(worker.done) == ["a", "b", "c"])
    assert (await local.enqueue(unit("a")))["deduplicated"] is True
    await registry.teardown_all()


async def test_without_a_mode_only_a_key_makes_units_the_same(
    registry: PluginRegistry, start: Any
) -> None:
    local = await start()
    assert (await local.enqueue(unit("a")))["deduplicated"] is False
    assert (await local.enqueue(unit("a")))["deduplicated"] is False
    await registry.teardown_all()


async def test_a_unit_that_failed_is_no_reason_not_to_try_again(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start()
    worker.go.set()
    bad = await local.enqueue(unit("bad", idempotency_key="k"))
    while await state(local, bad) != "failed":
        await anyio.lowlevel.checkpoint()
    assert (await local.enqueue(unit("good", idempotency_key="k")))["deduplicated"] is False
    await registry.teardown_all()


async def test_units_of_one_partition_run_one_after_the_other(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start(partition_key="shop")
    for word in ("a", "b"):
        await local.enqueue({"plugin_name": "worker", "args": {"word": word, "shop": 7}})
    await local.enqueue(unit("c", partition_key="other"))
    await until(lambda: sorted(worker.running) == ["a", "c"])
    worker.go.set()
    await until(lambda: sorted(worker.done) == ["a", "b", "c"])
    assert worker.most == 2
    await registry.teardown_all()


async def test_no_more_run_at_a_time_than_allowed_and_the_rest_is_cancelled_in_the_end(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start(limit=2)
    answers = [await local.enqueue(unit(word)) for word in "abc"]
    await until(lambda: len(worker.running) == 2)
    assert [await state(local, each) for each in answers] == ["running", "running", "queued"]
    units = registry.table.entries[("orchestrator", "local")].instance._units  # type: ignore[index]
    await registry.teardown_all()
    assert {each.state for each in units.values()} == {"cancelled"}


async def test_who_does_no_units_of_work_is_not_asked(registry: PluginRegistry, start: Any) -> None:
    local = await start()
    with pytest.raises(UnitRefused, match="demo/idle does no units of work; write declared"):
        await local.enqueue({"plugin_name": "demo/idle", "args": {}})
    with pytest.raises(KindUnknown, match="did you mean 'worker'"):
        await local.enqueue({"plugin_name": "worke", "args": {}})
    with pytest.raises(UnitRefused, match="there is no unit 'x'"):
        await local.status({"unit_id": "x"})
    with pytest.raises(TypeError, match="a payload was expected"):
        await local.enqueue("worker")
    await registry.teardown_all()


async def test_what_another_unit_of_the_same_key_has_done_is_not_done_again(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start()
    worker.go.set()
    bad = await local.enqueue(unit("bad", idempotency_key="k"))
    while await state(local, bad) != "failed":
        await anyio.lowlevel.checkpoint()
    good = await local.enqueue(unit("good", idempotency_key="k"))
    await until(lambda: worker.done == ["good"])
    assert await local.backfill({}) == {"enqueued_count": 0, "skipped_count": 2}
    again = await local.enqueue(unit("good", idempotency_key="k"))
    assert again == {"unit_id": good["unit_id"], "deduplicated": True}
    await registry.teardown_all()


async def test_a_unit_that_is_cancelled_by_what_it_awaits_has_failed(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    async def stray(ctx: PluginContext, args: dict[str, Any]) -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task

    worker.execute = stray  # type: ignore[method-assign, assignment]
    local = await start(limit=1)
    answer = await local.enqueue(unit("a"))
    with anyio.fail_after(GUARD_SECONDS):
        while await state(local, answer) in {"queued", "running"}:
            await anyio.lowlevel.checkpoint()
    assert await state(local, answer) == "failed"
    await registry.teardown_all()


async def test_a_unit_that_is_under_way_is_not_run_again(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start(limit=1)
    for word in ("a", "b"):
        await local.enqueue(unit(word))
    await until(lambda: worker.running == ["a"])
    every = ["queued", "running", "failed"]
    assert await local.backfill({"states": every}) == {"enqueued_count": 0, "skipped_count": 2}
    worker.go.set()
    await until(lambda: len(worker.done) == 2)
    assert sorted(worker.done) == ["a", "b"]
    await registry.teardown_all()


async def test_only_so_many_units_that_are_over_are_remembered(
    registry: PluginRegistry, start: Any, worker: Worker
) -> None:
    local = await start(history=2, partition_key="word")
    worker.go.set()
    units = [await local.enqueue(unit(word, idempotency_key=word)) for word in "abcd"]
    await until(lambda: len(worker.done) == 4)
    await until(lambda: not unwrap(local)._turns)  # Nor a place in the queue of each partition.
    told = []
    for each in units:
        try:
            told.append(await state(local, each))
        except UnitRefused:
            told.append("forgotten")
    assert told == ["forgotten", "forgotten", "succeeded", "succeeded"]
    assert (await local.enqueue(unit("a", idempotency_key="a")))["deduplicated"] is False
    assert (await local.enqueue(unit("d", idempotency_key="d")))["deduplicated"] is True
    await registry.teardown_all()
