"""The examples of dagstack-plugin-system, as its authors ship them, under `dagstack-dev watch`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import Watching
from serving import edit

EXAMPLES = Path(__file__).parents[2] / ".cache" / "dagstack-plugin-system" / "examples"

HIDE_ORIGINAL = """
import sys
from importlib.machinery import PathFinder

class Rest(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == "dagstack":
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Rest
"""
USER = """
from dagstack.plugin_system import PluginContext

class Plugin:
    def setup(self, ctx):
        echoed = ctx.registry.get_plugin("tool", "echo").execute({"msg": "hello"})
        ctx.logger.info("asked", echoed=echoed, whose=PluginContext.__module__)
"""

APART = """
from dagstack.plugin_system import PluginContext
from dagstack.plugin_system.contract.suite import run_contract_suite

class Plugin:
    def setup(self, ctx: PluginContext) -> None:
        ctx.logger.info("apart", whose=PluginContext.__module__)
"""

pytestmark = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="scripts/test fetches the sources of dagstack-plugin-system"
)


@pytest.fixture(params=["dagstack.plugin_system.context", "dagstack_dev.host.services.context"])
def whose(request: pytest.FixtureRequest) -> str:
    """The module that plugins get their names from: the original's, or ours without it."""
    return str(request.param)


@pytest.fixture
def watching(whose: str, tmp_path: Path) -> Iterator[Watching]:
    """The examples and plugins that use them, watched with and without the original package."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    user = tmp_path / "examples" / "user"
    user.mkdir()
    (user / "plugin.py").write_text(USER, encoding="utf-8")
    (user / "dagstack.toml").write_text(
        '[plugin]\nname = "user"\nkind = "demo"\ncore_version = ">=0.1"\nruntime = "in_process"\n'
        'entry_point = "plugin:Plugin"\ndepends_on = ["echo"]\n',
        encoding="utf-8",
    )
    apart = tmp_path / "examples" / "apart"
    apart.mkdir()
    (apart / "plugin.py").write_text(APART, encoding="utf-8")
    (apart / "dagstack.toml").write_text(
        '[plugin]\nname = "apart"\nkind = "demo"\ncore_version = ">=0.1"\n'
        'runtime = "in_process"\nentry_point = "plugin:Plugin"\n'
        'execution_model = "process_cpu_bound"\n'
        'depends_on = ["user"]\n',
        encoding="utf-8",
    )
    environment = {}
    if whose.startswith("dagstack_dev"):
        (tmp_path / "site").mkdir()
        (tmp_path / "site/sitecustomize.py").write_text(HIDE_ORIGINAL, encoding="utf-8")
        here = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = f"{tmp_path / 'site'}:{here}"
    run = Watching("examples", "--watch-code", ".", cwd=tmp_path, environment=environment)
    yield run
    run.kill()


def test_the_echo_plugin_runs_unchanged_and_reloads_with_its_dependents(
    watching: Watching, whose: str, tmp_path: Path
) -> None:
    asked = watching.event("asked")
    assert asked["echoed"] == {"echoed": "hello"}
    assert asked["whose"] == whose
    assert watching.event("apart")["whose"] == whose  # A process of its own finds them, too.
    watching.event("watch.started", ready=3)
    edit(
        tmp_path / "examples/echo_plugin/echo_plugin.py",
        'return {"echoed": msg}',
        'return {"echoed": msg.upper()}',
    )
    assert watching.event("asked")["echoed"] == {"echoed": "HELLO"}
    watching.event("reload.committed")
    assert watching.end() == 0
