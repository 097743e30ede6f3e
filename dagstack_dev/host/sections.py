"""What each plugin sees of the configuration, once it has been checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagstack_dev.core.errors.files import ConfigSectionInvalid
from dagstack_dev.core.secrets import remember, secrets_in
from dagstack_dev.host.config_schema import checked_section, class_schema
from dagstack_dev.host.context import PluginContext, plugin_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.host.entry import Entry, Offer


def section_of(entry: Entry, context: PluginContext) -> Mapping[str, Any]:
    """What `entry` sees of the configuration, checked, with defaults filled in.

    Raises:
        ConfigSectionInvalid: it does not fit the schema of the manifest or of the class.
        ManifestInvalid: the schema of the class is none.
    """
    section = plugin_config(context.config, entry.ref)
    remember(secrets_in(section))
    schemas = entry.offer.section_schema, class_schema(type(entry.instance), entry.ref)
    return checked_section(entry.ref, context.config, section, schemas)


def section_problem(offer: Offer, context: PluginContext) -> ConfigSectionInvalid | None:
    """Why the section of a plugin does not fit its manifest, as far as that says; else None."""
    if offer.section_schema is None:
        return None
    section = plugin_config(context.config, offer.ref)
    try:
        checked_section(offer.ref, context.config, section, [offer.section_schema])
    except ConfigSectionInvalid as error:
        return error
    return None
