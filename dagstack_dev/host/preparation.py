"""From a folder's bytes to an offer: everything that can be checked without running the code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors import (
    ManifestInvalid,
    ManifestProblem,
    RuntimeNotSupported,
    VersionIncompatible,
)
from dagstack_dev.core.manifest import PluginManifest, parse_manifest
from dagstack_dev.host.table import Offer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.ports import Runtime
    from dagstack_dev.core.sources import PluginSource


def prepare(
    source: PluginSource,
    *,
    core_version: str,
    runtimes: Mapping[str, Runtime],
    previous: Offer | None = None,
) -> Offer:
    """Parse and validate the manifest, gate version and runtime, compile the code.

    `previous` is the offer that runs now, if any: what has not changed since is reused.

    Raises:
        ManifestInvalid: the manifest does not match the schema, or cannot be read.
        VersionIncompatible: it excludes `core_version`.
        RuntimeNotSupported: it names no runtime of `runtimes`.
        PluginLoadError: the code does not compile, or binds no such class.
    """
    file = source.manifest
    if file is None or file.content is None:
        reason = file.error if file and file.error else "the file is gone"
        problem = ManifestProblem("", f"cannot be read: {reason}")
        raise ManifestInvalid(source.manifest_path, [problem])
    if previous and previous.prepared and previous.source and previous.source.manifest == file:
        manifest = previous.manifest
    else:
        manifest = parse_manifest(file.content, source.manifest_path)
    check_gates(manifest, core_version, runtimes, source.manifest_path)
    runtime = next(runtimes[name] for name in manifest.runtime if name in runtimes)
    known = previous.prepared if previous else None
    return Offer(manifest, runtime.prepare(manifest, source, known), source)


def check_gates(
    manifest: PluginManifest,
    core_version: str,
    runtimes: Mapping[str, Runtime],
    path: str | None,
) -> None:
    """Whether this core may and can run the plugin.

    Raises:
        VersionIncompatible: the manifest excludes `core_version`.
        RuntimeNotSupported: it names no runtime of `runtimes`.
    """
    if not manifest.accepts_core(core_version):
        raise VersionIncompatible(manifest.ref, manifest.core_version, core_version, path)
    if not any(name in runtimes for name in manifest.runtime):
        raise RuntimeNotSupported(manifest.ref, manifest.runtime, list(runtimes), path)
