"""What `check` says of code is what a start makes of it."""

from __future__ import annotations

from serving import ref, serving
from trees import PluginTree

from dagstack_dev.core.lifecycle import State
from dagstack_dev.static.check import check
from dagstack_dev.static.findings import Severity
from dagstack_dev.static.project import read_project

FORMS = (
    "import json, os.path\nfrom collections import abc",
    "import xml.dom.minidom as dom",
    "import helpers.words as words",
    "from helpers.words import *\nstr(WORD)",
    "from helpers import words, deep",
    "from helpers.deep.er import VALUE",
    "from . import own, data",
    "from .own import VALUE, later",
    "from .data.table import ROWS",
    "from .lazy import anything",
    "from .listed import late",
    "from .own import __doc__, __name__, __file__, __spec__, __loader__, __package__, __dict__",
    "from .bound import last, first, RED",
    "from . import own\nown.given = 1\nfrom .own import given",
    "from . import own\nclass Self:\n    def __init__(self): self.kept = 1\nfrom .own import kept",
    "from . import own\nsetattr(own, 'given', 1)\nfrom .own import given",
    "from . import own\nfor name in ['given']: setattr(own, name, 1)\nfrom .own import given",
    "from . import own\nvars(own).update(given=1)\nfrom .own import given",
    "from . import own\nown.__dict__['given'] = 1\nfrom .own import given",
    "setattr(str, 'given', 1) if False else None\nfrom .own import other",
    "class A:\n    def b(self): setattr(self, str(1), vars(self))\nfrom .own import other",
    "from ..other.plugin import Plugin as Other",
    "from dagstack_plugins.demo.other.own import VALUE",
    "from .. import other",
    "try:\n    import nowhere\nexcept ImportError:\n    pass",
    "try:\n    from .own import nothing\nexcept Exception:\n    pass",
    "import sys\nif sys.platform == 'plan9':\n    import nowhere",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nowhere import Nothing",
    "from contextlib import suppress\nwith suppress(ImportError):\n    import helpers.nowhere",
    "def later():\n    import nowhere",
    "import nowhere",
    "import helpers.nowhere",
    "from helpers import nowhere",
    "from helpers.words import nothing",
    "from helpers.nowhere import nothing",
    "from helpers.failing import VALUE",
    "import own",
    "from own import VALUE",
    "from .own import nothing",
    "from .own.deeper import VALUE",
    "from .nowhere import nothing",
    "from . import nowhere",
    "from .data import nothing",
    "from .. import nowhere",
    "from ..helpers import words",
    "from ....helpers import words",
    "import dagstack_plugins.demo.nowhere",
    "from ..other.own import nothing",
    "class Later:\n    import nowhere",
    "from os import getcwd, path\nfrom importlib import metadata\nfrom math import pi",
    "from os import nothing",
    "from math import nothing",
    "from asyncio.tasks import nothing",
    "from .listed import made",
)
BOUND = """
from enum import Enum, global_enum

[last := each for each in range(3)]
any((first := each) for each in range(3))

@global_enum
class Color(Enum):
    RED = 1
"""
LISTED = """
globals().update(late=1)

def make(**names): globals().update(names)
make(made=1)
"""
METHODS = (
    "def setup(self, ctx): ...",
    "async def setup(self, ctx, /, more=None): ...",
    "def setup(self, *args, **named): ...",
    "setup = id",
    "def setup(self): ...",
    "def setup(): ...",
    "async def setup(self, ctx, store): ...",
    "def setup(self, *, ctx): ...",
    "def __init__(self, *args, key=None): ...",
    "def __init__(self, store): ...",
    "def __init__(self, *, store): ...",
)
CLASSES = (
    "Plugin = type('Plugin', (Plugin,), {'setup': lambda self, ctx: None})",
    "if True:\n    class Plugin:\n        def setup(self, ctx): ...",
    "Plugin.setup = lambda self, ctx: None",
    "setattr(Plugin, 'setup', lambda self, ctx: None)",
    "from .own import Other as Plugin",
    "Plugin.set_up = lambda self, ctx: None",
)
"""What stands below a class whose `setup` takes nothing."""


async def test_what_check_finds_in_code_fails_and_nothing_else(tree: PluginTree) -> None:
    tree.write("helpers/__init__.py", "")
    tree.write("helpers/words.py", "WORD = 1\n")
    tree.write("helpers/failing.py", "from helpers.words import nothing\nVALUE = 1\n")
    tree.write("helpers/deep/__init__.py", "")
    tree.write("helpers/deep/er.py", "from ..words import WORD as VALUE\n")
    tree.plugin("other")
    tree.write("other/own.py", "VALUE = 1\n")
    imports = [f"{form}\nclass Plugin: ..." for form in FORMS]
    methods = [f"class Plugin:\n    {method}" for method in METHODS]
    classes = [f"class Plugin:\n    def setup(self): ...\n{each}" for each in CLASSES]
    for number, code in enumerate(imports + methods + classes):
        name = f"p{number}"
        tree.plugin(name, code=code, depends_on=["other"])
        tree.write(f"{name}/own.py", "VALUE = 1\ndef later(): ...\nclass Other: ...\n")
        tree.write(f"{name}/bound.py", BOUND)
        tree.write(f"{name}/data/table.py", "ROWS = ()\n")
        tree.write(f"{name}/lazy.py", "def __getattr__(name): ...\n")
        tree.write(f"{name}/listed.py", LISTED)
    found = check(read_project([str(tree.root)]))
    wrong = {each.ref for each in found if each.rule.severity is Severity.ERROR}
    assert None in wrong, "that of helpers.failing, in code of no plugin"
    async with serving(tree) as live:
        statuses = live.server.statuses()
        failed = {each for each, status in statuses.items() if status.state is State.FAILED}
    borrowing = ref(f"p{FORMS.index('from helpers.failing import VALUE')}")
    assert {str(each) for each in wrong - {None}} == {str(each) for each in failed - {borrowing}}
