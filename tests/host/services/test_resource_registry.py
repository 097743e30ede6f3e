"""What the host offers: standard resources, one for each plugin, and what wraps them."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from dagstack_dev import (
    STANDARD_RESOURCES,
    BlobStore,
    Clock,
    HttpClient,
    PluginContext,
    PluginRef,
    PluginRegistry,
    PluginUnavailable,
    ResourceRegistry,
    ResourceRequest,
    Resources,
    Rng,
    SystemClock,
    TmpDir,
    derive_context_for_plugin,
    inject_resources,
)
from dagstack_dev.core.manifest.fields import PluginManifest
from dagstack_dev.host.services import http

Put = Callable[..., Any]


class Keeping:
    """Keeps its resources."""

    resources: Any

    def setup(self, ctx: PluginContext) -> None:
        self.resources = ctx.resources


def manifest(**resources: list[str]) -> PluginManifest:
    return PluginManifest.model_validate(
        {
            "name": "it",
            "kind": "demo",
            "core_version": ">=0.1",
            "runtime": "in_process",
            "entry_point": "plugin:Plugin",
            "resources": resources,
        }
    )


async def test_the_standard_resources_are_what_they_are_called() -> None:
    registry = ResourceRegistry()
    registry.register_standard()
    assert set(registry.names()) == set(STANDARD_RESOURCES)
    container = inject_resources(manifest(required=[*STANDARD_RESOURCES]), registry)
    protocols = {
        "clock": Clock,
        "rng": Rng,
        "blob_store": BlobStore,
        "http_client": HttpClient,
        "tmpdir": TmpDir,
    }
    assert isinstance(container, Resources)
    assert all(isinstance(getattr(container, name), kind) for name, kind in protocols.items())
    await container.tmpdir.aclose()  # Before Python 3.12 the check has made its folder.


@pytest.mark.parametrize("name", sorted({*STANDARD_RESOURCES} - {"tmpdir"}))
def test_a_standard_resource_can_be_sent_to_another_process(name: str) -> None:
    registry = ResourceRegistry()
    registry.register_standard()
    mine = getattr(inject_resources(manifest(required=[name]), registry), name)
    copy = pickle.loads(pickle.dumps(mine))
    public = {each for each in dir(mine) if not each.startswith("_")} - {"aclose"}
    assert public <= set(dir(copy))


def test_what_the_host_has_registered_stays() -> None:
    registry, mine = ResourceRegistry(), object()
    registry.register("clock", mine)
    registry.register_factory("tmpdir", lambda request: "mine")
    registry.register_standard()
    registry.register_standard()
    assert registry.get("clock") is mine
    container = inject_resources(manifest(required=["tmpdir"]), registry)
    assert container.tmpdir == "mine"


@pytest.mark.parametrize(
    ("name", "todo"),
    [
        ("clock", r"call registry\.resources\.register_standard\(\)"),
        ("http_client", r'it needs httpx: pip install "httpx>=0\.27,<1"'),
        ("cash", r"call registry\.resources\.register\('cash', \.\.\.\)"),
    ],
)
def test_a_resource_that_is_missing_comes_with_what_to_do(
    name: str, todo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "find_spec", lambda name: None)
    with pytest.raises(PluginUnavailable, match=todo):
        inject_resources(manifest(required=[name]), ResourceRegistry())


def test_without_httpx_its_client_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "find_spec", lambda name: None)
    registry = ResourceRegistry()
    registry.register_standard()
    assert "http_client" not in registry
    assert inject_resources(manifest(optional=["http_client"]), registry).http_client is None


class Pool:
    """Makes a connection for each plugin and notes what becomes of it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def __call__(self, request: ResourceRequest) -> str:
        return request.enter(self.connected(request.ref))

    @contextmanager
    def connected(self, ref: PluginRef) -> Iterator[str]:
        self.log.append(f"open {ref.name}")
        try:
            yield f"connection of {ref.name}"
        finally:
            self.log.append(f"closed {ref.name}")


