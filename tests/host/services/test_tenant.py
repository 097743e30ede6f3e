"""On whose behalf a plugin acts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dagstack_dev import (
    NoOpTenantContext,
    PluginContext,
    PluginRegistryError,
    TenantAccessDenied,
    TenantContext,
)


class ReadOnly:
    """A host's own."""

    def check_access(self, resource_kind: str, resource_id: str, action: str = "read") -> None:
        if action != "read":
            raise TenantAccessDenied(f"{resource_kind} {resource_id}: {action}")


def test_a_host_that_knows_no_tenants_allows_everything(ctx: PluginContext) -> None:
    tenant = ctx.tenant_or_default()
    assert isinstance(tenant, NoOpTenantContext)
    assert isinstance(tenant, TenantContext)
    tenant.check_access("document", "42")
    tenant.check_access("document", "42", action="delete")


async def test_a_plugin_asks_the_tenant_of_the_host(
    ctx: PluginContext, put: Callable[..., Any], registry: Any
) -> None:
    class Asking:
        def setup(self, ctx: PluginContext) -> None:
            self.tenant = ctx.tenant_or_default()

    proxy = put(Asking())
    tenant = ReadOnly()
    await registry.setup_all(replace(ctx, tenant=tenant))
    assert proxy.tenant is tenant
    with pytest.raises(TenantAccessDenied, match="document 42: delete"):
        proxy.tenant.check_access("document", "42", action="delete")
    await registry.teardown_all()


def test_it_is_no_error_of_the_registry() -> None:
    assert not issubclass(TenantAccessDenied, PluginRegistryError)


def test_metadata_cannot_be_changed(ctx: PluginContext) -> None:
    given = {"tenant_id": "t"}
    context = replace(ctx, metadata=given)
    given["tenant_id"] = "other"
    assert context.metadata == {"tenant_id": "t"}
    with pytest.raises(TypeError):
        context.metadata["tenant_id"] = "other"  # type: ignore[index]
    assert replace(context, config={}).metadata is context.metadata
