"""Signals, child processes, threads and tasks: what a plugin does to the process as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from command_runs import CHECKOUT, GUARD_SECONDS, Watching
from trees import PluginTree

Watch = Callable[..., Watching]
StillReloads = Callable[[Watching], None]


def setup_with(body: str) -> str:
    """A plugin whose asynchronous setup does this."""
    head = "import asyncio, os, signal\nclass Plugin:\n    async def setup(self, ctx):\n"
    return f"{head}        {body}\n"


@pytest.mark.parametrize(
    "handler", ["lambda *_: None", "signal.SIG_IGN", "signal.SIG_DFL", "signal.default_int_handler"]
)
def test_ctrl_c_is_taken_back_from_a_plugin_that_takes_it(
    tree: PluginTree, watch: Watch, handler: str
) -> None:
    tree.plugin("thief", code=setup_with(f"signal.signal(signal.SIGINT, {handler})"))
    run = watch("plugins")
    told = run.event("plugin.overstepped")
    assert told["message"] == "replaced the handler of SIGINT; the server has taken it back"
    if "lambda" in handler:
        assert (told["plugin"], told["line"]) == ("demo/thief", 4)
    assert run.end() == 0
    assert run.events[-1]["event"] == "watch.stopped"


def test_ctrl_c_is_taken_back_from_the_event_loop_too(tree: PluginTree, watch: Watch) -> None:
    take = "asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)"
    tree.plugin("thief", code=setup_with(take))
    run = watch("plugins")
    run.event("plugin.overstepped")
    assert run.end() == 0


def test_ctrl_c_that_comes_as_an_exception_is_the_users(tree: PluginTree, watch: Watch) -> None:
    body = (
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)"
    )
    tree.plugin("thief", code=setup_with(body))
    run = watch("plugins")
    assert run.ended() == 0
    assert run.events[-1]["event"] == "watch.stopped"


def test_the_signal_that_asks_for_a_core_dump_is_left_alone(tree: PluginTree, watch: Watch) -> None:
    tree.plugin("a")
    run = watch("plugins")
    run.event("watch.started")
    assert run.end(signal.SIGQUIT) == -signal.SIGQUIT


def test_a_hangup_that_is_ignored_stays_ignored(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As nohup does.
    try:
        run = watch("plugins")
    finally:
        signal.signal(signal.SIGHUP, before)
    run.event("watch.started")
    run.send(signal.SIGHUP)
    still_reloads(run)
    assert run.end() == 0


def test_an_alarm_that_nothing_handles_does_not_end_the_server(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    tree.plugin("alarm", code=setup_with("signal.setitimer(signal.ITIMER_REAL, 0.01)"))
    run = watch("plugins")
    assert run.event("plugin.overstepped")["message"] == (
        "set an alarm that nothing handles; the server goes on"
    )
    still_reloads(run)
    assert run.end() == 0


def test_a_signal_handler_that_raises_into_the_loop_does_not_end_the_server(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    tree.plugin(
        "handler",
        code="""
        import asyncio, signal

        def boom(*_):
            raise LookupError("late")

        class Plugin:
            async def setup(self, ctx):
                signal.signal(signal.SIGALRM, boom)
                signal.setitimer(signal.ITIMER_REAL, 0.2)
        """,
    )
    run = watch("plugins")
    told = run.event("plugin.overstepped", plugin="demo/handler")
    assert told["message"].startswith("raised LookupError: late")
    assert told["line"] == 5
    still_reloads(run)
    assert run.end() == 0


@pytest.mark.parametrize("body", ["os.fork()", "asyncio.get_running_loop().call_soon(os.fork)"])
def test_a_forked_copy_of_the_server_ends_and_the_server_goes_on(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads, body: str
) -> None:
    tree.plugin("forker", code=setup_with(body))
    run = watch("plugins")
    run.event("watch.started")
    run.error("a child process that plugin code forked came back into the server and was ended")
    still_reloads(run)
    assert run.end() == 0
    names = [event["event"] for event in run.events]
    assert (names.count("watch.started"), names.count("watch.stopped")) == (1, 1)


def test_a_forked_child_that_does_its_work_is_none_of_our_business(
    tree: PluginTree, watch: Watch, still_reloads: StillReloads
) -> None:
    tree.plugin(
        "forker",
        code="""
        import multiprocessing

        class Plugin:
            def setup(self, ctx):
                child = multiprocessing.get_context("fork").Process(target=print, args=("worked",))
                child.start()
                child.join()
                ctx.logger.info("joined", code=child.exitcode)
        """,
    )
    run = watch("plugins")
    assert run.event("joined")["code"] == 0
    still_reloads(run)
    assert run.end() == 0
    assert "worked" in run.errors
    assert "dagstack-dev:" not in run.errors


FORKS = """
import multiprocessing, os, signal, time

