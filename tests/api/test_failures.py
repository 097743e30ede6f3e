"""What is wrong, as `GET /api/errors` tells it: root causes, their lines, and what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from answering import Answering, answering
from sharing import user
from trees import PluginTree

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("imports_forgotten")

BROKEN = """
class Plugin:
    def setup(self, ctx):
        self.connect()

    def connect(self):
        raise OSError("no such host")
"""


async def failures(server: Answering) -> list[dict[str, Any]]:
    await server.wait()
    found: list[dict[str, Any]] = (await server.get("errors"))["failures"]
    return found


def shown(failure: dict[str, Any]) -> list[str]:
    """Return what an account says, and the functions and lines of its frames."""
    return [text for each in failure["account"] for text in _texts(each)]


def _texts(part: dict[str, Any]) -> Iterator[str]:
    frame = part["frame"]
    if frame is None:
        yield part["text"]
    else:
        yield f"{part['kind']} {frame['function']}"
        yield from (each["text"] for each in frame["code"])


async def test_what_failed_is_shown_with_its_lines_and_what_waits_for_it(tree: PluginTree) -> None:
    path = tree.plugin("base", code=BROKEN) / "plugin.py"
    tree.plugin("near", depends_on=["base"])
    tree.plugin("far", depends_on=["near"])
    async with answering(tree) as server:
        (failure,) = await failures(server)
    assert failure["plugins"] == ["demo/base"]
    assert failure["title"] == "failed in setup"
    assert sorted(failure["blocks"]) == ["demo/far", "demo/near"]
    assert failure["running"] == {}
    assert shown(failure) == [
        "OSError: no such host",
        "caller Plugin.setup",
        "        self.connect()",
        "place Plugin.connect",
        "    def connect(self):",
        '        raise OSError("no such host")',
    ]
    frame = failure["account"][-1]["frame"]
    assert (frame["path"], frame["line"]) == (str(path), 7)
    assert [each["line"] for each in frame["code"] if each["is_here"]] == [7]


async def test_what_runs_on_is_named_until_the_mistake_is_gone(tree: PluginTree) -> None:
    tree.plugin("one")
    tree.plugin("above", depends_on=["one"])
    async with answering(tree) as server:
        assert await failures(server) == []
        tree.plugin("one", code="class Plugin:\n    def value(self)\n        pass\n")
        (failure,) = await failures(server)
        assert failure["title"] == "does not run what is on disk"
        assert failure["running"] == {"demo/one": 1}
        assert failure["blocks"] == []
        assert "    def value(self)" in shown(failure)
        tree.plugin("one", value=2)
        assert await failures(server) == []


async def test_one_mistake_in_shared_code_is_one_failure(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/units.py", "SIZE = 1 / 0\n")
    for name in ("one", "two"):
        user(tree, name, "from helpers.units import SIZE", "SIZE")
    async with answering(tree) as server:
        (failure,) = await failures(server)
    assert failure["plugins"] == ["demo/one", "demo/two"]
    assert "SIZE = 1 / 0" in shown(failure)


async def test_files_and_names_without_a_plugin_are_told_by_path(tree: PluginTree) -> None:
    tree.plugin("settings")
    lonely = tree.plugin("lonely", depends_on=["setings"])
    tree.plugin("far", depends_on=["lonely"])
    manifest = tree.write("unread/dagstack.toml", '[plugin]\nname = "unread"\ntoken = "s3cr3t!x"\n')
    async with answering(tree) as server:
        refused, missing = await failures(server)
    assert refused["path"] == str(manifest.parent)
    assert refused["title"] == "cannot be used"
    assert (missing["path"], missing["title"]) == ("setings", "does not exist")
    assert missing["blocks"] == ["demo/far", "demo/lonely"]
    message, place = missing["account"]
    assert message["text"] == "no plugin has this name; did you mean 'settings'?"
    frame = place["frame"]
    assert frame["path"] == str(lonely / "dagstack.toml")
    assert [(each["line"], each["text"]) for each in frame["code"] if each["is_here"]] == [
        (frame["line"], 'depends_on = ["setings"]')
    ]
    assert "s3cr3t" not in str(refused)
