"""What a reload touches, in which order, and what it leaves alone."""

from __future__ import annotations

import anyio
from serving import edit, ref, serving
from trees import CODE, PluginTree

from dagstack_dev.core.events import ReloadCommitted, ReloadStarted

DEPENDENT_ON_CODE = """
from {namespace}.demo.base.plugin import Plugin as Base

class Plugin:
    BASE = Base
    def setup(self, ctx): pass
    def value(self): return Base.VALUE
"""


async def test_an_edit_reloads_the_changed_plugin_and_its_dependents_only(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    tree.plugin("middle", depends_on=["base"])
    tree.plugin("top", depends_on=["middle"])
    tree.plugin("aside")
    tree.plugin("below")
    async with serving(tree) as live:
        proxies = {name: live.plugin(name) for name in ("base", "aside")}
        before = {name: live.instance(name) for name in live.states}
        tree.plugin("base", value=2)
        await live.settle()

        assert live.journal == [
            "teardown top 1",
            "teardown middle 1",
            "teardown base 1",
            "setup base 2",
            "setup middle 1",
            "setup top 1",
        ]
        [committed] = live.of(ReloadCommitted)
        assert committed.changed == (ref("base"),)
        assert committed.affected == (ref("base"), ref("middle"), ref("top"))
        assert proxies["base"].value() == 2
        after = {name: live.instance(name) for name in live.states}
        assert {name for name in after if after[name] is not before[name]} == {
            "base",
            "middle",
            "top",
        }
        assert live.plugin("base") is proxies["base"]


async def test_the_teardown_follows_the_reverse_of_the_order_in_which_setups_ended(
    tree: PluginTree,
) -> None:
    slow = """
    class Plugin:
        async def setup(self, ctx):
            self.journal = ctx.extras["journal"]
            await ctx.extras["{event}"].wait()
            self.journal.append("setup {name}")
            {after}
        async def teardown(self):
            self.journal.append("teardown {name}")
    """
    first_done, at_once = anyio.Event(), anyio.Event()
    at_once.set()
    tree.plugin("base", code=slow.format(name="base", event="at_once", after=""))
    late = slow.format(name="a", event="first_done", after="")
    tree.plugin("a", depends_on=["base"], code=late)
    early = slow.format(name="z", event="at_once", after='ctx.extras["first_done"].set()')
    tree.plugin("z", depends_on=["base"], code=early)
    async with serving(tree, extras={"first_done": first_done, "at_once": at_once}) as live:
        assert live.journal == ["setup base", "setup z", "setup a"]
        edit(tree.root / "base/plugin.py", "class Plugin:", "class Plugin:  # edited")
        await live.settle()
        assert live.journal[:3] == ["teardown a", "teardown z", "teardown base"]


async def test_a_dependent_gets_a_new_instance_but_keeps_its_modules(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"])
    async with serving(tree) as live:
        modules = live.module("base"), live.module("user")
        instance = live.instance("user")
        tree.plugin("base", value=2)
        await live.settle()
        assert live.module("base") is not modules[0]
        assert live.module("user") is modules[1]
        assert live.instance("user") is not instance
        assert (live.status("base").generation, live.status("user").generation) == (2, 1)


async def test_a_dependent_that_imports_changed_code_is_imported_anew(tree: PluginTree) -> None:
    tree.plugin("base")
    tree.plugin("user", depends_on=["base"], code="class Plugin: pass")
    async with serving(tree) as live:
        tree.plugin(
            "user", depends_on=["base"], code=DEPENDENT_ON_CODE.format(namespace=live.namespace)
        )
        await live.settle()
        module = live.module("user")
        tree.plugin("base", value=2)
        await live.settle()
        assert live.module("user") is not module
        assert live.plugin("user").value() == 2
        assert live.instance("user").BASE is type(live.instance("base"))


async def test_code_imported_without_a_declared_dependency_counts_as_well(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        tree.plugin("user", code=DEPENDENT_ON_CODE.format(namespace=live.namespace))
        await live.settle()
        tree.plugin("base", value=2)
        await live.settle()
        assert live.affected == {"base", "user"}
        assert live.plugin("user").value() == 2


async def test_a_change_in_a_module_below_the_entry_file_reloads_the_whole_plugin(
    tree: PluginTree,
) -> None:
    tree.plugin("base", code="from .parts.inner import Plugin")
    tree.write("base/parts/__init__.py", "")
    tree.write("base/parts/inner.py", CODE.format(name="base", value=1))
    async with serving(tree) as live:
        outer = live.module("base")
        tree.write("base/parts/inner.py", CODE.format(name="base", value=2))
        await live.settle()
        assert live.plugin("base").value() == 2
        assert live.module("base") is not outer
        tree.write("base/parts/added.py", "VALUE = 3")
        edit(tree.root / "base/plugin.py", "from .parts", "from .parts import added\nfrom .parts")
        await live.settle()
        assert live.module("base", "parts.added") is not None


async def test_a_data_file_of_the_plugin_counts_as_a_change(tree: PluginTree) -> None:
    code = """
    from pathlib import Path
    class Plugin:
        text = (Path(__file__).parent / "words.txt").read_text()
    """
    tree.write("base/words.txt", "one")
    tree.plugin("base", code=code)
    async with serving(tree) as live:
        tree.write("base/words.txt", "two")
        await live.settle()
        assert live.instance("base").text == "two"


async def test_a_name_deleted_from_the_code_is_gone_after_the_reload(tree: PluginTree) -> None:
    tree.plugin("base", code="LEFTOVER = 1\nclass Plugin: pass")
    async with serving(tree) as live:
        assert hasattr(live.module("base"), "LEFTOVER")
        tree.plugin("base", code="class Plugin: pass")
        await live.settle()
        assert not hasattr(live.module("base"), "LEFTOVER")


async def test_wait_idle_with_nothing_changed_touches_nothing(tree: PluginTree) -> None:
    tree.plugin("base")
    async with serving(tree) as live:
        await live.settle()
        assert live.facts == []
        assert live.journal == []


async def test_the_plugin_is_reloaded_once_however_many_of_its_files_change(
    tree: PluginTree,
) -> None:
    tree.plugin("base")
    for number in range(20):
        tree.write(f"base/part_{number}.py", "x = 1")
    async with serving(tree) as live:
        for number in range(20):
            tree.write(f"base/part_{number}.py", "x = 2")
        await live.settle()
        assert len(live.of(ReloadStarted)) == 1
        assert live.journal == ["teardown base 1", "setup base 1"]
