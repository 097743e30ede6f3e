"""Fetches the vendored files of the dev page, and holds them against their hashes; see `vendor`."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).resolve().parents[1] / "dagstack_dev" / "page" / "web" / "vendor"
TABLE = "VENDORED.toml"

HEAD = """\
# What the dev page loads and others have written: packages of the npm registry, and which of
# their files are here. `scripts/vendor` fetches them and writes this table, and `scripts/check`
# holds the files against it.
#
# integrity: of the package in the registry.
# from: the file in the package; it is here as it is there, but for the names that it imports by
#   (`imports`): a browser knows paths alone.
# sha256: of the file here.
"""


class Wrong(Exception):
    """A file or a package is not what the table says."""


def read_table(folder: Path = VENDOR) -> dict[str, Any]:
    """Return the table: what is noted of each package, by its name."""
    return tomllib.loads((folder / TABLE).read_text(encoding="utf-8"))


def check(folder: Path = VENDOR) -> None:
    """Hold the files in `folder` against the table.

    Raises:
        Wrong: one is not what it was when it was fetched, is missing, or is not in the table.
    """
    noted = {
        file: entry["sha256"]
        for package in read_table(folder).values()
        for file, entry in package["files"].items()
    }
    found = {each.name: _sha256(each.read_bytes()) for each in folder.iterdir()}
    del found[TABLE]
    wrong = sorted({name for name, _ in noted.items() ^ found.items()})
    if wrong:
        raise Wrong(
            f"{', '.join(wrong)}: not as in {TABLE}; scripts/vendor fetches the files again"
        )


def fetch(versions: dict[str, str], folder: Path = VENDOR) -> None:
    """Fetch all packages, and write their files and the table.

    Args:
        versions: of packages that are to have another one.
        folder: where the files and the table are.

    Raises:
        Wrong: a package is not the one that was fetched before, or lacks what we need.
    """
    table = read_table(folder)
    if unknown := versions.keys() - table.keys():
        raise Wrong(f"{', '.join(sorted(unknown))}: not in {TABLE}")
    for name, package in table.items():
        if versions.get(name, package["version"]) != package["version"]:
            package |= {"version": versions[name], "integrity": None}
        content = _packed(f"{name}@{package['version']}")
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"
        if package["integrity"] not in {None, integrity}:
            raise Wrong(f"{name} {package['version']} is not what it was when it was fetched")
        package["integrity"] = integrity
        files = _unpacked(content)
        package["licence"] = json.loads(files["package.json"])["license"]
        for file, entry in package["files"].items():
            text = files[entry["from"]].decode()
            for before, after in entry.get("imports", {}).items():
                if f'from"{before}"' not in text:
                    raise Wrong(f"{name}: {entry['from']} does not import {before!r}")
                text = text.replace(f'from"{before}"', f'from"{after}"')
            (folder / file).write_text(text, encoding="utf-8", newline="")
            entry["sha256"] = _sha256(text.encode())
    (folder / TABLE).write_text(_written(table), encoding="utf-8")


def _packed(wanted: str) -> bytes:
    """Return a package as the registry has it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", wanted, "--silent", "--ignore-scripts"]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        (packed,) = Path(folder).glob("*.tgz")
        return packed.read_bytes()


def _unpacked(content: bytes) -> dict[str, bytes]:
    """Return the files of a package, by their paths in it."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            return {
                each.name.partition("/")[2]: archive.extractfile(each).read()  # type: ignore[union-attr]
                for each in archive
                if each.isfile()
            }


def _written(table: dict[str, Any]) -> str:
    """Return the table as TOML; all values are strings without quotes."""
    parts = [HEAD]
    for name, package in table.items():
        lines = [f"[{name}]"]
        lines += [f'{key} = "{package[key]}"' for key in ("version", "licence", "integrity")]
        parts.append("\n".join(lines) + "\n")
        for file, entry in package["files"].items():
            lines = [f'[{name}.files."{file}"]', f'from = "{entry["from"]}"']
            if "imports" in entry:
                pairs = ", ".join(f'"{key}" = "{to}"' for key, to in entry["imports"].items())
                lines.append(f"imports = {{ {pairs} }}")
            lines.append(f'sha256 = "{entry["sha256"]}"')
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(arguments: list[str]) -> int:
    """Do what is asked for; see `scripts/vendor`."""
    try:
        if arguments == ["--check"]:
            check()
        elif all("@" in each[1:] for each in arguments):
            wanted = (each.rpartition("@") for each in arguments)
            fetch({name: version for name, _, version in wanted})
        else:
            print("usage: scripts/vendor [--check | NAME@VERSION...]", file=sys.stderr)
            return 2
    except Wrong as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
