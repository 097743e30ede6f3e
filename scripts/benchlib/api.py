"""What it costs a server to be asked: clients that follow its events and poll its status."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from dagstack_dev.api.client import ApiClient
from dagstack_dev.api.socket import find_server
from scripts.benchlib.checkouts import ROOT
from scripts.benchlib.report import Table, percentile, say
from scripts.benchlib.saves import PAUSE_SEC, WARM_UP
from scripts.benchlib.subjects import OURS, Subject

CLIENTS: Final = 10
POLL_SECONDS: Final = 1.0
CALM_DOWN_SEC: Final = 3.0

# In a process of their own, so that the clock of the saves does not pay for them.
CLIENT: Final = """\
import sys, threading, time
from dagstack_dev.api.client import ApiClient

path, clients, poll_seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
connected = threading.Barrier(clients + 1)

def follow():
    events = ApiClient(path).stream("events", after=0)
    next(events)
    connected.wait()
    for _ in events:
        pass

def poll():
    while True:
        ApiClient(path).get("status")
        time.sleep(poll_seconds)

for what in [follow] * clients + [poll] * (clients if poll_seconds else 0):
    threading.Thread(target=what, daemon=True).start()
connected.wait()
print("connected", flush=True)
time.sleep(3600)
"""


def measure(sizes: Sequence[int], saves: int, seconds: float) -> Table:
    """The table of a server that is asked beside one that is not; `sizes` are plugins."""
    table = Table(
        f"Save to ready in ms, with {CLIENTS} clients and without",
        ("plugins", "clients", "p50", "p95", "p50/alone", "CPU", "status p50", "status p95"),
        note=f"each follows events and asks for the status once in {POLL_SECONDS:g} s; CPU: percent"
        f" of one, idle with {CLIENTS} open streams, over {seconds:g} s",
    )
    for plugins in sizes:
        say(f"api: {plugins} plugins")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
            subjects = []
            for number in range(2):
                own = Path(folder, str(number))
                own.mkdir()
                subject = Subject(OURS, own, plugins=plugins, step_ms=5)
                subjects.append(stack.enter_context(subject))
            server = find_server(Path(folder, "0", "plugins"))
            assert server is not None  # noqa: S101 - it has started
            with _clients(server.socket, 0):
                used = idle_cpu(subjects, seconds)
            with _clients(server.socket, POLL_SECONDS):
                save_in_turn(subjects, saves)
            asked = [*_latencies(ApiClient(server.socket), saves)]
        alone = subjects[1].outcome.milliseconds
        for subject, percent in zip(subjects, used, strict=True):
            times = subject.outcome.milliseconds
            row: dict[str, object] = {
                "plugins": plugins,
                "clients": 0,
                "p50": percentile(times, 50),
                "p95": percentile(times, 95),
                "CPU": percent,
            }
            if subject is subjects[0]:
                row |= {
                    "clients": CLIENTS,
                    "p50/alone": percentile(times, 50) / percentile(alone, 50),
                    "status p50": percentile(asked, 50),
                    "status p95": percentile(asked, 95),
                }
            table.add(row)
    return table


@contextmanager
def _clients(socket: str, poll_seconds: float) -> Iterator[None]:
    command = [sys.executable, "-c", CLIENT, socket, str(CLIENTS), str(poll_seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def idle_cpu(subjects: Sequence[Subject], seconds: float) -> list[float]:
    """What each uses while nothing is saved, in percent of one CPU."""
    time.sleep(CALM_DOWN_SEC)
    before = [_cpu_seconds(each.pid) for each in subjects]
    time.sleep(seconds)
    after = [_cpu_seconds(each.pid) for each in subjects]
    return [(now - then) / seconds * 100 for now, then in zip(after, before, strict=True)]


def _cpu_seconds(pid: int) -> float:
    """What all threads of a process have used so far, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9


def save_in_turn(subjects: Sequence[Subject], saves: int) -> None:
    """Save the probe of each, one after the other, `saves` times after a warm-up."""
    chance = random.Random(saves)  # noqa: S311 - no two saves in step with a watch
    for turn in range(WARM_UP + saves):
        if turn == WARM_UP:
            for subject in subjects:
                subject.outcome.milliseconds.clear()
        for subject in subjects:
            time.sleep(chance.uniform(*PAUSE_SEC))
            subject.save()


def _latencies(client: ApiClient, questions: int) -> Iterator[float]:
    for _ in range(questions):
        began = time.perf_counter()
        client.get("status")
        yield (time.perf_counter() - began) * 1000
