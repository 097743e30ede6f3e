"""Whatever a plugin logs, however it does, carries its ref."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pytest
from command_runs import Watching
from rich.console import Console
from trees import PluginTree

from dagstack_dev.cli.log_lines import LogFormat
from dagstack_dev.cli.log_stream import LogStream

CHATTY = """
import logging
import threading

import anyio
import structlog

module_log = logging.getLogger(__name__)
module_log.info("import standard")
module_structlog = structlog.get_logger()
custom_log = logging.getLogger("acme.payments")
custom_structlog = structlog.stdlib.get_logger("acme.billing")


class Plugin:
    async def setup(self, ctx):
        self.ctx = ctx
        ctx.logger.info("setup ctx", size=1)
        self.everything("setup")
        logging.getLogger("some.package")  # its name tells nothing
        thread = threading.Thread(target=self.everything, args=("thread",))
        thread.start()
        thread.join()
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(self.background)

    async def background(self):
        self.everything("background")
        logging.getLogger("anywhere").handle(
            logging.LogRecord("lib", logging.INFO, "/lib/x.py", 1, "background library", (), None)
        )

    def everything(self, where):
        self.ctx.logger.info(f"{where} bound")
        module_log.info("%s standard", where)
        module_structlog.info(f"{where} structlog")
        custom_log.info("%s custom", where)
        custom_structlog.info(f"{where} custom structlog")

    async def teardown(self):
        self.everything("teardown")
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)
"""

CALLER = """
class Plugin:
    async def setup(self, ctx):
        ctx.registry.get_plugin("demo", "chatty").everything("called")
        ctx.logger.warning("caller done")
"""


def test_every_way_of_logging_is_bound_with_the_plugin_it_comes_from(
    tree: PluginTree, watch: Callable[..., Watching]
) -> None:
    tree.plugin("chatty", code=CHATTY)
    tree.plugin("caller", code=CALLER, depends_on=["chatty"])
    run = watch("plugins", "--log-format", "json")
    run.event("watch.started")
    assert run.end() == 0
    ways = ("bound", "standard", "structlog", "custom", "custom structlog")
    places = ("setup", "thread", "background", "called", "teardown")
    expected = {f"{place} {way}" for place in places for way in ways}
    expected |= {"import standard", "setup ctx", "background library"}
    by_event = {event["event"]: event for event in run.events}
    assert expected <= by_event.keys()
    assert {name: by_event[name].get("plugin") for name in expected} == dict.fromkeys(
        expected, "demo/chatty"
    )
    assert by_event["caller done"]["plugin"] == "demo/caller"
    assert by_event["setup ctx"]["size"] == 1
    assert by_event["setup custom"]["logger"] == "acme.payments"


def test_what_breaks_into_the_writing_of_a_record_goes_on() -> None:
    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            is_first = not self.getvalue()
            written = super().write(text)
            if is_first:
                raise KeyboardInterrupt
            return written

    file = Interrupted()
    stream = LogStream(form=LogFormat.JSON, level="info", console=Console(file=file))
    record = logging.makeLogRecord({"name": "library", "levelname": "WARNING", "msg": "once"})
    with pytest.raises(KeyboardInterrupt):
        stream._records.handle(record)
    assert file.getvalue().count("once") == 1
