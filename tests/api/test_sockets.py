"""Where the socket lies, and what becomes of it and of those who wait at it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import anyio
import pytest
from answering import ask, lines
from asking import Asking
from command_runs import Watching
from serving import make_live
from trees import PluginTree

from dagstack_dev.api.socket import ServerSocket, find_server
from dagstack_dev.app.local_api import LocalApi

FORKING = """
import contextlib, os, stat, time

class Plugin:
    def fork(self):
        child = os.fork()
        if not child:
            for number in range(256):  # Else what reads its output waits for it.
                with contextlib.suppress(OSError):
                    if not stat.S_ISSOCK(os.fstat(number).st_mode):
                        os.close(number)
            time.sleep(60)
            os._exit(0)
        return child
"""


@pytest.fixture
def served(tree: PluginTree, watch: Callable[..., Watching]) -> Watching:
    tree.plugin("one", code=FORKING)
    run = watch("plugins", "--log-format", "json")
    run.event("watch.started")
    return run


def test_a_socket_is_for_its_owner_and_found_from_any_folder_below(
    served: Watching, tree: PluginTree, sockets: Path
) -> None:
    found = find_server(tree.root / "one")
    assert found is not None
    assert found == find_server(tree.root.parent)
    by_socket = find_server(found.socket)
    assert by_socket is not None
    assert by_socket == found
    assert found.pid == served.process.pid
    assert Path(found.socket).stat().st_mode & 0o777 == 0o600
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert find_server(sockets) is None


def test_a_server_with_other_variables_is_found(
    tree: PluginTree, watch: Callable[..., Watching], sockets: Path, tmp_path: Path
) -> None:
    """What starts MCP servers hands on neither XDG_RUNTIME_DIR nor TMPDIR."""
    tree.plugin("one")
    other = {"XDG_RUNTIME_DIR": str(tmp_path / "missing"), "TMPDIR": str(tmp_path / "missing")}
    run = watch("plugins", "--log-format", "json", environment=other)
    run.event("watch.started")
    found = find_server(tree.root)
    assert found is not None
    assert found.pid == run.process.pid
    assert not Path(found.socket).is_relative_to(sockets)


def test_a_folder_for_sockets_that_is_a_link_is_not_looked_into(tmp_path: Path) -> None:
    """Another user may have made it: what lies there is not believed."""
    with ServerSocket([str(tmp_path)]):
        own = find_server(tmp_path)
        assert own is not None
        folder = Path(own.socket).parent
        moved = folder.rename(tmp_path / "moved")
        folder.symlink_to(moved)
        assert find_server(tmp_path) is None
        folder.unlink()
        moved.rename(folder)


def test_an_open_stream_ends_with_the_server(served: Watching, tree: PluginTree) -> None:
    found = find_server(tree.root)
    assert found is not None
    connected = threading.Event()
    got: list[str] = []

    def follow() -> None:
        for line in lines(found.socket, "/api/logs/stream"):
            got.append(line)
            connected.set()

    reader = threading.Thread(target=follow)
    reader.start()
    connected.wait()
    assert served.end() == 0
    reader.join()
    assert got[0] == ": connected"
    assert served.events[-1]["event"] == "watch.stopped"
    assert not Path(found.socket).exists()


def test_what_a_killed_server_has_left_is_replaced_though_a_copy_of_it_lives(
    served: Watching, tree: PluginTree, sockets: Path, watch: Callable[..., Watching]
) -> None:
    found = find_server(tree.root)
    assert found is not None
    body = b'{"plugin": "demo/one", "method": "fork"}'
    child = ask(found.socket, "POST", "/api/call", body).json["result"]
    try:
        served.end(signal.SIGKILL)
        assert find_server(tree.root) is None
        assert list(sockets.iterdir()) == []
        again = watch("plugins", "--log-format", "json")
        again.event("watch.started")
        now = find_server(tree.root)
        assert now is not None
        assert ask(now.socket, "GET", "/api/status").json["pid"] == again.process.pid
    finally:
        os.kill(child, signal.SIGKILL)


def test_of_two_servers_of_one_folder_the_newest_is_found(
    served: Watching, tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    second = watch("plugins", "--log-format", "json")
    first_pid, second_pid = served.process.pid, second.process.pid
    problem = second.event("watch.problem", path=str(tree.root))["message"]
    assert problem.startswith(f"another server, pid {first_pid}, watches it too; both reload")
    second.event("watch.started")
    for place in (tree.root, tree.root.parent):
        found = find_server(place)
        assert found is not None
        assert found.pid == second_pid
    asked = Asking(tree.root.parent).run("status", "--json")
    assert asked.returncode == 0
    assert json.loads(asked.stdout)["pid"] == second_pid
    assert f"asks the newest server, pid {second_pid}; pid {first_pid} watches the" in asked.stderr
    second.end()
    found = find_server(tree.root)
    assert found is not None
    assert found.pid == served.process.pid


def test_a_socket_is_replaced_and_nothing_else_is(tmp_path: Path, sockets: Path) -> None:
    path = sockets.parent / "here.sock"
    with ServerSocket([str(tmp_path)], path):
        with pytest.raises(OSError, match=f"another server listens at {path}"):
            ServerSocket([], path).__enter__()
        assert find_server(tmp_path) == find_server(tmp_path / "deep")
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with ServerSocket([str(tmp_path)], path):
        assert find_server(path) is not None
    path.write_text("mine")
    with pytest.raises(OSError, match="is there already, and no socket"):
        ServerSocket([], path).__enter__()
    assert path.read_text() == "mine"
    long = tmp_path / ("x" * 120)
    with pytest.raises(OSError, match="may have 103 bytes"):
        ServerSocket([], long).__enter__()
    assert list(sockets.iterdir()) == []


def test_the_record_of_a_killed_server_takes_no_socket_from_the_next_at_its_path(
    tmp_path: Path, sockets: Path
) -> None:
    path = sockets.parent / "here.sock"
    with ServerSocket([str(tmp_path)], path):
        (record,) = sockets.glob("*.json")
        killed = record.read_text()
    record.write_text(killed)
    with socket.socket(socket.AF_UNIX) as coming:
        coming.bind(str(path))  # It does not listen yet.
        assert find_server(tmp_path) is None
        assert path.is_socket()
    assert list(sockets.iterdir()) == []


SLOW_TO_GO = """
class Plugin:
    def setup(self, ctx):
        self.extras = ctx.extras

    async def teardown(self):
        self.extras["ends"].set()
        await self.extras["may_end"].wait()
