"""What each plugin sees of the configuration, once it has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.config import ConfigDocument, header
from dagstack_dev.core.errors.files import ConfigSectionInvalid, ManifestProblem
from dagstack_dev.core.secrets import remember, secrets_in
from dagstack_dev.host.plugins.config_schema import Keys, SectionMisfit, class_schema, dotted
from dagstack_dev.host.services.context import PluginContext, plugin_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.config_schema import SectionSchema
    from dagstack_dev.host.plugins.entry import Entry, Revision

_UNKNOWN_FILE: Final = "<configuration>"


def section_of(entry: Entry, context: PluginContext) -> Mapping[str, Any]:
    """Return what `entry` sees of the configuration, checked, with defaults filled in.

    Raises:
        ConfigSectionInvalid: it does not fit the schema of the manifest or of the class.
        ManifestInvalid: the schema of the class is none.
    """
    section = _seen(entry.ref, context.config)
    remember(secrets_in(section))
    schemas = entry.revision.section_schema, class_schema(type(entry.instance), entry.ref)
    return checked_section(entry.ref, context.config, section, schemas)


def section_problem(revision: Revision, config: Mapping[str, Any]) -> ConfigSectionInvalid | None:
    """Return why the section of a plugin in `config` does not fit its manifest, or None."""
    try:
        section = _seen(revision.ref, config)
        checked_section(revision.ref, config, section, [revision.section_schema])
    except ConfigSectionInvalid as error:
        return error
    return None


def _seen(ref: PluginRef, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what `ref` sees of `config`.

    Raises:
        ConfigSectionInvalid: what stands in the place of its section is no table.
    """
    tables = config.get(ref.kind)
    own = tables.get(ref.name, {}) if isinstance(tables, Mapping) else {}
    if not isinstance(own, Mapping):
        words = f"is no table; write {header(ref)}, and below it a line for each setting"
        raise _section_invalid(ref, config, {}, SectionMisfit([((), words)]))
    return plugin_config(config, ref)


def checked_section(
    ref: PluginRef,
    config: Mapping[str, Any],
    section: Mapping[str, Any],
    schemas: Iterable[SectionSchema | None],
) -> Mapping[str, Any]:
    """Return the section of `ref`, with the defaults of all `schemas` filled in.

    Args:
        ref: the plugin.
        config: the host's configuration.
        section: what `ref` sees of it.
        schemas: what to hold it against, one after the other.

    Raises:
        ConfigSectionInvalid: with everything that does not fit the first schema that it misses.
    """
    found = section
    for schema in schemas:
        if schema is not None:
            try:
                found = schema.filled(found)
            except SectionMisfit as misfit:
                raise _section_invalid(ref, config, section, misfit) from misfit.__cause__
    return found


def _section_invalid(
    ref: PluginRef,
    config: Mapping[str, Any],
    section: Mapping[str, Any],
    misfit: SectionMisfit,
) -> ConfigSectionInvalid:
    is_flat = section is config and bool(config)
    prefix: Keys = () if is_flat else (ref.kind, ref.name)
    problems = []
    for keys, message in misfit.problems:
        full = (*prefix, *keys)
        named = [key for key in full if isinstance(key, str)]
        line = config.line_of(named) if isinstance(config, ConfigDocument) else None
        problems.append(ManifestProblem(dotted(full), message, line))
    path = config.path if isinstance(config, ConfigDocument) else _UNKNOWN_FILE
    return ConfigSectionInvalid(path, problems, ref)
