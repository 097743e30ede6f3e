"""What each plugin sees of the configuration, once it has been checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.config import ConfigDocument
from dagstack_dev.core.errors.files import ConfigSectionInvalid, ManifestProblem
from dagstack_dev.core.secrets import remember, secrets_in
from dagstack_dev.host.plugins.config_problems import Keys, dotted
from dagstack_dev.host.plugins.config_schema import SectionMisfit, class_schema
from dagstack_dev.host.services.context import PluginContext, plugin_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.host.plugins.config_schema import SectionSchema
    from dagstack_dev.host.plugins.entry import Entry, Offer

_UNKNOWN_FILE: Final = "<configuration>"


def section_of(entry: Entry, context: PluginContext) -> Mapping[str, Any]:
    """Return what `entry` sees of the configuration, checked, with defaults filled in.

    Raises:
        ConfigSectionInvalid: it does not fit the schema of the manifest or of the class.
        ManifestInvalid: the schema of the class is none.
    """
    section = plugin_config(context.config, entry.ref)
    remember(secrets_in(section))
    schemas = entry.offer.section_schema, class_schema(type(entry.instance), entry.ref)
    return checked_section(entry.ref, context.config, section, schemas)


def section_problem(offer: Offer, context: PluginContext) -> ConfigSectionInvalid | None:
    """Return why the section of a plugin does not fit its manifest, or None."""
    if offer.section_schema is None:
        return None
    section = plugin_config(context.config, offer.ref)
    try:
        checked_section(offer.ref, context.config, section, [offer.section_schema])
    except ConfigSectionInvalid as error:
        return error
    return None


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
    prefix: Keys = () if section is config else (ref.kind, ref.name)
    problems = []
    for keys, message in misfit.problems:
        full = (*prefix, *keys)
        named = [key for key in full if isinstance(key, str)]
        line = config.line_of(named) if isinstance(config, ConfigDocument) else None
        problems.append(ManifestProblem(dotted(full), message, line))
    path = config.path if isinstance(config, ConfigDocument) else _UNKNOWN_FILE
    return ConfigSectionInvalid(path, problems, ref)
