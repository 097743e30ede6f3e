"""The specification's Python examples run as they are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from command_runs import GUARD_SECONDS
from trees import PluginTree

import dagstack_dev

GETTING = """
    from dagstack_dev import PluginRegistry

    registry = PluginRegistry()
    registry.discover("plugins/")
"""

LIFECYCLE = """
    import asyncio
    import logging

    from dagstack_dev import PluginContext, PluginRegistry

    async def main() -> None:
        registry = PluginRegistry()
        registry.discover("plugins/")

        ctx = PluginContext(
            config={},
            logger=logging.getLogger("app"),
            registry=registry,
        )
        await registry.setup_all(ctx)
        try:
            ...
        finally:
            await registry.teardown_all()

    asyncio.run(main())
"""

LOOKING_UP = """
    llm = registry.get_plugin("llm", name="openai_compatible")
    response = llm.complete(prompt="Explain dagstack in one paragraph.")
"""

ERRORS = """
    from dagstack_dev import PluginRegistry
    from dagstack_dev import ManifestInvalid, PluginRegistryError

    registry = PluginRegistry()
    try:
        registry.discover("plugins/")
    except ManifestInvalid as exc:
        print(f"Invalid manifest: {exc}")
        raise
    except PluginRegistryError:
        raise
"""

LLM = """
    class Plugin:
        def setup(self, ctx):
            print("setup")

        def teardown(self):
            print("teardown")

        def complete(self, prompt):
            return f"answer to {prompt}"
"""


def run_script(folder: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text("\n".join(dedent(part) for part in parts), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(dagstack_dev.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )


def test_a_registry_is_got_by_discover_and_hands_out_plugins(tree: PluginTree) -> None:
    tree.plugin("openai_compatible", kind="llm", code=LLM)
    done = run_script(tree.root.parent, GETTING, LOOKING_UP, "print(response)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "answer to Explain dagstack in one paragraph."


def test_the_lifecycle_example_sets_up_and_tears_down(tree: PluginTree) -> None:
    tree.plugin("openai_compatible", kind="llm", code=LLM)
    done = run_script(tree.root.parent, LIFECYCLE)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line in {"setup", "teardown"}]
    assert lines == ["setup", "teardown"]


def test_the_error_example_reports_an_invalid_manifest(tree: PluginTree) -> None:
    manifest = tree.write("broken/dagstack.toml", '[plugin]\nname = "broken"\n')
    done = run_script(tree.root.parent, ERRORS)
    assert done.returncode == 1
    assert "Invalid manifest: " in done.stdout
    assert str(manifest) in done.stdout
    assert "ManifestInvalid" in done.stderr