forking = multiprocessing.get_context("fork")

def sleep(up):
    up.send("up")
    time.sleep(600)

class Plugin:
    def setup(self, ctx):
        here, there = forking.Pipe()
        sleeper = forking.Process(target=sleep, args=(there,))
        sleeper.start()
        here.recv()
        {end}
        sleeper.join()
        ctx.logger.info("joined", code=sleeper.exitcode)
        with forking.Pool(2) as pool:
            ctx.logger.info("counted", counted=pool.map(abs, [-1, 2]))
            pool.close()  # Python loses a SIGTERM to a child that has hardly begun.
            pool.join()
"""


@pytest.mark.parametrize(
    ("number", "end"),
    [
        (signal.SIGTERM, "sleeper.terminate()"),
        (signal.SIGALRM, "os.kill(sleeper.pid, signal.SIGALRM)"),
        (signal.SIGHUP, "os.kill(sleeper.pid, signal.SIGHUP)"),
    ],
)
def test_a_forked_child_answers_signals_as_any_process_does(
    tree: PluginTree, watch: Watch, number: signal.Signals, end: str
) -> None:
    tree.plugin("forker", code=FORKS.format(end=end))
    run = watch("plugins")
    assert run.event("joined")["code"] == -number
    assert run.event("counted")["counted"] == [1, 2]
    assert run.end() == 0


def test_ctrl_c_ends_a_forked_child_too(tree: PluginTree, watch: Watch) -> None:
    tree.plugin("forker", code=FORKS.format(end="os.kill(sleeper.pid, signal.SIGINT)"))
    run = watch("plugins")
    assert run.event("joined")["code"] == 1
    assert run.end() == 0
    assert "KeyboardInterrupt" in run.errors


def test_a_pool_that_imports_what_it_runs_finds_it(tree: PluginTree, watch: Watch) -> None:
    code = """
    import multiprocessing

    def work(number):
        return number * 7

    class Plugin:
        def setup(self, ctx):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                ctx.logger.info("worked", answer=pool.map_async(work, [1]).get(60))
    """
    tree.plugin("spawner", code=code)
    run = watch("plugins")
    assert run.event("worked")["answer"] == [7]
    assert run.end() == 0
    assert run.errors == ""


def test_the_end_waits_for_nothing_that_plugins_leave_running_and_names_it(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin(
        "leaver",
        code="""
        import asyncio, threading

        class Plugin:
            async def setup(self, ctx):
                never = threading.Event()
                loop = asyncio.get_running_loop()
                threading.Thread(target=never.wait, name="poller").start()
                loop.run_in_executor(None, never.wait)
                self.task = loop.create_task(self.stubborn())

            async def stubborn(self):
                while True:
                    try:
                        await asyncio.sleep(600)
                    except asyncio.CancelledError:
                        pass
        """,
    )
    run = watch("plugins")
    run.event("watch.started")
    assert run.end() == 0
    assert run.events[-1]["event"] == "watch.stopped"
    assert run.errors.startswith("dagstack-dev: ended in spite of task Plugin.stubborn, ")
    assert "poller" in run.errors
    assert "asyncio_0" in run.errors
    assert len(run.errors.splitlines()) == 1


@pytest.mark.parametrize(
    "child",
    [
        'subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL).pid',
        "os.fork() or signal.pause()",
    ],
)
def test_a_pipeline_ends_with_the_server_although_a_child_process_lives_on(
    tree: PluginTree, child: str
) -> None:
    tree.plugin(
        "parent",
        code=f"""
        import os, signal, subprocess

        class Plugin:
            def setup(self, ctx):
                child = {child}
                ctx.logger.info("child", pid=child)
                os.kill(os.getpid(), signal.SIGTERM)
        """,
    )
    command = f"{sys.executable} -m dagstack_dev watch plugins 2>/dev/null | grep child"
    done = subprocess.run(
        command,
        shell=True,
        cwd=tree.root.parent,
        env=os.environ | CHECKOUT,
        stdout=subprocess.PIPE,
        timeout=GUARD_SECONDS,
        text=True,
        check=True,
    )
    os.kill(int(done.stdout.partition('"pid": ')[2].partition(",")[0]), signal.SIGKILL)


def test_a_plugin_that_ends_the_process_at_once_cannot_be_stopped(
    tree: PluginTree, watch: Watch
) -> None:
    tree.plugin("end", code=setup_with("os._exit(7)"))
    run = watch("plugins")
    assert run.ended() == 7
    assert run.events[-1] | {"plugin": "demo/end", "event": "plugin.setting_up"} == run.events[-1]
