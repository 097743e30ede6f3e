"""Reloads as spans of OpenTelemetry, in apps that trace; nothing at all in others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from command_runs import GUARD_SECONDS, Watching
from serving import edit, make_live
from trees import PluginTree

TRACING = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

def spans():
    return [json.loads(each.to_json()) for each in exporter.get_finished_spans()]
"""

NOT_TRACING = """
def spans():
    return [name for name in sys.modules if name.startswith("opentelemetry")]
"""

RUN = """
import asyncio, json, pathlib, sys
from dagstack_dev import DevServer, ReloadCommitted, ReloadRolledBack
{tracing}
async def main():
    async with DevServer("plugins") as server:
        facts = server.events()
        pathlib.Path("plugins/one/plugin.py").write_text(sys.argv[1])
        async for fact in facts:
            if isinstance(fact, ReloadCommitted | ReloadRolledBack):
                break
        await server.wait_idle()
asyncio.run(main())
print(json.dumps(spans()))
"""

FAILS = """
class Plugin:
    def setup(self, ctx):
        raise ValueError("no key: password='hunter2'")
"""


def spans_of(tree: PluginTree, code: str, tracing: str = TRACING) -> Any:
    """What an app has traced in which `one` has been edited."""
    tree.plugin("one")
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(tracing=tracing), code],
        cwd=tree.root.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=GUARD_SECONDS,
    )
    assert not done.stderr
    return json.loads(done.stdout)


def named(spans: Iterable[dict[str, Any]]) -> list[str]:
    return [each["name"] for each in spans]


def test_a_reload_is_a_trace_with_a_span_for_each_step(tree: PluginTree) -> None:
    *steps, root = spans_of(tree, "class Plugin: pass\n")
    assert (root["name"], root["parent_id"]) == ("reload", None)
    assert root["attributes"] == {
        "dagstack.reload.id": 1,
        "dagstack.reload.outcome": "committed",
        "dagstack.reload.paths": [str(tree.root / "one" / "plugin.py")],
        "dagstack.reload.plugins": 1,
    }
    assert root["status"] == {"status_code": "UNSET"}
    assert named(steps)[-4:] == ["prepare", "teardown", "import", "setup"]
    assert {each["parent_id"] for each in steps} == {root["context"]["span_id"]}
    assert {each["context"]["trace_id"] for each in steps} == {root["context"]["trace_id"]}
    assert steps[-1]["attributes"] == {
        "dagstack.plugin": "demo/one",
        "dagstack.reload.reason": "plugin.py changed",
    }
    times = [root["start_time"], *(each["start_time"] for each in steps), root["end_time"]]
    assert times == sorted(times)


def test_errors_are_recorded_without_secrets_where_they_happened(tree: PluginTree) -> None:
    *steps, root = spans_of(tree, FAILS)
    failed = [each for each in steps if each["status"]["status_code"] == "ERROR"]
    assert named(failed) == ["setup"]
    for each in (*failed, root):
        assert each["attributes"]["error.type"] == "ValueError"
        assert each["status"]["description"] == "no key: password='***'"
        (event,) = each["events"]
        assert event["name"] == "exception"
        assert event["attributes"] == {
            "exception.type": "ValueError",
            "exception.message": "no key: password='***'",
            "code.file.path": str(tree.root / "one" / "plugin.py"),
            "code.line.number": 4,
        }
    assert root["attributes"]["dagstack.reload.outcome"] == "rolled_back"
    assert named(steps)[-1] == "roll_back"


def test_an_app_that_does_not_trace_imports_nothing_for_it(tree: PluginTree) -> None:
    assert spans_of(tree, "class Plugin: pass\n", NOT_TRACING) == []


def test_the_example_of_the_page_traces_under_watch(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")
    section = page.split("## OpenTelemetry\n")[1]
    (example,) = re.findall(
        r"^```python\n(.*?)```", section.split("\n## ")[0], re.MULTILINE | re.DOTALL
    )
    tree.plugin("tracing", code=f"{example}\nclass Plugin: pass\n")
    tree.plugin("one")
    run = watch("plugins")
    run.event("watch.started")
    tree.plugin("one", value=2)
    run.error('"name": "reload"')
    assert run.end() == 0


async def test_where_no_provider_is_set_reloads_go_on(tree: PluginTree, tmp_path: Path) -> None:
    import opentelemetry.trace

    assert not opentelemetry.trace.get_current_span().is_recording()
    tree.plugin("one")
    async with make_live(tree).server as server:
        edit(tree.root / "one" / "plugin.py", "VALUE = 1", "VALUE = 2")
        await server.wait_idle()
        assert server.registry.get_plugin("demo", "one").value() == 2
