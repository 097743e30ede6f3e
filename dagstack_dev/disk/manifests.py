"""Which folders are plugins, and manifests that are read by themselves."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.parsing import parse_manifest
from dagstack_dev.core.manifest_forms import (
    EMBEDDED_NAMES,
    FORMS,
    LARGEST_MANIFEST,
    MANIFEST_NAME,
    MANIFEST_NAMES,
    manifest_among,
)
from dagstack_dev.disk.paths import read_regular, reason_of

if TYPE_CHECKING:
    from dagstack_dev.core.manifest.fields import PluginManifest


def is_plugin_folder(folder: str, names: Collection[str] | None = None) -> bool:
    """Return whether `folder` holds a manifest in one of its forms.

    Args:
        folder: an absolute path.
        names: those files of it that could be one, where they are known.
    """
    if names is None:
        names = {name for name in MANIFEST_NAMES if os.path.isfile(f"{folder}/{name}")}  # noqa: PTH113 - hot path
    if MANIFEST_NAME in names:
        return True

    def read(name: str) -> bytes | None:
        if name not in names:
            return None
        return _start_of(f"{folder}/{name}") if name in EMBEDDED_NAMES else b""

    return bool(names) and manifest_among(read) is not None


def _start_of(path: str) -> bytes | None:
    """Return what the file holds, up to more than any manifest may have."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - hot path
            return file.read(LARGEST_MANIFEST + 1)
    except OSError:
        return None


def load_manifest(path: str | os.PathLike[str]) -> PluginManifest:
    """Read and validate the manifest at `path`, or the one in force in the folder `path`.

    The file may be any of those that can hold one (contract, section 2): `dagstack.toml`,
    `dagstack_plugin.toml`, `dagstack.json`, `pyproject.toml` or `package.json`.

    Raises:
        ManifestInvalid: there is no such file, it cannot be read, or what it holds is not valid.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        found = [form.file_name for form in FORMS if is_plugin_folder(str(file), {form.file_name})]
        present = [name for name in found if (file / name).is_file()]
        if not present:
            message = f"holds no manifest; add a {MANIFEST_NAME}"
            raise ManifestInvalid.of(str(file), message)
        file /= present[0]
    try:
        data = read_regular(file)
    except OSError as error:
        message = f"cannot be read: {reason_of(error)}"
        raise ManifestInvalid.of(str(file), message) from error
    return parse_manifest(data, str(file))
