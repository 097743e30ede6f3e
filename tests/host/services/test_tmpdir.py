"""The standard resource `tmpdir`."""

from __future__ import annotations

import logging
import pickle
import tempfile
from pathlib import Path

import anyio
import pytest

from dagstack_dev import (
    FolderTmpDir,
    PluginContext,
    PluginRef,
    PluginRegistry,
    SystemTmpDir,
    TeardownErrors,
    TmpDir,
)

REF = PluginRef("llm", "openai")


@pytest.fixture(autouse=True)
def system_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the system would offer for temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_it_is_made_when_it_is_first_used_and_removed_in_the_end(system_folder: Path) -> None:
    folder = SystemTmpDir(REF)
    assert not [*system_folder.iterdir()]
    path = folder.path
    assert isinstance(folder, TmpDir)  # Before Python 3.12 this look alone is a use.
    assert path.name.startswith("dagstack-llm-openai-")
    assert folder.path == path
    folder.create_file("a/b.txt", "text")
    await folder.aclose()
    assert not [*system_folder.iterdir()]
    with pytest.raises(RuntimeError, match="llm/openai has been torn down"):
        folder.path  # noqa: B018
    await folder.aclose()


async def test_one_that_was_never_used_never_was(system_folder: Path) -> None:
    folder = SystemTmpDir(REF)
    await folder.aclose()
    assert not [*system_folder.iterdir()]
    with pytest.raises(RuntimeError):
        folder.create_file()


async def test_a_teardown_whose_time_is_up_leaves_none_behind(system_folder: Path) -> None:
    class Holds:
        async def setup(self, ctx: PluginContext) -> None:
            ctx.resources.tmpdir.create_file("a.txt", "text")
            ctx.callback(anyio.sleep_forever)

    registry = PluginRegistry()
    registry.resources.register_standard()
    manifest = {
        "name": "holds",
        "kind": "demo",
        "core_version": ">=0.1",
        "runtime": "in_process",
        "entry_point": "plugin:Holds",
        "resources": {"required": ["tmpdir"]},
        "teardown_timeout_sec": 1,
    }
    registry.register_manifest(manifest, Holds())
    await registry.setup_all(
        PluginContext(config={}, logger=logging.getLogger(), registry=registry)
    )
    assert len([*system_folder.iterdir()]) == 1
    with pytest.raises(TeardownErrors, match="callback sleep_forever"):
        await registry.teardown_all()
    assert not [*system_folder.iterdir()]


def test_files_with_names_and_without(tmp_path: Path) -> None:
    folder = FolderTmpDir(tmp_path / "mine")
    assert folder.create_file("a.txt", "grün").read_text("utf-8") == "grün"
    assert folder.create_file("sub/a.bin", b"\x00").read_bytes() == b"\x00"
    assert folder.create_file().read_bytes() == b""
    assert folder.create_file() != folder.create_file()
    assert {path.parent for path in (folder.create_file(), folder.create_subdir())} == {folder.path}
    assert folder.create_subdir("deep/er").is_dir()


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/out", ".", ""])
def test_no_name_leads_out_of_it(tmp_path: Path, name: str) -> None:
    folder = FolderTmpDir(tmp_path / "mine")
    for create in (folder.create_file, folder.create_subdir):
        with pytest.raises(ValueError, match="not a name inside"):
            create(name)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    folder = FolderTmpDir(tmp_path)
    folder.create_file("a", "first")
    for create in (folder.create_file, folder.create_subdir):
        with pytest.raises(FileExistsError):
            create("a")
    assert (tmp_path / "a").read_text() == "first"


async def test_another_process_gets_the_folder_and_leaves_it_alone() -> None:
    folder = SystemTmpDir(REF)
    copy = pickle.loads(pickle.dumps(folder))
    assert isinstance(copy, FolderTmpDir)
    assert copy.path == folder.path
    del copy
    assert folder.path.is_dir()
    await folder.aclose()
