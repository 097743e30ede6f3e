"""The examples of docs/shared-code.md do what it says."""

from __future__ import annotations

import re
from pathlib import Path

from serving import edit, serving
from trees import PluginTree

PAGE = (Path(__file__).parents[2] / "docs" / "shared-code.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```python\n# plugins/([\w/]+\.py)\n(.*?)```", PAGE, re.DOTALL))


async def test_the_parrot_says_the_new_word(tree: PluginTree) -> None:
    tree.plugin("parrot", code=BLOCKS["parrot/plugin.py"].replace("Parrot", "Plugin"))
    tree.plugin("other")
    for path, text in BLOCKS.items():
        if path.startswith("helpers/"):
            tree.write(path, text)
    async with serving(tree) as live:
        assert live.plugin("parrot").say() == "old"
        edit(tree.root / "helpers/words.py", "old", "new")
        await live.settle()
        assert live.plugin("parrot").say() == "new"
        assert live.affected == {"parrot"}
