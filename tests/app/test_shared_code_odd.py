"""Shared code in odd places, under odd names, and imported in odd ways."""

from __future__ import annotations

import os
import py_compile
import shutil
import sys
import threading
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path

import pytest
from serving import Live, context, edit, serving
from sharing import generations, user
from trees import PluginTree

from dagstack_dev import discover
from dagstack_dev.core.events import ReloadCommitted, ReloadRolledBack

VARIABLE: ContextVar[str] = ContextVar("VARIABLE")

pytestmark = pytest.mark.usefixtures("imports_forgotten")


async def changed(live: Live, path: Path, old: str = "old", new: str = "new") -> object:
    """What plugin `user` says after `old` has become `new` in the file at `path`."""
    edit(path, old, new)
    await live.settle()
    return live.plugin("user").value()


async def test_modules_of_a_namespace_package_on_the_path_count(
    tree: PluginTree, tmp_path: Path
) -> None:
    words = tree.write(tmp_path / "src/space/inner/words.py", "WORD = 'old'\n")
    sys.path.append(str(tmp_path / "src"))
    user(tree, "user", "from space.inner import words", "words.WORD")
    async with serving(tree, code_roots=[tmp_path / "src"]) as live:
        assert await changed(live, words) == "new"


async def test_a_code_root_may_be_a_package(tree: PluginTree, tmp_path: Path) -> None:
    tree.write(tmp_path / "src/outer/__init__.py", "")
    tree.write(tmp_path / "src/outer/inner/__init__.py", "")
    words = tree.write(tmp_path / "src/outer/inner/words.py", "WORD = 'old'\n")
    user(tree, "user", "from outer.inner.words import WORD", "WORD")
    async with serving(tree, code_roots=[tmp_path / "src/outer/inner"]) as live:
        assert await changed(live, words) == "new"


async def test_a_file_imported_under_two_names_is_renewed_under_both(
    tree: PluginTree, tmp_path: Path
) -> None:
    sys.path.append(str(tmp_path))
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(
        tree,
        "user",
        f"import helpers.words, {tree.root.name}.helpers.words as other",
        "(helpers.words.WORD, other.WORD)",
    )
    async with serving(tree) as live:
        assert live.plugin("user").value() == ("old", "old")
        assert await changed(live, words) == ("new", "new")


async def test_relative_imports_in_shared_code_count(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "from .deep import WORD\n")
    tree.write("helpers/deep/__init__.py", "from ..words import WORD\n")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", "from helpers import WORD", "WORD")
    async with serving(tree) as live:
        assert await changed(live, words) == "new"


async def test_a_lazy_attribute_of_a_package_counts(tree: PluginTree) -> None:
    tree.write(
        "helpers/__init__.py",
        """\
        from importlib import import_module
        def __getattr__(name):
            if name == "WORD":
                return import_module(".words", __name__).WORD
            raise AttributeError(name)
        """,
    )
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", "import helpers", "helpers.WORD")
    async with serving(tree) as live:
        assert live.plugin("user").value() == "old"
        assert await changed(live, words) == "new"


REPLACED = """
import sys
class Stand:
    __slots__ = ("WORD",)
stand = Stand()
stand.WORD = 'old'
sys.modules[__name__] = stand
"""


async def test_a_module_that_puts_an_object_in_its_place_is_renewed(tree: PluginTree) -> None:
    words = tree.write("words.py", REPLACED)
    user(tree, "user", "import words\nif words.WORD == 'bad': raise ValueError", "words.WORD")
    async with serving(tree) as live:
        assert await changed(live, words) == "new"
        assert await changed(live, words, "new", "bad") == "new"
        assert await changed(live, words, "bad", "good") == "good"


async def test_a_package_that_puts_an_object_in_its_place_is_renewed(tree: PluginTree) -> None:
    stand = (
        REPLACED.replace("stand.WORD = 'old'\n", "")
        .replace(
            '__slots__ = ("WORD",)', '__slots__ = ("words", "__path__", "__name__", "__spec__")'
        )
        .replace(
            "sys.modules",
            "stand.__path__ = __path__\nstand.__name__ = __name__\nstand.__spec__ = __spec__\n"
            "sys.modules",
        )
    )
    tree.write("helpers/__init__.py", stand)
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        assert await changed(live, words) == "new"