"""


async def test_a_server_that_ends_takes_no_socket_from_the_next_at_its_path(
    tree: PluginTree, sockets: Path, tmp_path: Path
) -> None:
    path = sockets.parent / "here.sock"
    extras = {"ends": anyio.Event(), "may_end": anyio.Event()}
    tree.plugin("one", code=SLOW_TO_GO)
    first = make_live(tree, api=LocalApi(path), extras=extras).server
    second = make_live(PluginTree(tmp_path / "other"), api=LocalApi(path)).server
    await first.start()
    async with anyio.create_task_group() as group:
        group.start_soon(first.stop)
        await extras["ends"].wait()
        assert find_server(tree.root) is None
        await second.start()
        extras["may_end"].set()
    assert find_server(path) == find_server(tmp_path / "other") is not None
    await second.stop()
    assert list(sockets.iterdir()) == []


SLOW_TO_ANSWER = """
import os, pathlib, sys, time

class Slow:
    def __init__(self, log):
        self.log = log

    def find_spec(self, name, *_):
        if name == "uvicorn":
            sys.meta_path.remove(self)
            self.log.info("somebody asks")
            while [*pathlib.Path(os.environ["XDG_RUNTIME_DIR"], "dagstack-dev").iterdir()]:
                time.sleep(0.01)

class Plugin:
    def setup(self, ctx):
        sys.meta_path.insert(0, Slow(ctx.logger))
