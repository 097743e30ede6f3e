"""Blobs and checkpoints, in memory and in files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagstack_dev import (
    BlobStore,
    CheckpointStore,
    FileBlobStore,
    FileCheckpointStore,
    InMemoryBlobStore,
    InMemoryCheckpointStore,
    MemoryBlobStore,
    PluginRef,
)
from dagstack_dev.host.services.stores import PluginCheckpoints

Checkpoints = InMemoryCheckpointStore | FileCheckpointStore
Blobs = InMemoryBlobStore | FileBlobStore

SURROGATES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)
KEYS = (
    st.text(max_size=50)
    | st.text(SURROGATES, max_size=50)
    | st.text("./%+Aa", max_size=8)
    | st.text("é/", min_size=100, max_size=250)
)


@pytest.fixture(params=["memory", "files"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    in_memory = request.param == "memory"
    return InMemoryCheckpointStore() if in_memory else FileCheckpointStore(tmp_path / "state")


@pytest.fixture(params=["memory", "files"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return InMemoryBlobStore() if request.param == "memory" else FileBlobStore(tmp_path / "blobs")


def test_what_was_saved_is_loaded(checkpoints: Checkpoints) -> None:
    assert isinstance(checkpoints, CheckpointStore)
    assert checkpoints.load("cursor") is None
    checkpoints.save("cursor", b"\x00\xff\r\n")
    assert checkpoints.load("cursor") == b"\x00\xff\r\n"
    checkpoints.save("cursor", b"")
    assert checkpoints.load("cursor") == b""
    checkpoints.clear("cursor")
    checkpoints.clear("cursor")
    assert checkpoints.load("cursor") is None


def test_checkpoints_are_listed_by_prefix(checkpoints: Checkpoints) -> None:
    assert checkpoints.list() == []
    for key in ("b", "a/2", "a/1", "a"):
        checkpoints.save(key, b"x")
    assert checkpoints.list() == ["a", "a/1", "a/2", "b"]
    assert checkpoints.list("a/") == ["a/1", "a/2"]
    checkpoints.clear("a/1")
    assert checkpoints.list("a/") == ["a/2"]


def test_what_is_saved_does_not_change_with_what_it_was_saved_from(
    checkpoints: Checkpoints,
) -> None:
    changing = bytearray(b"one")
    checkpoints.save("key", changing)  # type: ignore[arg-type]  # any buffer will do
    changing[:] = b"two"
    assert checkpoints.load("key") == b"one"


def test_a_checkpoint_that_is_not_bytes_is_refused(checkpoints: Checkpoints) -> None:
    with pytest.raises(TypeError, match=r"save takes bytes, not dict.*json\.dumps"):
        checkpoints.save("key", {"page": 3})  # type: ignore[arg-type]


def test_what_was_put_is_got(blobs: Blobs) -> None:
    assert isinstance(blobs, BlobStore)
    assert (blobs.get("a"), blobs.exists("a"), blobs.list()) == (None, False, [])
    blobs.put("a", b"1")
    blobs.put("b/c", b"2")
    assert (blobs.get("a"), blobs.exists("a"), blobs.exists("b")) == (b"1", True, False)
    assert (blobs.list(), blobs.list("b")) == (["a", "b/c"], ["b/c"])
    blobs.delete("a")
    blobs.delete("a")
    assert (blobs.get("a"), blobs.list()) == (None, ["b/c"])
    with pytest.raises(TypeError, match="put takes bytes, not str"):
        blobs.put("a", "text")  # type: ignore[arg-type]


def test_the_blob_store_of_tests_has_a_name_that_says_so() -> None:
    assert MemoryBlobStore is InMemoryBlobStore


def test_checkpoints_in_files_outlive_the_store(tmp_path: Path) -> None:
    FileCheckpointStore(tmp_path / "new" / "state").save("a/b", b"kept")
    again = FileCheckpointStore(tmp_path / "new" / "state")
    assert (again.load("a/b"), again.list()) == (b"kept", ["a/b"])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(KEYS, st.binary(max_size=20), max_size=6))
def test_any_keys_are_kept_apart(
    tmp_path_factory: pytest.TempPathFactory, kept: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    store = FileCheckpointStore(folder / "state")
    for key, payload in kept.items():
        store.save(key, payload)
    assert {key: store.load(key) for key in kept} == kept
    assert store.list() == sorted(kept)
    assert [each.name for each in folder.iterdir()] in ([], ["state"]), "no key leads out of it"
    for key in kept:
        store.clear(key)
    assert store.list() == []


def test_keys_are_kept_apart_on_disks_that_do_not_tell_capitals(tmp_path: Path) -> None:
    store = FileCheckpointStore(tmp_path)
    for key in ("Cursor", "cursor", "é", "É"):
        store.save(key, key.encode())
    names = [path.name for path in tmp_path.iterdir()]
    assert len({name.lower() for name in names}) == len(names) == 4


def test_a_save_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileCheckpointStore(tmp_path)
    store.save("key", b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save("key", b"new")
    assert store.load("key") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["key.checkpoint"], "no draft is left"


def test_who_reads_meanwhile_finds_one_value_or_the_other(tmp_path: Path) -> None:
    store = FileCheckpointStore(tmp_path)
    values = {bytes([65 + n]) * 50_000 for n in range(8)}
    store.save("key", min(values))
    writers = [threading.Thread(target=store.save, args=("key", value)) for value in values]
    for writer in writers:
        writer.start()
    seen = {store.load("key")}
    while any(writer.is_alive() for writer in writers):
        seen.add(store.load("key"))
    for writer in writers:
        writer.join()
    assert seen | {store.load("key")} <= values


def saved_by(store: object, name: str) -> PluginCheckpoints:
    mine = PluginCheckpoints(store, PluginRef("demo", name))
    mine.save("cursor", name.encode())
    return mine


def test_two_plugins_do_not_meet_in_one_store(checkpoints: Checkpoints) -> None:
    one, two = saved_by(checkpoints, "one"), saved_by(checkpoints, "two")
    assert (one.load("cursor"), two.load("cursor")) == (b"one", b"two")
    assert (one.list(), one.list("c"), one.list("x")) == (["cursor"], ["cursor"], [])
    assert checkpoints.list() == ["demo/one/cursor", "demo/two/cursor"]
    one.clear("cursor")
    assert (one.load("cursor"), two.load("cursor")) == (None, b"two")


def test_a_store_of_the_host_needs_no_more_than_the_contract_says() -> None:
    kept: dict[str, bytes] = {}

    class Store:
        save: Callable[[str, bytes], None] = kept.__setitem__
        load: Callable[[str], bytes | None] = kept.get
        clear: Callable[[str], bytes] = kept.pop

    mine = saved_by(Store(), "one")
    assert (kept, mine.load("cursor")) == ({"demo/one/cursor": b"one"}, b"one")
    mine.clear("cursor")
    assert not kept