async def test_a_plugin_may_reload_shared_code_itself(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "user", "import importlib, words\nimportlib.reload(words)", "words.WORD")
    async with serving(tree) as live:
        assert live.plugin("user").value() == "old"
        assert await changed(live, words) == "new"


async def test_shared_code_and_plugins_may_import_each_other(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", "from helpers.both import both", "both()")
    tree.write("user/part.py", "from helpers.words import WORD\n")
    async with serving(tree) as live:
        package = f"{live.namespace}.demo.user"
        tree.write(
            "helpers/both.py",
            f"def both():\n    from {package}.part import WORD\n    return WORD\n",
        )
        await live.settle()
        assert live.plugin("user").value() == "old"
        assert await changed(live, words) == "new"
        tree.write("user/part.py", "from helpers.words import WORD\nWORD *= 2\n")
        await live.settle()
        assert live.plugin("user").value() == "newnew"


async def test_a_plugin_that_failed_leaves_nothing_in_shared_code(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    user(
        tree, "user", "from . import part\nfrom helpers.words import WORD\nraise ValueError", "WORD"
    )
    tree.write("user/part.py", "WORD = 'old'\n")
    async with serving(tree) as live:
        tree.write("helpers/words.py", f"from {live.namespace}.demo.user.part import WORD\n")
        await live.settle()
        user(tree, "user", "from . import part\nfrom helpers.words import WORD", "WORD")
        tree.write("user/part.py", "WORD = 'new'\n")
        await live.settle()
        assert live.plugin("user").value() == "new"


async def test_a_new_plugin_gets_new_code_though_its_only_importer_goes(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "first", "from words import WORD", "WORD")
    async with serving(tree) as live:
        shutil.rmtree(tree.root / "first")
        words.write_text("WORD = 'new'\n")
        user(tree, "user", "from words import WORD", "WORD")
        await live.settle()
        assert live.plugin("user").value() == "new"


async def test_a_renamed_plugin_takes_changed_code_along(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "first", "from words import WORD", "WORD")
    user(tree, "other", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("WORD = 'new'\n")
        user(tree, "user", "from words import WORD", "WORD", folder="first")
        (tree.root / "other").rename(tree.root / "moved")
        await live.settle()
        assert live.plugin("user").value() == live.plugin("other").value() == "new"
        assert set(live.states) >= {"user", "other"}


async def test_a_module_becomes_a_package_and_a_module_again(
    tree: PluginTree, tmp_path: Path
) -> None:
    words = tree.write("helpers/words.py", "WORD = 1\n")
    tree.write("helpers/__init__.py", "")
    package = tree.root / "helpers/words"
    user(tree, "user", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        for number in range(2, 8, 2):
            words.unlink()
            tree.write(package / "__init__.py", "from helpers.words.inner import WORD\n")
            tree.write(package / "inner.py", f"WORD = {number}\n")
            await live.settle()
            assert live.plugin("user").value() == number
            for each in ("__init__", "inner"):
                (package / f"{each}.py").unlink()
            words.write_text(f"WORD = {number + 1}\n")
            await live.settle()
            assert live.plugin("user").value() == number + 1


async def test_a_top_module_becomes_a_package_and_a_module_again(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 1\n")
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.unlink()
        tree.write("words/__init__.py", "WORD = 2\n")
        await live.settle()
        assert live.plugin("user").value() == 2
        (tree.root / "words/__init__.py").unlink()
        (tree.root / "words").rmdir()
        words.write_text("WORD = 3\n")
        await live.settle()
        assert live.plugin("user").value() == 3


async def test_a_renamed_folder_of_shared_code(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        (tree.root / "helpers").rename(tree.root / "tools")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        user(tree, "user", "from tools.words import WORD", "WORD * 2")
        await live.settle()
        assert live.plugin("user").value() == "oldold"
        assert "helpers.words" not in sys.modules
        assert await changed(live, tree.root / "tools/words.py") == "newnew"


async def test_two_servers_share_a_code_root(tree: PluginTree, tmp_path: Path) -> None:
    sys.path.append(str(tmp_path / "src"))
    words = tree.write(tmp_path / "src/words.py", "WORD = 'old'\n")
    tree.write(tmp_path / "src/middle.py", "from words import WORD\n")
    second = PluginTree(tmp_path / "second")
    for each in (tree, second):
        user(each, "user", "from middle import WORD", "WORD")
    async with serving(tree, code_roots=[tmp_path / "src"]) as live:
        async with serving(second, code_roots=[tmp_path / "src"]) as other:
            edit(words, "old", "new")
            await live.settle()
            await other.settle()
            assert live.plugin("user").value() == "new"
            assert other.plugin("user").value() == "new"
            edit(words, "new", "newer")
            await other.settle()
            await live.settle()
            assert other.plugin("user").value() == "newer"
            assert live.plugin("user").value() == "newer"
        assert await changed(live, words, "newer", "last") == "last"


async def test_two_servers_one_after_the_other(tree: PluginTree, tmp_path: Path) -> None:
    sys.path.append(str(tmp_path / "src"))
    words = tree.write(tmp_path / "src/words.py", "WORD = 'old'\n")
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree, code_roots=[tmp_path / "src"]) as live:
        assert live.plugin("user").value() == "old"
    edit(words, "old", "mid")
    async with serving(tree, code_roots=[tmp_path / "src"]) as live:
        assert live.plugin("user").value() == "mid"
        assert await changed(live, words, "mid", "new") == "new"


async def test_a_plugin_that_empties_meta_path(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(
        tree,
        "user",
        "import sys\nfrom words import WORD\n"
        "sys.meta_path[:] = [each for each in sys.meta_path if 'dagstack' not in repr(each)]",
        "WORD",
    )
    async with serving(tree) as live:
        assert await changed(live, words) == "new"
        assert await changed(live, words, "new", "newer") == "newer"


class _Rival:
    """A finder that stands before ours, as pytest's and those of some editable installs do."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> object:
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, path, target) if name == "words" else None  # type: ignore[arg-type]


async def test_what_another_finder_loads_counts(
    tree: PluginTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    sys.path.append(str(tmp_path / "src"))
    words = tree.write(tmp_path / "src/words.py", "WORD = 'old'\n")
    async with serving(tree, code_roots=[tmp_path / "src"]) as live:
        sys.meta_path.insert(0, _Rival())  # type: ignore[arg-type]
        user(tree, "user", "from words import WORD", "WORD")
        await live.settle()
        assert live.plugin("user").value() == "old"
        edit(words, "old", "new")
        await live.settle()
        assert live.plugin("user").value() == "new"


@pytest.mark.parametrize(
    "text",
    [
        b"# -*- coding: latin-1 -*-\nWORD = '\xe4old'\n",
        b"\xef\xbb\xbfWORD = '\xc3\xa4old'\n",
        b"from __future__ import annotations\nWORD: nothing = '\xc3\xa4old'\n",
        b"\xef\xbb\xbf# coding: utf-8\r\nWORD = '\xc3\xa4old'\r\n",
    ],
)
async def test_encodings(tree: PluginTree, text: bytes) -> None:
    words = tree.root / "words.py"
    words.write_bytes(text)
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree) as live:
        assert live.plugin("user").value() == "äold"
        words.write_bytes(text.replace(b"old", b"new"))
        await live.settle()
        assert live.plugin("user").value() == "änew"


async def test_a_linked_code_root(tree: PluginTree, tmp_path: Path) -> None:
    words = tree.write(tmp_path / "real/pack/words.py", "WORD = 'old'\n")
    tree.write(tmp_path / "real/pack/__init__.py", "")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    sys.path.append(str(tmp_path / "real"))
    user(tree, "user", "from pack.words import WORD", "WORD")
    async with serving(tree, code_roots=[tmp_path / "link"]) as live:
        assert await changed(live, words) == "new"


async def test_a_linked_folder_in_a_root(tree: PluginTree, tmp_path: Path) -> None:
    words = tree.write(tmp_path / "real/pack/words.py", "WORD = 'old'\n")
    tree.write(tmp_path / "real/pack/__init__.py", "")
    (tree.root / "pack").symlink_to(tmp_path / "real/pack")
    user(tree, "user", "from pack.words import WORD", "WORD")
    async with serving(tree) as live:
        assert await changed(live, words) == "new"


async def test_a_code_root_that_the_plugins_root_ignores_counts(tree: PluginTree) -> None:
    words = tree.write("build/words.py", "WORD = 'old'\n")
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree, code_roots=[tree.root / "build"]) as live:
        assert await changed(live, words) == "new"


async def test_a_plugins_root_in_a_code_root(tree: PluginTree, tmp_path: Path) -> None:
    words = tree.write(tmp_path / "words.py", "WORD = 'old'\n")
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree, code_roots=[tmp_path]) as live:
        assert await changed(live, words) == "new"
        assert generations(live) == {"user": 2}


async def test_what_a_library_imports_for_a_plugin_counts(tree: PluginTree, tmp_path: Path) -> None:
    tree.write(
        tmp_path / "lib/loading_library.py",
        "from importlib._bootstrap import _gcd_import as load\n",
    )
    sys.path.append(str(tmp_path / "lib"))
    import_module("loading_library")
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "user", "from loading_library import load\nwords = load('words')", "words.WORD")
    async with serving(tree) as live:
        assert await changed(live, words) == "new"


async def test_lazy_modules_of_the_app_are_left_alone(tree: PluginTree, tmp_path: Path) -> None:
    from importlib.util import LazyLoader, module_from_spec, spec_from_file_location

    path = tree.write(tmp_path / "lib/never_wanted.py", "raise RuntimeError('loaded')\n")
    spec = spec_from_file_location("never_wanted", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules["never_wanted"] = module
    spec.loader.exec_module(module)
    try:
        user(tree, "user", "", "1")
        async with serving(tree) as live:
            assert live.states == {"user": "ready"}
    finally:
        del sys.modules["never_wanted"]


async def test_a_kind_goes_with_its_last_plugin(tree: PluginTree) -> None:
    tree.plugin("one", kind="odd")
    tree.plugin("two")
    async with serving(tree) as live:
        kind = f"{live.namespace}.odd"
        assert kind in sys.modules
        for path in (tree.root / "one").iterdir():
            if path.is_file():
                path.unlink()
        await live.settle()
        assert kind not in sys.modules
        assert not hasattr(sys.modules[live.namespace], "odd")
        tree.plugin("one", kind="odd")
        await live.settle()
        assert live.plugin("one", kind="odd").value() == 1


async def test_threads_may_import_while_modules_are_swapped(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 0\n")
    for number in range(30):
        tree.write(f"helpers/m{number}.py", "from helpers.words import WORD\n")
    user(
        tree,
        "user",
        """
import threading
from helpers.words import WORD
errors = []
stop = threading.Event()
def run():
    import importlib
    number = 0
    while not stop.is_set():
        number = (number + 1) % 30
        try:
            importlib.import_module(f"helpers.m{number}")
            exec(f"import helpers.m{(number * 7) % 30}", globals())
        except Exception as error:
            errors.append(error)
threads = [threading.Thread(target=run) for _ in range(3)]
""",
        "(WORD, errors)",
    )
    edit(
        tree.root / "user/plugin.py",
        "class Plugin:",
        "class Plugin:\n"
        "    def setup(self, ctx):\n        for each in threads: each.start()\n"
        "    def teardown(self):\n        stop.set()\n        for each in threads: each.join()\n"
        "        assert not errors, errors\n",
    )
    async with serving(tree) as live:
        for number in range(1, 15):
            words.write_text(f"WORD = {number}\n")
            await live.settle()
            assert live.outcomes == [ReloadCommitted]
            assert live.plugin("user").value() == (number, [])


async def test_an_import_may_outlive_its_module(tree: PluginTree) -> None:
    """A thread imports in a generation that is gone by the time the import ends."""
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[object] = []
    tree.write(
        "user/part.py",
        """\
        def late(began, go_on, ended, seen):
            import sys
            sys.late_events = (began, go_on)
            try:
                import slow
            except BaseException as error:
                seen.append(error)
            ended.set()
        """,
    )
    tree.write("slow.py", "import sys\nbegan, go_on = sys.late_events\nbegan.set()\ngo_on.wait()\n")
    user(tree, "user", "from .part import late", "late")
    async with serving(tree) as live:
        late = live.plugin("user").value()
        thread = threading.Thread(target=late, args=(began, go_on, ended, seen))
        thread.start()
        began.wait()
        try:
            user(tree, "user", "", "1")
            await live.settle()
        finally:
            go_on.set()
            thread.join()
            del late
        assert seen == []


async def test_a_new_module_is_found_where_the_file_system_counts_in_seconds(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        folder = tree.root / "helpers"
        status = folder.stat()
        tree.write("helpers/more.py", "WORD = 'new'\n")
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
        user(tree, "user", "from helpers.more import WORD", "WORD")
        await live.settle()
        assert live.outcomes == [ReloadCommitted]
        assert live.plugin("user").value() == "new"


async def test_the_current_folder_may_be_gone(
    tree: PluginTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.syspath_prepend("")
    gone.rmdir()
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree) as live:
        assert await changed(live, words) == "new"


async def test_a_relative_import_by_name_gets_code_that_nothing_has_imported_lately(
    tree: PluginTree,
) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    lazy = "from importlib import import_module"
    user(tree, "user", lazy, "import_module('.words', 'helpers').WORD")
    async with serving(tree) as live:
        import_module("helpers.words")  # As the app might.
        words.write_text("WORD = 'new'\n")
        await live.settle()
        assert live.plugin("user").value() == "new"


async def test_context_variables_set_by_an_import_stay_there(tree: PluginTree) -> None:
    VARIABLE.set("unset")
    code = "import sys\nsys.a_context_variable.set('set')\nclass Plugin: pass\n"
    sys.a_context_variable = VARIABLE  # type: ignore[attr-defined]
    tree.plugin("first", code=code)
    tree.plugin(
        "user",
        code="""
import sys
class Plugin:
    def setup(self, ctx):
        self.value = lambda seen=sys.a_context_variable.get(): seen
""",
        depends_on=["first"],
    )
    try:
        async with serving(tree) as live:
            assert live.plugin("user").value() == "unset"
            assert VARIABLE.get() == "unset"
    finally:
        del sys.a_context_variable  # type: ignore[attr-defined]


async def test_a_module_that_a_failed_reload_imported_first_is_forgotten_when_it_changes(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    more = tree.root / "more.py"
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree) as live:
        more.write_text("from words import WORD\n")
        words.write_text("WORD = 'new'\n")
        user(tree, "user", "from more import WORD\nraise ValueError", "WORD")
        await live.settle()
        assert live.outcomes[0] is ReloadRolledBack
        assert live.plugin("user").value() == "new"  # What it ran, with the new module.
        assert live.status("user").pending
        user(tree, "user", "from more import WORD", "WORD")
        await live.settle()
        assert live.plugin("user").value() == "new"


async def test_transactions_that_share_some_modules_are_one(tree: PluginTree) -> None:
    one = tree.write("one.py", "WORD = 'old'\n")
    two = tree.write("two.py", "WORD = 'old'\n")
    user(tree, "first", "import one", "one.WORD")
    user(tree, "user", "import one, two", "one.WORD + two.WORD")
    user(tree, "last", "import two\nif two.WORD == 'bad': raise ValueError", "two.WORD")
    async with serving(tree) as live:
        one.write_text("WORD = 'new'\n")
        two.write_text("WORD = 'bad'\n")
        await live.settle()
        assert live.outcomes == [ReloadRolledBack]
        assert live.plugin("first").value() == "old"
        assert live.plugin("user").value() == "oldold"
        two.write_text("WORD = 'new'\n")
        await live.settle()
        assert live.plugin("first").value() == live.plugin("last").value() == "new"
        assert live.plugin("user").value() == "newnew"


async def test_a_registry_that_runs_already_brings_its_shared_code_along(
    tree: PluginTree, tmp_path: Path
) -> None:
    sys.path.append(str(tmp_path / "src"))
    words = tree.write(tmp_path / "src/words.py", "WORD = 'old'\n")
    tree.write(tmp_path / "src/middle.py", "from words import WORD\n")
    user(tree, "user", "from middle import WORD", "WORD")
    registry = discover(tree.root)
    await registry.setup_all(context())
    try:
        async with serving(tree, registry=registry, code_roots=[tmp_path / "src"]) as live:
            assert await changed(live, words) == "new"
    finally:
        await registry.teardown_all()


async def test_what_is_written_while_plugins_are_imported_is_taken_next(
    tree: PluginTree,
) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    saving = f"import pathlib\npathlib.Path({str(words)!r}).write_text('WORD = 3\\n')\n"
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree) as live:
        words.write_text("WORD = 2\n")
        user(tree, "user", f"{saving}from words import WORD", "WORD")
        await live.settle()
        await live.settle()
        assert live.plugin("user").value() == 3


async def test_bytecode_alone_is_left_as_it_is(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    py_compile.compile(str(words), cfile=str(words) + "c", doraise=True)
    words.unlink()
    user(tree, "user", "from helpers.words import WORD", "WORD")
    async with serving(tree) as live:
        assert live.plugin("user").value() == "old"
        words.write_text("WORD = 'new'\n")
        await live.settle()
        assert live.states == {"user": "ready"}


async def test_shared_code_that_runs_a_thread_is_renewed(tree: PluginTree) -> None:
    words = tree.write(
        "words.py",
        """\
        import threading
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait, daemon=True)
        thread.start()
        WORD = 'old'
        """,
    )
    user(tree, "user", "import words", "words.WORD")
    async with serving(tree) as live:
        before = sys.modules["words"]
        try:
            assert await changed(live, words) == "new"
        finally:
            before.stop.set()
            sys.modules["words"].stop.set()


async def test_a_plugin_that_is_the_only_importer_goes_and_comes(tree: PluginTree) -> None:
    words = tree.write("words.py", "WORD = 'old'\n")
    user(tree, "user", "from words import WORD", "WORD")
    async with serving(tree) as live:
        (tree.root / "user").rename(tree.root.parent / "away")
        await live.settle()
        edit(words, "old", "new")
        await live.settle()
        (tree.root.parent / "away").rename(tree.root / "user")
        await live.settle()
        assert live.plugin("user").value() == "new"


async def test_the_first_of_a_package_inside_another_may_be_lazy(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "def __getattr__(name):\n    raise RuntimeError(name)\n")
    words = tree.write("helpers/words.py", "WORD = 'old'\n")
    user(tree, "user", "import helpers.words", "helpers.words.WORD")
    async with serving(tree) as live:
        assert await changed(live, words) == "new"


@pytest.mark.parametrize("first", ["import helpers.words", "import beside"])
async def test_no_part_of_a_package_that_fails_can_be_imported_without_it(
    tree: PluginTree, first: str
) -> None:
    tree.write("helpers/__init__.py", f"{first}\nimport late\n")
    tree.write("helpers/words.py", "WORD = 'word'\n")
    tree.write("beside.py", "from helpers.words import WORD\n")
    user(tree, "early", "from helpers.words import WORD", "WORD")
    user(tree, "user", "from beside import WORD", "WORD")
    async with serving(tree) as live:
        for folder in ("early", "user", "early"):
            errors = [str(status.error) for status in live.server.statuses().values()]
            assert all("No module named 'late'" in error for error in errors), errors
            with (tree.root / folder / "plugin.py").open("a") as file:
                file.write("# saved\n")
            await live.settle()
        tree.write("late.py", "")
        await live.settle()
        assert live.states == {"early": "ready", "user": "ready"}
        assert live.plugin("early").value() == live.plugin("user").value() == "word"
        edit(tree.root / "helpers/words.py", "'word'", "'new'")
        await live.settle()
        assert live.plugin("early").value() == live.plugin("user").value() == "new"
