"""While git holds a lock, the disk is not looked at."""

from __future__ import annotations

import subprocess
from pathlib import Path
from time import perf_counter

import anyio
import pytest
from trees import PluginTree

from dagstack_dev.disk.git_locks import GitLocks

LONG = 60.0


def no_problem(path: str, message: str) -> None:
    raise AssertionError(f"{path}: {message}")


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


async def waits_for(folder: Path, lock: Path) -> bool:
    """Whether a wait for the locks around `folder` ends when `lock` goes, and not before."""
    locks = GitLocks([str(folder)], no_problem)
    lock.write_text("", encoding="utf-8")
    released = anyio.Event()

    async def wait() -> None:
        await locks.released(perf_counter() + LONG)
        released.set()

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        early = released.is_set()
        lock.unlink()
        await released.wait()
    return not early


@pytest.fixture
def repository(tree: PluginTree) -> Path:
    """A repository with one commit around the tree."""
    tree.plugin("a")
    root = tree.root.parent
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


async def test_a_held_lock_of_the_repository_around_is_waited_for(
    repository: Path, tree: PluginTree
) -> None:
    assert await waits_for(tree.root, repository / ".git" / "index.lock")


async def test_in_a_work_tree_the_lock_of_that_work_tree_counts(
    repository: Path, tmp_path: Path
) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "other"))
    assert (tmp_path / "other" / ".git").is_file()
    lock = repository / ".git" / "worktrees" / "other" / "index.lock"
    assert lock.parent.is_dir()
    assert await waits_for(tmp_path / "other" / "plugins", lock)


async def test_a_relative_git_file_is_followed_from_where_it_stands(tree: PluginTree) -> None:
    real = tree.root.parent / "modules" / "m"
    real.mkdir(parents=True)
    tree.write("sub/.git", "gitdir: ../../modules/m\n")
    assert await waits_for(tree.root / "sub", real / "index.lock")


async def test_without_a_lock_nothing_waits(repository: Path, tree: PluginTree) -> None:
    with anyio.fail_after(LONG):
        await GitLocks([str(tree.root)], no_problem).released(perf_counter() + LONG * 100)


async def test_the_wait_ends_at_the_deadline(repository: Path, tree: PluginTree) -> None:
    (repository / ".git" / "index.lock").write_text("", encoding="utf-8")
    with anyio.fail_after(LONG):
        await GitLocks([str(tree.root)], lambda *_: None).released(perf_counter() + 0.05)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"no such word"])
async def test_a_git_file_that_names_no_folder_is_no_repository(
    tree: PluginTree, content: bytes
) -> None:
    (tree.root / ".git").write_bytes(content)
    with anyio.fail_after(LONG):
        await GitLocks([str(tree.root)], no_problem).released(perf_counter() + LONG * 100)


async def test_folders_outside_any_repository_have_no_lock(tmp_path: Path) -> None:
    with anyio.fail_after(LONG):
        await GitLocks([str(tmp_path), "/"], no_problem).released(perf_counter() + LONG * 100)


async def test_a_lock_that_is_left_behind_is_waited_for_once_and_named(tmp_path: Path) -> None:
    git(tmp_path, "init")
    lock = tmp_path / ".git" / "index.lock"
    lock.write_text("", encoding="utf-8")
    told: list[str] = []
    locks = GitLocks([str(tmp_path)], lambda path, _: told.append(path))
    assert await locks.released(perf_counter() + 0.02)
    assert not await locks.released(perf_counter() + LONG)
    assert told == [str(lock)]
    lock.unlink()
    assert not await locks.released(perf_counter() + LONG)
