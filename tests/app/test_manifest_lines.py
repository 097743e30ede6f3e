"""What is wrong between plugins, or with this core, is told with the line of the manifest."""

from __future__ import annotations

import pytest
from serving import ref, serving
from trees import PluginTree

from dagstack_dev.core.errors.base import PluginRegistryError


@pytest.mark.parametrize(
    ("depends_on", "old", "new", "line", "says"),
    [
        ('\n"b",\n"nothing",\n', "", "", 9, "'nothing', which does not exist"),
        ('\n{ kind = "x", name = "y" },\n', "", "", 8, "'x/y', which does not exist"),
        ('"one"', "", "", 7, "depends on itself; remove it from depends_on"),
        ('"b"', '["b"]', '"b"', 7, 'must be an array of plugin names: ["b"]'),
        ("", ">=0.1.0,<1.0.0", ">=9", 4, 'write for example core_version = ">=0.4,<1"'),
        ("", '"in_process"', '"wasm"', 5, "runs in wasm"),
        ("", "plugin:Plugin", "plugin:Other", 6, "no class 'Other' (found: Plugin)"),
        ("", "plugin:Plugin", "main:Plugin", 6, "there is no main.py"),
    ],
)
async def test_a_rejected_edit_names_the_line_of_the_manifest(
    tree: PluginTree, depends_on: str, old: str, new: str, line: int, says: str
) -> None:
    tree.plugin("b")
    path = tree.plugin("one") / "dagstack.toml"
    good = path.read_text(encoding="utf-8")
    async with serving(tree) as live:
        bad = good.replace("depends_on = []", f"depends_on = [{depends_on}]").replace(old, new, 1)
        path.write_text(bad, encoding="utf-8")
        await live.settle()
        error = live.status("one").error
        assert isinstance(error, PluginRegistryError)
        assert says in str(error)
        assert (error.path, error.line) == (str(path), line)
        assert live.status("one").state == "ready"
        assert error.ref == ref("one")
