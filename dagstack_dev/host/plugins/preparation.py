"""From a folder's bytes to a revision: everything that can be checked without running the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagstack_dev.core.errors.base import PluginRegistryError
from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.errors.registry import (
    AmbiguousPlugin,
    DependencyCycle,
    DependencyMissing,
    HookspecMissing,
    KindVersionIncompatible,
    RuntimeNotSupported,
    VersionIncompatible,
)
from dagstack_dev.core.hookspecs.kinds import NO_KINDS, Kinds
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.core.manifest.module import module_manifest
from dagstack_dev.core.manifest.parsing import line_in, parse_manifest
from dagstack_dev.core.secrets import remember, remember_environment, secrets_in
from dagstack_dev.host.plugins.config_schema import manifest_schema
from dagstack_dev.host.plugins.entry import Revision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.ports import Runtime
    from dagstack_dev.core.sources import PluginSource


_FIELDS: Final[dict[type, str]] = {
    AmbiguousPlugin: "depends_on",
    DependencyCycle: "depends_on",
    DependencyMissing: "depends_on",
    HookspecMissing: "kind",
    KindVersionIncompatible: "kind_api_version",
    RuntimeNotSupported: "runtime",
    VersionIncompatible: "core_version",
}
"""What in a manifest an error is about."""


def prepare(
    source: PluginSource,
    *,
    core_version: str,
    runtimes: Mapping[str, Runtime],
    kinds: Kinds,
    previous: Revision | None = None,
) -> Revision:
    """Parse and validate the manifest, gate version and runtime, compile the code.

    Args:
        source: the files.
        core_version: what the manifest's `core_version` has to accept.
        runtimes: those that there are, by name.
        kinds: those that the app has declared.
        previous: the revision that runs now, if any; what has not changed since is reused.

    Raises:
        ManifestInvalid: the manifest does not match the schema, or cannot be read, or its
            `config_schema` is none.
        VersionIncompatible: it excludes `core_version`.
        RuntimeNotSupported: it names no runtime of `runtimes`.
        HookspecMissing, KindVersionIncompatible: its kind is none of `kinds`, or another version.
        PluginLoadError: the code does not compile, or binds no such class.
    """
    if previous and previous.prepared and _say_the_same(previous.source, source):
        manifest = previous.manifest
    else:
        manifest = manifest_of(source)
    try:
        check_gates(manifest, core_version, runtimes, source.manifest_path, kinds)
    except (HookspecMissing, RuntimeNotSupported, VersionIncompatible) as error:
        locate(error, source)
        raise
    runtime = next(runtimes[name] for name in manifest.possible_runtimes if name in runtimes)
    known = previous or Revision(manifest)
    schema = manifest_schema(manifest, source)
    return Revision(manifest, runtime.prepare(manifest, source, known.prepared), source, schema)


def _say_the_same(one: PluginSource | None, other: PluginSource) -> bool:
    return (
        one is not None
        and one.module == other.module
        and one.manifest_path == other.manifest_path
        and one.manifest == other.manifest is not None
    )


def manifest_of(source: PluginSource) -> PluginManifest:
    """Return the manifest of a plugin, parsed and validated.

    Raises:
        ManifestInvalid: it does not match the schema, or cannot be read.
    """
    if source.module is not None:
        return module_manifest(source)
    file = source.manifest
    if file is None or file.content is None:
        reason = file.error if file and file.error else "the file is gone"
        raise ManifestInvalid.of(source.manifest_path, f"cannot be read: {reason}")
    return parse_manifest(file.content, source.manifest_path)


def check_gates(
    manifest: PluginManifest,
    core_version: str,
    runtimes: Mapping[str, Runtime],
    path: str | None,
    kinds: Kinds = NO_KINDS,
) -> None:
    """Refuse a plugin that this core may not or cannot run (contract, section 4).

    Args:
        manifest: what the plugin asks for.
        core_version: the version of this core.
        runtimes: those that there are, by name.
        path: of the manifest, for the error; None if it is in no file.
        kinds: those that the app has declared.

    Raises:
        VersionIncompatible: the manifest excludes `core_version`.
        RuntimeNotSupported: it names no runtime of `runtimes`.
        HookspecMissing, KindVersionIncompatible: its kind is none of `kinds`, or another version.
    """
    _remember_secrets(manifest)
    kinds.check(manifest, path)
    if not manifest.accepts_core(core_version):
        raise VersionIncompatible(manifest.ref, manifest.core_version, core_version, path)
    if not any(name in runtimes for name in manifest.possible_runtimes):
        raise RuntimeNotSupported(manifest.ref, manifest.possible_runtimes, list(runtimes), path)


def locate(error: PluginRegistryError, source: PluginSource | None) -> None:
    """Have `error` name the line of the manifest that it is about, if there is one.

    Args:
        error: about what the manifest in `source` declares.
        source: what was read of the plugin that is `error.ref`; None where nothing was.
    """
    field = _FIELDS.get(type(error))
    if field is None or source is None or source.manifest is None:
        return
    if isinstance(error, AmbiguousPlugin) and error.paths:
        return  # It is about folders.
    name = error.missing[0] if isinstance(error, DependencyMissing) else ""
    error.path, error.line = source.manifest_path, line_in(source, field, name)


def _remember_secrets(manifest: PluginManifest) -> None:
    """From now on they are masked wherever they occur, as in what a server says of itself."""
    table_env = manifest.mcp_stdio.env if manifest.mcp_stdio else {}
    remember_environment({**manifest.env, **table_env})
    remember((*manifest.auth.values(), *secrets_in(manifest.metadata)))
