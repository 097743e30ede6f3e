"""Edits of the configuration that do not fit what a plugin asks for: nothing live is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import State
from dagstack_dev.core.errors.files import ConfigSectionInvalid
from dagstack_dev.core.events import (
    PluginRejected,
    ReloadCommitted,
    ReloadRolledBack,
    ReloadStarted,
    WatchProblem,
)

SCHEMA = """
[plugin.config_schema]
properties = { port = { type = "integer" } }
"""

READS = """
class Plugin:
    def setup(self, ctx):
        self.ctx = ctx
        self.port = ctx.config.get("port")
"""

MODELLED = """
from pydantic import BaseModel

class Settings(BaseModel):
    port: int
""" + READS.replace("Plugin:", "Plugin:\n    config_schema = Settings\n")

CONFIG = "[demo.one]\nport = 1\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


async def test_a_section_that_does_not_fit_is_rejected_and_the_old_one_runs_on(
    tree: PluginTree, config: Path
) -> None:
    tree.plugin("one", code=READS, manifest=SCHEMA)
    async with serving(tree, config_file=config) as live:
        kept = live.instance("one")
        edit(config, "port = 1", "port = 'x'")
        await live.settle()
        [rejected] = live.of(PluginRejected)
        assert isinstance(rejected.error, ConfigSectionInvalid)
        assert str(rejected.error) == (
            f"{config}: the configuration of demo/one: line 2: demo.one.port: "
            "must be of type integer, not 'x'"
        )
        assert live.of(ReloadStarted) == []
        assert live.instance("one") is kept
        assert live.status("one").pending
        edit(config, "port = 'x'", "port = 2")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("one").port == 2
        assert not live.status("one").pending


async def test_true_is_not_one(tree: PluginTree, config: Path) -> None:
    manifest = "[plugin.config_schema]\nproperties = { port = { default = 1 } }\n"
    folder = tree.plugin("one", code=READS, manifest=manifest)
    async with serving(tree, config_file=config) as live:
        edit(config, "port = 1", "port = true")
        await live.settle()
        assert live.plugin("one").port is True
        edit(config, "port = true", "")
        await live.settle()
        assert live.plugin("one").port == 1
        edit(folder / "dagstack.toml", "default = 1", "default = true")
        await live.settle()
        assert live.plugin("one").port is True


async def test_a_plugin_whose_section_is_rejected_still_follows_what_it_depends_on(
    tree: PluginTree, config: Path
) -> None:
    base = tree.plugin("base")
    tree.plugin("one", code=READS, manifest=SCHEMA, depends_on=["base"])
    async with serving(tree, config_file=config) as live:
        edit(config, "port = 1", "port = 'x'")
        await live.settle()
        before = live.instance("one")
        edit(base / "plugin.py", "VALUE = 1", "VALUE = 2")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.instance("one") is not before
        assert live.plugin("one").port == 1
        assert live.status("one").pending


async def test_mending_a_rejected_section_back_settles_it(tree: PluginTree, config: Path) -> None:
    tree.plugin("one", code=READS, manifest=SCHEMA)
    async with serving(tree, config_file=config) as live:
        edit(config, "port = 1", "port = 'x'")
        await live.settle()
        edit(config, "port = 'x'", "port = 1")
        await live.settle()
        assert not live.status("one").pending
        assert live.status("one").error is None
        assert live.plugin("one").port == 1


async def test_a_schema_that_the_running_section_misses_is_rejected(
    tree: PluginTree, config: Path
) -> None:
    folder = tree.plugin("one", code=READS, manifest=SCHEMA)
    async with serving(tree, config_file=config) as live:
        kept = live.instance("one")
        edit(folder / "dagstack.toml", '"integer"', '"string"')
        await live.settle()
        [rejected] = live.of(PluginRejected)
        assert isinstance(rejected.error, ConfigSectionInvalid)
        assert live.instance("one") is kept
        edit(config, "port = 1", "port = 'x'")
        await live.settle()
        assert live.plugin("one").port == "x"
        assert not live.status("one").pending


async def test_a_plugin_whose_section_never_fitted_comes_alive_with_it(
    tree: PluginTree, config: Path
) -> None:
    config.write_text("[demo.one]\nport = 'x'\n")
    tree.plugin("one", code=READS, manifest=SCHEMA)
    tree.plugin("user", depends_on=["one"])
    async with serving(tree, config_file=config) as live:
        assert live.states == {"one": "failed", "user": "blocked"}
        assert isinstance(live.status("one").error, ConfigSectionInvalid)
        config.write_text(CONFIG)
        await live.settle()
        assert live.states == {"one": "ready", "user": "ready"}
        assert live.plugin("one").port == 1


async def test_a_section_that_a_model_refuses_is_rolled_back(
    tree: PluginTree, config: Path
) -> None:
    tree.plugin("one", code=MODELLED)
    async with serving(tree, config_file=config) as live:
        edit(config, "port = 1", "port = 'x'")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert isinstance(live.status("one").error, ConfigSectionInvalid)
        assert live.plugin("one").port == 1
        edit(config, "port = 'x'", "port = 3")
        await live.settle()
        assert live.plugin("one").port == 3


async def test_a_model_is_asked_in_the_process_of_its_plugin(
    tree: PluginTree, config: Path
) -> None:
    code = MODELLED + "\n    def read(self):\n        return dict(self.ctx.config)\n"
    tree.plugin("one", code=code, manifest='execution_model = "process_cpu_bound"\n' + SCHEMA)
    async with serving(tree, config_file=config) as live:
        assert await live.plugin("one").read() == {"port": 1}
        config.write_text("[demo.one]\n")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        error = live.status("one").error
        assert isinstance(error, ConfigSectionInvalid)
        assert [each.field for each in error.problems] == ["demo.one.port"]
        assert live.state("one") is State.READY
        assert await live.plugin("one").read() == {"port": 1}


async def test_a_misspelt_section_is_reported_at_the_start_and_when_it_is_saved(
    tree: PluginTree, config: Path
) -> None:
    tree.plugin("mailer", code=READS)
    config.write_text("[demo.mailler]\nport = 1\n[app.mailler]\n")
    async with serving(tree, config_file=config) as live:
        says = "[demo.mailler] in line {} belongs to no plugin; did you mean [demo.mailer]?"
        assert [problem.message for problem in live.of(WatchProblem)] == [says.format(1)]
        edit(config, "port = 1", "port = 2")
        await live.settle()
        assert live.of(WatchProblem) == []
        edit(config, "demo.mailler", "demo.mailer")
        await live.settle()
        assert live.plugin("mailer").port == 2
        assert live.of(WatchProblem) == []
        edit(config, "demo.mailer", "demo.mialer")
        await live.settle()
        [problem] = live.of(WatchProblem)
        assert problem.path == str(config)
        assert "demo.mialer" in problem.message


async def test_a_section_that_comes_with_its_plugin_is_not_misspelt(
    tree: PluginTree, config: Path
) -> None:
    tree.plugin("mailer", code=READS)
    async with serving(tree, config_file=config) as live:
        config.write_text("[demo.mailer2]\nport = 2\n")
        tree.plugin("mailer2", code=READS)
        await live.settle()
        assert live.plugin("mailer2").port == 2
        assert live.of(WatchProblem) == []
