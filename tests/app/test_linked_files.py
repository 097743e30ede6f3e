"""Edits behind links to files are seen as soon as any, wherever the files lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import pytest
from installing import Installation, installation
from serving import Live, serving
from sharing import user
from trees import PluginTree

from dagstack_dev.core.events import ReloadCommitted, ReloadSkipped
from dagstack_dev.disk.reading import Stamp
from dagstack_dev.disk.snapshot import Snapshot

pytestmark = pytest.mark.usefixtures("imports_forgotten")

NEVER = 3600.0
"""Seconds between two sweeps, which would find everything in the end."""


CONFIGURED = """
class Plugin:
    def setup(self, ctx):
        self.number = ctx.config["number"]
"""


async def taken_over(live: Live, value: object) -> None:
    await live.fact(ReloadCommitted)
    live.forget()
    assert live.plugin("a").value() == value


def move_behind_a_link(path: Path, outside: Path) -> Path:
    """Let `path` be a link to what it was; the answer is where that lies now."""
    outside.mkdir(exist_ok=True)
    target = outside / path.name
    path.rename(target)
    path.symlink_to(target)
    return target


def rewrite(path: Path, text: str, *, at_once: bool) -> None:
    """Save in place, or by a file that takes the place."""
    target = path.with_name("new") if at_once else path
    target.write_text(text, encoding="utf-8")
    target.replace(path)


@pytest.mark.parametrize("at_once", [False, True], ids=["in place", "by a new file"])
async def test_an_edit_of_a_plugins_file_behind_a_link(
    tree: PluginTree, tmp_path: Path, at_once: bool
) -> None:
    path = tree.plugin("a") / "plugin.py"
    target = move_behind_a_link(path, tmp_path / "outside")
    async with serving(tree, sweep_seconds=NEVER) as live:
        for value in (2, 3):
            text = target.read_text(encoding="utf-8")
            rewrite(
                target, text.replace(f"VALUE = {value - 1}", f"VALUE = {value}"), at_once=at_once
            )
            await taken_over(live, value)
        assert not live.of(ReloadSkipped)


async def test_a_link_that_comes_while_the_server_runs(tree: PluginTree, tmp_path: Path) -> None:
    path = tree.plugin("a") / "plugin.py"
    async with serving(tree, sweep_seconds=NEVER) as live:
        target = move_behind_a_link(path, tmp_path / "outside")
        await live.settle()
        target.write_text(target.read_text().replace("VALUE = 1", "VALUE = 2"), encoding="utf-8")
        await taken_over(live, 2)


async def test_a_file_behind_a_link_that_goes_and_comes_back(
    tree: PluginTree, tmp_path: Path
) -> None:
    path = tree.write(tree.plugin("a") / "words.txt", "one")
    target = move_behind_a_link(path, tmp_path / "outside")
    async with serving(tree, sweep_seconds=NEVER) as live:
        target.unlink()
        await live.fact(ReloadCommitted)
        await live.settle()
        target.write_text("one")
        await live.fact(ReloadCommitted)


async def test_a_plugin_in_a_mounted_volume_that_is_swapped_as_a_whole(tmp_path: Path) -> None:
    tree = PluginTree(tmp_path / "volume" / "a")
    elsewhere = PluginTree(tmp_path / "elsewhere")

    def publish(value: int) -> None:
        release = tree.root / f"..2026_{value}"
        elsewhere.plugin("a", value=value).rename(release)
        (tree.root / "..data_tmp").symlink_to(release.name)
        (tree.root / "..data_tmp").replace(tree.root / "..data")

    publish(1)
    for name in ("dagstack.toml", "plugin.py"):
        (tree.root / name).symlink_to(f"..data/{name}")
    async with serving(tree, sweep_seconds=NEVER) as live:
        for value in (2, 3):
            publish(value)
            await taken_over(live, value)
            shutil.rmtree(tree.root / f"..2026_{value - 1}")
        await live.settle()
        assert live.plugin("a").value() == 3


async def test_an_edit_of_shared_code_behind_a_link(tree: PluginTree, tmp_path: Path) -> None:
    words = move_behind_a_link(tree.write("words.py", "WORD = 1\n"), tmp_path / "outside")
    user(tree, "a", "from words import WORD", "WORD")
    async with serving(tree, sweep_seconds=NEVER) as live:
        for word in (2, 3):
            words.write_text(f"WORD = {word}\n", encoding="utf-8")
            await taken_over(live, word)


async def test_a_strict_editable_installation_is_made_of_links(
    tree: PluginTree, tmp_path: Path
) -> None:
    """As setuptools makes it: a folder of links on `sys.path`, one for each file."""
    with installation(tmp_path / "it") as installed:
        home = _strict(installed)
        async with serving(tree, sweep_seconds=NEVER, entry_points="dagstack.plugins") as live:
            for value in (2, 3):
                plugin, helper = (home / name for name in ("plugin.py", "helper.py"))
                helper.write_text(f"VALUE = {value}\n", encoding="utf-8")
                await taken_over(live, (1, value))
                text = plugin.read_text(encoding="utf-8")
                plugin.write_text(text.replace("OWN = 1", f"OWN = {value}"), encoding="utf-8")
                await taken_over(live, (value, value))
                plugin.write_text(text, encoding="utf-8")
                await taken_over(live, (1, value))


async def test_after_a_start_with_plugins_by_name_nothing_is_looked_for_again(
    tree: PluginTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = anyio.Event()
    looks = 0
    stamps_of_links = Snapshot.stamps_of_links

    def count(self: Snapshot) -> dict[str, Stamp]:
        nonlocal looks
        looks += 1
        if looks == 3:
            looked.set()
        return stamps_of_links(self)

    monkeypatch.setattr(Snapshot, "stamps_of_links", count)
    with installation(tmp_path / "it") as installed:
        _strict(installed)
        async with serving(tree, sweep_seconds=NEVER, entry_points="dagstack.plugins") as live:
            live.forget()
            await looked.wait()
            await live.server.wait_idle()
            assert live.facts == []


def _strict(installed: Installation) -> Path:
    home = installed.package(
        "strict_one",
        {
            "strict_one/__init__.py": "",
            "strict_one/helper.py": "VALUE = 1\n",
            "strict_one/plugin.py": """
                from strict_one import helper
                OWN = 1
                class Plugin:
                    def value(self):
                        return OWN, helper.VALUE
                DAGSTACK_PLUGIN_MANIFEST = {
                    "name": "a", "kind": "demo", "core_version": ">=0.1",
                    "runtime": "in_process", "entry_point": "strict_one.plugin:Plugin",
                }
            """,
        },
        entry_points={"a": "strict_one.plugin"},
    )
    sources = home.with_name("sources")
    (home / "strict_one").rename(sources)
    (home / "strict_one").mkdir()
    for file in sources.iterdir():
        (home / "strict_one" / file.name).symlink_to(file)
    return sources


async def test_a_configuration_in_a_mounted_volume_that_is_swapped_as_a_whole(
    tree: PluginTree, tmp_path: Path
) -> None:
    """As Kubernetes does it: every file is a link through `..data`, which is pointed elsewhere."""
    volume = tmp_path / "volume"
    volume.mkdir()

    def publish(number: int) -> None:
        release = volume / f"..2026_{number}"
        release.mkdir()
        (release / "app.toml").write_text(f"[demo.a]\nnumber = {number}\n", encoding="utf-8")
        (volume / "..data_tmp").symlink_to(release.name)
        (volume / "..data_tmp").replace(volume / "..data")

    publish(1)
    (volume / "app.toml").symlink_to("..data/app.toml")
    tree.plugin("a", code=CONFIGURED)
    async with serving(tree, config_file=volume / "app.toml", sweep_seconds=NEVER) as live:
        assert live.plugin("a").number == 1
        for number in (2, 3):
            live.forget()
            publish(number)
            await live.fact(ReloadCommitted)
            assert live.plugin("a").number == number
            assert (volume / "app.toml").readlink() == Path("..data/app.toml")
