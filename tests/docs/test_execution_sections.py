"""What docs/plugins.md says of execution models and configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from serving import edit, serving
from trees import PluginTree

from dagstack_dev import ConfigSectionInvalid, PluginRejected
from dagstack_dev.core.manifest.fields import ExecutionModel

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
CODE = dict(re.findall(r"```python\n# plugins/(\w+)/plugin.py\n(.*?)```", PAGE, re.DOTALL))
MANIFESTS = dict(re.findall(r"```toml\n# plugins/(\w+)/dagstack.toml\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def shown(tree: PluginTree) -> PluginTree:
    """The plugins of the two sections."""
    for name in ("counter", "mailer"):
        code = CODE[name].replace(f"class {name.title()}", "class Plugin")
        tree.plugin(name, code=code, manifest=MANIFESTS[name])
    return tree


async def test_the_counter_is_awaited(shown: PluginTree) -> None:
    async with serving(shown) as live:
        assert await live.plugin("counter").count("a b a", word="a") == 2


async def test_the_mailer_keeps_its_section_when_an_edit_does_not_fit(
    shown: PluginTree, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[demo.mailer]\nport = 2525\n")
    async with serving(shown, config_file=config) as live:
        assert live.plugin("mailer").address == ("localhost", 2525)
        edit(config, "2525", "'none'")
        await live.settle()
        [rejected] = live.of(PluginRejected)
        assert isinstance(rejected.error, ConfigSectionInvalid)
        assert [(each.field, each.line) for each in rejected.error.problems] == [
            ("demo.mailer.port", 2)
        ]
        assert live.plugin("mailer").address == ("localhost", 2525)


def test_every_model_has_a_row() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.split("## Where calls run")[1], re.MULTILINE)
    named = {word for row in rows[:4] for word in re.findall(r"`(\w+)`", row)}
    assert {*map(str, ExecutionModel)} <= named
