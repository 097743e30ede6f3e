"""Methods of a plugin that cannot be called the way they are called (contract, section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagstack_dev.core.errors import PluginRegistryError

if TYPE_CHECKING:
    from dagstack_dev.core.refs import PluginRef


class SignatureMismatch(PluginRegistryError, TypeError):
    """A plugin's `setup` or `teardown` takes other arguments than it is given.

    Attributes:
        reason: what does not fit, and what to write.
    """

    ref: PluginRef
    reason: str
    path: str | None = None
    line: int | None = None

    template = "{ref}: {reason}"
