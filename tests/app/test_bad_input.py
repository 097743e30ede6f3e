"""Files that nobody can use: they are told, end nothing, and hold up nothing."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installing import Installation, installation
from serving import serving
from trees import PluginTree

from dagstack_dev import ManifestInvalid
from dagstack_dev.app.hookspec_files import read_hookspecs
from dagstack_dev.core.errors.files import ConfigInvalid, HookspecsInvalid
from dagstack_dev.core.events import PluginRejected, WatchProblem
from dagstack_dev.disk.manifests import load_manifest

DIGITS = b"9" * 5_000
DEEP = b"[" * 30_000 + b"]" * 30_000


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _writes(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


BAD_TOML = {
    "digits": (_writes(b"x = " + DIGITS), "Exceeds the limit"),
    "nested": (_writes(b"x = " + DEEP), "nested too deeply"),
    "dotted": (_writes(b"a." * 30_000 + b"a = 1"), "nested too deeply"),
    "bytes": (_writes(b"x = 1\n\xff"), "not UTF-8"),
    "pipe": (_pipe, "no regular file"),
}


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path) as made:
        yield made


@pytest.mark.parametrize(("spoil", "message"), BAD_TOML.values(), ids=BAD_TOML)
async def test_a_configuration_that_cannot_be_used_is_reported_and_changes_nothing(
    tree: PluginTree, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[demo.one]\nport = 1\n")
    tree.plugin(
        "one", code="class Plugin:\n    def setup(self, ctx): self.port = ctx.config['port']\n"
    )
    async with serving(tree, config_file=config) as live:
        spoil(config)
        await live.settle()
        [rejected] = live.of(PluginRejected)
        assert message in str(rejected.error)
        assert live.plugin("one").port == 1
        config.unlink()
        config.write_text("[demo.one]\nport = 2\n")
        await live.settle()
        assert live.plugin("one").port == 2


@pytest.mark.parametrize(("spoil", "message"), BAD_TOML.values(), ids=BAD_TOML)
async def test_such_a_configuration_at_the_start_is_an_error(
    tree: PluginTree, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path / "config.toml")
    with pytest.raises(ConfigInvalid, match=message):
        async with serving(tree, config_file=tmp_path / "config.toml"):
            pass


@pytest.mark.parametrize(("spoil", "message"), BAD_TOML.values(), ids=BAD_TOML)
def test_such_a_manifest_is_an_error(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path / "dagstack.toml")
    with pytest.raises(ManifestInvalid, match=message):
        load_manifest(tmp_path / "dagstack.toml")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_writes(b"kind: x\nhooks: " + DEEP), "cannot be parsed|nested"),
        (_writes(b"kind: \xff"), "not UTF-8"),
        (_pipe, "no regular file"),
        (
            _writes(
                b"a: &a [1]\n"
                + b"".join(
                    b"%c: &%c [%s]\n" % (n + 1, n + 1, b", ".join([b"*%c" % n] * 9))
                    for n in range(97, 121)
                )
            ),
            "unknown key",
        ),
    ],
)
def test_such_hookspecs_are_an_error(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path / "kinds.yaml")
    with pytest.raises(HookspecsInvalid, match=message):
        read_hookspecs(tmp_path / "kinds.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DEEP, "nested too deeply"),
        (b" " * 100_000, "64 KiB at most"),
        (b'{"not": ' * 900 + b"{}" + b"}" * 900, "no valid JSON Schema: Recursion limit"),
        (b'{"minimum": ' + DIGITS + b"}", "Exceeds the limit"),
    ],
)
async def test_a_schema_file_without_end_is_a_rejected_manifest(
    tree: PluginTree, content: bytes, message: str
) -> None:
    folder = tree.plugin("one", manifest='config_schema = "schema.json"\n')
    (folder / "schema.json").write_text("{}")
    async with serving(tree) as live:
        kept = live.instance("one")
        (folder / "schema.json").write_bytes(content)
        await live.settle()
        [rejected] = live.of(PluginRejected)
        assert message in str(rejected.error)
        assert live.instance("one") is kept


MANIFEST = """
DAGSTACK_PLUGIN_MANIFEST = {
    "name": "good", "kind": "demo", "core_version": ">=0.1",
    "runtime": "in_process", "entry_point": "good:Good",
}
class Good: pass
"""


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.exit(3)\n",
        "raise BaseException('odd')\n",
        "def manifest():\n    raise SystemExit\n",
        "def __getattr__(name):\n    raise OSError(name)\n",
        "class Odd:\n    def model_dump(self, **_):\n        raise OSError\n\n\nmanifest = Odd()\n",
    ],
)
async def test_an_installed_plugin_whose_import_raises_anything_is_left_out(
    installed: Installation, tree: PluginTree, code: str
) -> None:
    installed.package("bad", {"bad.py": code}, entry_points={"bad": "bad:manifest"})
    installed.package("good", {"good.py": MANIFEST}, entry_points={"good": "good"})
    async with serving(tree, entry_points="dagstack.plugins") as live:
        assert live.states == {"good": "ready"}
        [problem] = live.of(WatchProblem)
        assert problem.path == "entry point bad = bad:manifest"


async def test_an_installed_plugin_in_a_zip_is_left_out(
    installed: Installation, tree: PluginTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "odd.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("zipped.py", MANIFEST.replace("good", "zipped"))
        made.writestr("zipped-1.0.dist-info/METADATA", "Name: zipped\nVersion: 1.0\n")
        made.writestr("zipped-1.0.dist-info/entry_points.txt", "[dagstack.plugins]\nz = zipped\n")
        made.writestr("pack/__init__.py", MANIFEST.replace("good", "pack"))
        made.writestr("pack-1.0.dist-info/METADATA", "Name: pack\nVersion: 1.0\n")
        made.writestr("pack-1.0.dist-info/entry_points.txt", "[dagstack.plugins]\np = pack\n")
    monkeypatch.syspath_prepend(archive)
    installed.package("good", {"good.py": MANIFEST}, entry_points={"good": "good"})
    async with serving(tree, entry_points="dagstack.plugins") as live:
        assert live.states == {"good": "ready"}
        assert [each.message for each in live.of(WatchProblem)] == [
            f"is left out: found no Python file of a module {name!r} in a folder"
            for name in ("pack", "zipped")
        ]