"""


def test_a_server_that_ends_before_it_answers_for_the_first_time_has_not_failed(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("one", code=SLOW_TO_ANSWER)
    run = watch("plugins", "--log-format", "json")
    run.event("watch.started")
    assert find_server(tree.root) is not None
    run.line("somebody asks")
    assert run.end() == 0
    assert not [each for each in run.events if each["level"] in {"warning", "error"}]


@contextmanager
def crowded(path: Path) -> Iterator[None]:
    """Something listens there, and too many wait for it."""
    with ExitStack() as clients, socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        yield


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it looks as if nobody listened")
def test_a_server_at_which_too_many_wait_is_there_all_the_same(sockets: Path) -> None:
    path = sockets.parent / "here.sock"
    with crowded(path):
        assert find_server(path) is not None
        with pytest.raises(OSError, match=f"another server listens at {path}"):
            ServerSocket([], path).__enter__()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it looks as if nobody listened")
def test_a_server_of_another_container_at_which_too_many_wait_loses_nothing(
    tmp_path: Path, sockets: Path
) -> None:
    with ServerSocket([str(tmp_path)]) as listening:
        path = Path(listening.getsockname())
        (record,) = sockets.glob("*.json")
        known = json.loads(record.read_text())
    record.write_text(json.dumps(known | {"pid": 2**30}))  # No process has that number here.
    with crowded(path):
        assert find_server(tmp_path) is None
        assert {*sockets.iterdir()} == {record, path}


def test_a_copy_of_the_process_removes_nothing(tmp_path: Path, sockets: Path) -> None:
    holder = ServerSocket([str(tmp_path)])
    with holder:
        child = os.fork()
        if not child:
            holder.__exit__()
            os._exit(0)
        os.waitpid(child, 0)
        assert find_server(tmp_path) is not None
    assert list(sockets.iterdir()) == []


def test_a_root_behind_a_link_is_found_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with ServerSocket([str(tmp_path / "link")]):
        assert find_server(tmp_path / "real") is not None
        assert find_server(tmp_path / "link") is not None


def test_a_path_that_no_server_watches_means_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = (tmp_path / each for each in ("app/one", "app/two", "app/other/deep"))
    other.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "app")
    with ServerSocket([str(one)]):
        first = find_server(one)
        assert first is not None
        assert find_server(other) is None
        assert find_server(other, is_given=False) == first
        assert find_server(tmp_path) == first
        with ServerSocket([str(two)]):
            assert find_server(one / "deep", is_given=False) == first
            assert find_server(other) is None
            for path, is_given in ((other, False), (tmp_path, True), (tmp_path, False)):
                with pytest.raises(OSError, match=f"{two}.*; {one}|{one}.*; {two}"):
                    find_server(path, is_given=is_given)


@pytest.mark.parametrize("left", ["{", "{}", '{"socket": "x", "pid": 1, "roots": 3}'])
def test_a_record_that_cannot_be_read_is_passed_over(
    tmp_path: Path, sockets: Path, left: str
) -> None:
    sockets.mkdir()
    (sockets / "0.json").write_text(left)
    with ServerSocket([str(tmp_path)]):
        assert find_server(tmp_path) is not None


def test_a_server_whose_folder_is_gone_answers_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with ServerSocket([str(tmp_path / "plugins")]):
        assert find_server(tmp_path / "plugins") is not None
        assert find_server(tmp_path / "other", is_given=False) is None


def test_a_server_whose_process_has_no_such_number_here_is_found_and_left_alone(
    tmp_path: Path, sockets: Path
) -> None:
    with ServerSocket([str(tmp_path)]):
        (record,) = sockets.glob("*.json")
        elsewhere = json.loads(record.read_text()) | {"pid": 2**22 + 1}  # More than there can be.
        record.write_text(json.dumps(elsewhere))
        found = find_server(tmp_path)
        assert found is not None
        assert found.pid == 2**22 + 1
        assert record.exists()
