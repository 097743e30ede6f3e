"""On whose behalf a plugin acts, and what that allows (contract, section 10)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class TenantAccessDenied(Exception):
    """The current tenant may not do this; raised by a host's `TenantContext`.

    No `PluginRegistryError`: it is about a request and not about the plugin.
    """


@runtime_checkable
class TenantContext(Protocol):
    """What the current tenant may do; asked by plugins before they touch what belongs to one."""

    def check_access(self, resource_kind: str, resource_id: str, action: str = "read") -> None:
        """Raise `TenantAccessDenied` when this may not be done; return when it may."""
        ...


class NoOpTenantContext:
    """Allows everything; for hosts that know no tenants."""

    def check_access(self, resource_kind: str, resource_id: str, action: str = "read") -> None:
        """Allow it."""
