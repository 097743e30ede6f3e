"""Which plugin's code runs here, in which reload, and which plugins a call comes from."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from structlog.contextvars import bind_contextvars

from dagstack_dev.core.blame import current_module
from dagstack_dev.core.frames import callers
from dagstack_dev.host.loop.stacks import gate_of

if TYPE_CHECKING:
    from types import FrameType

    from dagstack_dev.core.refs import PluginRef

current_plugin: ContextVar[PluginRef | None] = ContextVar("dagstack_current_plugin", default=None)
"""The plugin whose import, setup or teardown runs, or whose task this is; None outside of any."""

current_reload: ContextVar[int | None] = ContextVar("dagstack_current_reload", default=None)
"""The reload that runs here; None outside of any, and in all that a plugin does by itself."""


def become_plugin(ref: PluginRef, module: str | None = None) -> None:
    """Do the rest of the running task or context on behalf of `ref`, logging included.

    Args:
        ref: the plugin.
        module: the one that its class comes from, where that is known; imports count for it.
    """
    current_plugin.set(ref)
    current_reload.set(None)
    if module is not None:
        current_module.set(module)
    bind_contextvars(plugin=str(ref))


def plugins_calling(frame: FrameType | None) -> list[PluginRef]:
    """Return the plugins that a call comes from, whose caller is `frame`, the innermost first.

    Those with a forwarding method further up the stack, for they are in flight themselves, and
    whose lifecycle or task it is.
    """
    gates = (gate_of(each) for each in callers(frame))
    found: dict[PluginRef, None] = {gate.ref: None for gate in gates if gate is not None}
    own = current_plugin.get()
    return [*found] if own is None else [*found, own]
