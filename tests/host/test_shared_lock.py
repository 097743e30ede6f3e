"""Reloads share their lock; `setup_all` and `teardown_all` hold it exclusively."""

from __future__ import annotations

import anyio

from dagstack_dev.host.reload.shared_lock import SharedLock


async def test_several_share_it_and_one_alone_waits_for_all_of_them() -> None:
    lock, seen = SharedLock(), list[str]()

    async def alone() -> None:
        async with lock.exclusive():
            seen.append("alone")

    async with anyio.create_task_group() as group, lock.shared():
        group.start_soon(alone)
        await anyio.wait_all_tasks_blocked()
        async with lock.shared():
            seen.append("both")
        await anyio.wait_all_tasks_blocked()
        assert seen == ["both"]
    assert seen == ["both", "alone"]


async def test_who_shares_waits_for_one_alone_though_the_first_gives_up() -> None:
    lock, seen = SharedLock(), list[str]()

    async def share(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with lock.shared():
                seen.append(name)

    first = anyio.CancelScope()
    async with anyio.create_task_group() as group, lock.exclusive():
        group.start_soon(share, "first", first)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(share, "second", anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        assert seen == []
    assert seen == ["second"]
    async with lock.exclusive(), anyio.create_task_group():
        pass
