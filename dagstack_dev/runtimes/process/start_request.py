"""What a plugin's process gets when it starts: the code, the context, the surroundings."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from dagstack_dev.core.errors.remote import NotTransferable
from dagstack_dev.runtimes.process.transfer import pack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagstack_dev.core.ports import OwningContext
    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.code import CodeFile
    from dagstack_dev.runtimes.in_process.plugin_code import InProcessCode

_NOT_SERVICES: Final = frozenset({"config", "logger", "registry", "resources", "owner", "progress"})
"""Fields of a context that go another way, or nowhere."""


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What the process is to run.

    Attributes:
        code: the plugin's manifest and files.
        code_roots: folders with shared code.
        shared: the files of shared code as they run in the app.
        sys_path: where the app finds modules.
        config: the plugin's section, pickled.
        resources: what the manifest declares and the host offers, each pickled.
        services: the other fields of the context, each pickled, or the reason why it is not.
        has_progress: whether the context has a sink for progress.
        carry: what the plugin carries, each value pickled.
        log_level: of the root logger.
    """

    code: InProcessCode
    code_roots: tuple[str, ...]
    shared: tuple[CodeFile, ...]
    sys_path: tuple[str, ...]
    config: bytes
    resources: Mapping[str, bytes]
    services: Mapping[str, bytes | str]
    has_progress: bool
    carry: Mapping[str, bytes]
    log_level: int


def start_request(code: InProcessCode, context: OwningContext) -> StartRequest:
    """Return what a process gets that is to run `code` with `context`.

    Args:
        code: the plugin's manifest and files.
        context: of the plugin, in the app.

    Raises:
        NotTransferable: the configuration, a resource or what the plugin carries cannot go there.
    """
    ref = code.manifest.ref
    resources = context.resources
    declared = code.manifest.resources
    names = (*declared.required, *declared.optional)
    entries: list[object] = [*sys.path]  # As imports, which pass over anything but text.
    return StartRequest(
        code=code,
        code_roots=tuple(code.shared.roots),
        shared=tuple(code.shared.modules.files().values()),
        sys_path=tuple(each for each in entries if isinstance(each, str)),
        config=pack(dict(context.config), ref=ref, what="its configuration"),
        resources={
            name: pack(getattr(resources, name), ref=ref, what=f"the resource {name!r}")
            for name in filter(resources.__contains__, names)
        },
        services=_services(context, ref),
        has_progress=getattr(context, "progress", None) is not None,
        carry=pack_carry(context.carry, ref),
        log_level=logging.getLogger().getEffectiveLevel(),
    )


def pack_carry(carry: Mapping[str, Any], ref: PluginRef) -> dict[str, bytes]:
    """Return what a plugin carries, each value pickled."""
    return {key: pack(value, ref=ref, what=f"ctx.carry[{key!r}]") for key, value in carry.items()}


def _services(context: Any, ref: PluginRef) -> dict[str, bytes | str]:
    """Return whatever else the host has put into its context.

    A plugin need not use any of it, so what cannot go is no failure before it does.
    """
    found: dict[str, bytes | str] = {}
    for each in fields(context):
        value = getattr(context, each.name)
        if each.name in _NOT_SERVICES or value is None or not each.init:
            continue
        try:
            plain = dict(value) if each.name in {"metadata", "extras"} else value
            found[each.name] = pack(plain, ref=ref, what=f"ctx.{each.name}")
        except NotTransferable as error:
            found[each.name] = str(error)
    return found