async def test_a_factory_makes_one_for_each_plugin_which_ends_with_it(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    pool = Pool()
    registry.resources.register_factory("pool", pool)

    class Using(Keeping):
        def teardown(self) -> None:
            pool.log.append(f"teardown of who has the {self.resources.pool}")

    one = put(Using(), "one", resources={"required": ["pool"]})
    put(object(), "two", resources={"optional": ["pool"]}, depends_on=["one"])
    put(Keeping(), "three")
    await registry.setup_all(ctx)
    assert one.resources.pool == "connection of one"
    assert pool.log == ["open one", "open two"]
    await registry.teardown_all()
    assert pool.log[2:] == [
        "closed two",
        "teardown of who has the connection of one",
        "closed one",
    ]
    await registry.setup_all(ctx)
    assert pool.log[5:] == ["open one", "open two"]
    await registry.teardown_all()


async def test_what_was_made_is_undone_after_what_the_plugin_opened_with_it(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    pool = Pool()
    registry.resources.register_factory("pool", pool)

    class Owning:
        def setup(self, ctx: PluginContext) -> None:
            ctx.callback(pool.log.append, "callback of the plugin")
            raise ValueError("no")

    put(Owning(), resources={"required": ["pool"]})
    with pytest.raises(ValueError, match="no"):
        await registry.setup_all(ctx)
    assert pool.log == ["open it", "callback of the plugin", "closed it"]


async def test_when_one_cannot_be_made_the_others_are_undone_and_setup_does_not_run(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    pool, plugin = Pool(), Keeping()

    def refuse(request: ResourceRequest) -> object:
        raise ConnectionError("no route")

    registry.resources.register_factory("pool", pool)
    registry.resources.register_factory("database", refuse)
    put(plugin, resources={"required": ["pool", "database"]})
    with pytest.raises(PluginUnavailable) as caught:
        await registry.setup_all(ctx)
    assert str(caught.value) == (
        "demo/it is unavailable: its resource 'database' could not be made: "
        "ConnectionError: no route"
    )
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert pool.log == ["open it", "closed it"]
    assert not hasattr(plugin, "resources")
    registry.resources.register("database", "there now", replace=True)
    await registry.setup_all(ctx)
    assert plugin.resources.database == "there now"
    await registry.teardown_all()


async def test_the_last_wrapper_is_the_outermost(
    registry: PluginRegistry, ctx: PluginContext, put: Put
) -> None:
    def inner(resource: str, request: ResourceRequest) -> str:
        return f"inner({resource})"

    def outer(resource: str, request: ResourceRequest) -> str:
        if request.ref.name == "two":
            return resource
        return f"outer({resource}, {request.metadata['tenant_id']})"

    registry.resources.decorate("cache", inner)
    registry.resources.register("cache", "cache")
    registry.resources.decorate("cache", outer)
    declared = {"resources": {"required": ["cache"]}}
    one, two = put(Keeping(), "one", **declared), put(Keeping(), "two", **declared)
    await registry.setup_all(replace(ctx, metadata={"tenant_id": "t"}))
    assert one.resources.cache == "outer(inner(cache), t)"
    assert two.resources.cache == "inner(cache)"
    assert registry.resources.get("cache") == "cache"
    await registry.teardown_all()


def test_a_wrapper_that_returns_nothing_is_an_error() -> None:
    registry = ResourceRegistry()
    registry.register("cache", "cache")
    registry.decorate("cache", lambda resource, request: None)
    with pytest.raises(PluginUnavailable, match="answered None; it must return"):
        inject_resources(manifest(required=["cache"]), registry)


def test_an_optional_resource_that_is_missing_is_not_wrapped() -> None:
    registry = ResourceRegistry()
    registry.decorate("cache", lambda resource, request: "wrapped")
    assert inject_resources(manifest(optional=["cache"]), registry).cache is None


def test_a_name_is_taken_once_whatever_is_behind_it() -> None:
    registry = ResourceRegistry()
    registry.register_factory("cache", lambda request: 1)
    with pytest.raises(ValueError, match="replace=True"):
        registry.register("cache", 2)
    with pytest.raises(ValueError, match="replace=True"):
        registry.register_factory("cache", lambda request: 3)
    with pytest.raises(KeyError, match="made anew for each plugin"):
        registry.get("cache")
    registry.register("cache", 4, replace=True)
    assert registry.get("cache") == 4
    registry.register_factory("cache", lambda request: 5, replace=True)
    assert inject_resources(manifest(required=["cache"]), registry).cache == 5
    assert registry.names() == ["cache"]


def test_threads_that_register_the_same_name_agree_on_one() -> None:
    registry, refused = ResourceRegistry(), []
    barrier = threading.Barrier(8)

    def register(number: int) -> None:
        barrier.wait()
        try:
            registry.register("cache", number)
        except ValueError:
            refused.append(number)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted([*refused, registry.get("cache")]) == [*range(8)]


def test_the_context_of_one_plugin_without_an_instance(ctx: PluginContext) -> None:
    registry, bus = ResourceRegistry(), object()
    registry.register("clock", SystemClock())
    base = replace(ctx, event_bus=bus, progress=bus, checkpoint=bus, metadata={"actor": "a"})
    context = derive_context_for_plugin(base, manifest(required=["clock"]), registry)
    assert context.resources.clock is registry.get("clock")
    assert context.resources.metadata == {"actor": "a"}
    assert {id(context.event_bus), id(context.progress), id(context.checkpoint)} == {id(bus)}
    assert (context.registry, context.extras) == (base.registry, base.extras)
