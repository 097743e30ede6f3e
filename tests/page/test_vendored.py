"""What the dev page has vendored is what it was when it was fetched; and what is ours is neat."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

from dagstack_dev.page.serving import WEB
from scripts import vendoring

TABLE = """
[small]
version = "0"
[small.files."small.js"]
from = "dist/small.mjs"
imports = { large = "./large.js" }
"""


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """A copy of the vendored files."""
    return Path(shutil.copytree(vendoring.VENDOR, tmp_path / "vendor"))


def test_the_files_are_as_they_were_fetched(vendor: Path) -> None:
    vendoring.check(vendor)


def test_a_file_that_was_edited_added_or_removed_is_named(vendor: Path) -> None:
    (vendor / "htm.js").write_text("export default null")
    (vendor / "more.js").touch()
    (vendor / "preact.LICENSE").unlink()
    with pytest.raises(vendoring.Wrong, match=r"^htm\.js, more\.js, preact\.LICENSE: not as"):
        vendoring.check(vendor)


class Registry(NamedTuple):
    """Packages of the name `small`, by their versions."""

    folder: Path

    def publish(self, version: str, code: str) -> None:
        with tarfile.open(self.folder / f"small@{version}.tgz", "w:gz") as archive:
            for name, text in (("package.json", '{"license": "MIT"}'), ("dist/small.mjs", code)):
                file = tarfile.TarInfo(f"package/{name}")
                file.size = len(text)
                archive.addfile(file, io.BytesIO(text.encode()))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry of the test's own, and an `npm` that knows no other."""
    registry = Registry(tmp_path / "registry")
    registry.folder.mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f'#!/bin/sh\nexec cp "{registry.folder}/$2.tgz" .\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=os.pathsep)
    return registry


def test_what_is_fetched_is_noted_and_has_to_stay_what_it_was(
    registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    table = folder / "VENDORED.toml"
    table.write_text(TABLE)
    registry.publish("1", 'import{a}from"large";export{a};')
    vendoring.fetch({"small": "1"}, folder)
    assert (folder / "small.js").read_text() == 'import{a}from"./large.js";export{a};'
    vendoring.check(folder)
    noted = vendoring.read_table(folder)["small"]
    assert (noted["version"], noted["licence"]) == ("1", "MIT")
    registry.publish("2", 'import{b}from"large";export{b};')
    vendoring.fetch({"small": "2"}, folder)
    vendoring.check(folder)
    assert vendoring.read_table(folder)["small"]["integrity"] != noted["integrity"]
    text = table.read_text()
    vendoring.fetch({}, folder)
    assert table.read_text() == text
    registry.publish("2", 'import{evil}from"large";export{evil};')
    with pytest.raises(vendoring.Wrong, match="small 2 is not what it was"):
        vendoring.fetch({}, folder)
    registry.publish("3", "export const a = 1;")
    with pytest.raises(vendoring.Wrong, match="does not import 'large'"):
        vendoring.fetch({"small": "3"}, folder)
    with pytest.raises(vendoring.Wrong, match="tiny: not in VENDORED"):
        vendoring.fetch({"tiny": "1"}, folder)
    vendoring.check(folder)


def test_every_package_brings_its_licence_and_imports_only_what_is_there() -> None:
    for name, package in vendoring.read_table().items():
        assert f"{name}.LICENSE" in package["files"]
        for file in package["files"]:
            text = (vendoring.VENDOR / file).read_text()
            for imported in re.findall(r"\bfrom ?[\"']([^\"']+)", text) * file.endswith(".js"):
                assert (vendoring.VENDOR / imported).is_file()


def test_what_is_not_vendored_has_lines_of_100_characters_at_most() -> None:
    """As the rest of the code, which ruff holds to it."""
    own = [path for path in WEB.rglob("*.*s") if "vendor" not in path.parts]
    assert WEB / "main.js" in own
    lines = {path: path.read_text(encoding="utf-8").splitlines() for path in own}
    assert [(path.name, each) for path in own for each in lines[path] if len(each) > 100] == []
