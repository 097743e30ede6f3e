"""Imports that fail: of what is nowhere, of what binds no such name, of what lies outside."""

from __future__ import annotations

import pkgutil
import re
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.manifest.parsing import place_of_dependencies
from dagstack_dev.core.refs import closest
from dagstack_dev.runtimes.in_process.plugin_finder import package_name
from dagstack_dev.runtimes.shared.static_imports import When, with_parents
from dagstack_dev.static.elsewhere import Elsewhere
from dagstack_dev.static.findings import (
    CODE,
    IMPORT_LATE,
    IMPORT_MISSING,
    IMPORT_OUTSIDE,
    IMPORT_UNDECLARED,
    NAME_MISSING,
    Finding,
    Rule,
)
from dagstack_dev.static.modules import Module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from dagstack_dev.core.refs import PluginRef
    from dagstack_dev.runtimes.shared.static_imports import ImportStatement
    from dagstack_dev.static.project import Project

_ALTERS_THE_SEARCH: Final = re.compile(
    rb"\bsys\b[^\n]*\b(?:path|modules|meta_path|path_hooks)\b|\baddsitedir\b"
)
"""In the text of code after which imports may find more than they do now."""

_SETS_ANY: Final = re.compile(
    rb"\bsetattr\(\s*+(?!self\b|cls\b)[^,\n]+,\s*+(?!['\"])"
    rb"|\bvars\(\s*+(?!self\b|cls\b)\w"
    rb"|(?<!\bself)(?<!\bcls)\.__dict__\b"
)
"""In the text of code that may give any attribute to a module that it imports."""


class _Problem(NamedTuple):
    rule: Rule
    message: str
    fix: str = ""


def imports(project: Project) -> Iterator[Finding]:
    """Yield the imports of plugins, and of what they share, that fail or are not declared."""
    checker, known = _Imports(project), set[tuple[str, str]]()
    for module in project.modules.reached:
        file = module.file
        if file is None:
            continue
        if file.error is not None and module.ref is None:
            message, line = file.problem
            yield Finding(CODE, file.path, message, line)
        for each in project.modules.imports_of(module):
            found = checker.problem(module, each)
            if found is not None and (file.path, found.message) not in known:
                known.add((file.path, found.message))
                rule = IMPORT_LATE if each.when is When.LATE else found.rule
                place = each.line, each.column, found.fix, module.ref
                yield Finding(rule, file.path, found.message, *place)


class _Imports:
    def __init__(self, project: Project) -> None:
        self._project = project
        self._modules = project.modules
        # What cannot be read may be the plugin that is missing.
        self._are_all_read = len(project.plugins) == len(project.sources)

    def problem(self, module: Module, each: ImportStatement) -> _Problem | None:
        """Return what is wrong with one import; None where nothing is, or where it may not be."""
        target, name = each.module, None if each.name == "*" else each.name
        if name is not None and target in self._modules.spaces:
            target, name = f"{target}.{name}", None
        if each.when is When.MAYBE:
            return None
        missing = self._first_missing(target)
        if not target or missing is not None:
            if module.ref in self._altered:
                return None
            if each.dots and not f"{target}.".startswith(f"{_home(module)}."):
                return self._outside(each, target)
            return self._missing(module, each, missing or target)
        found = self._modules.find(target)
        if found is None or (isinstance(found, Elsewhere) and module.ref in self._altered):
            return None
        if name is not None and not self._has(found, name):
            return self._unbound(module, found, name)
        if isinstance(found, Elsewhere):
            return None
        if each.when is When.ALWAYS and module.ref and found.ref not in {None, module.ref}:
            return self._undeclared(module.ref, found.ref)
        return None

    @cached_property
    def _altered(self) -> AbstractSet[PluginRef | None]:
        """The plugins that may find more than there is, by code of theirs or of a dependency."""
        altering = {
            each.ref for each in self._modules.reached if _ALTERS_THE_SEARCH.search(each.text)
        }
        refs = [ref for ref in altering if ref is not None]
        graph = self._project.graph
        return {None, *graph.refs} if None in altering else graph.downstream(refs)

    def _first_missing(self, target: str) -> str | None:
        """Return the first part of `target` that cannot be imported, as far as that is certain."""
        for part in reversed([*with_parents(target)]):
            if self._modules.find(part) is None:
                parent, _, last = part.rpartition(".")
                above = self._modules.find(parent) if parent else None
                may_be = isinstance(above, Module) and above.may_bind(last)
                if parent in self._modules.spaces:
                    may_be = not self._are_all_read
                return None if may_be else part
        return None

    def _has(self, found: Module | Elsewhere, name: str) -> bool:
        if isinstance(found, Module) and self._modules.find(f"{found.name}.{name}") is not None:
            return True
        return found.may_bind(name) or self._is_set(found, name)

    def _is_set(self, found: Module | Elsewhere, name: str) -> bool:
        """Return whether code gives the attribute `name` to what may be the module `found`."""
        word = name.encode()
        pattern = re.compile(
            rb"(?<!\bself)\.%b\s*(:.*)?=(?!=)|\bsetattr\([^\n]*['\"]%b['\"]" % (word, word)
        )
        return any(
            pattern.search(each.text) or (_SETS_ANY.search(each.text) and self._names(each, found))
            for each in self._modules.reached
        )

    def _names(self, module: Module, other: Module | Elsewhere) -> bool:
        return any(each.module == other.name for each in self._modules.modules_named(module))

    def _outside(self, each: ImportStatement, target: str) -> _Problem:
        where = f", to '{target}', and there is no such plugin" if target else ""
        parts = target.split(".") if target else [each.name or ""]
        ends = (".".join(parts[at:]) for at in range(len(parts)))
        shared = next((end for end in ends if isinstance(self._modules.find(end), Module)), None)
        fix = "name the module without dots"
        if shared is not None:
            fix = f"it is code that plugins share: import '{shared}', without dots"
        return _Problem(IMPORT_OUTSIDE, f"the import leads out of the plugin's folder{where}", fix)

    def _missing(self, module: Module, each: ImportStatement, missing: str) -> _Problem:
        message = f"there is no module {_shown(missing, module)!r}"
        parent, _, last = missing.rpartition(".")
        own = self._modules.find(f"{_home(module)}.{missing}")
        if not parent and module.ref is not None and isinstance(own, Module):
            dots = "." * (module.name.count(".") - _home(module).count(".") + bool(module.search))
            what = f"{dots} import {missing}" if each.name is None else f"{dots}{missing} import"
            fix = f"it is a module of this plugin: write 'from {what}'"
            return _Problem(IMPORT_MISSING, message, fix)
        roots = self._modules.roots
        for advice in roots.without_init(missing):
            return _Problem(IMPORT_MISSING, message, advice)
        above = self._modules.find(parent) if parent else None
        folders = roots.folders_for_children()
        if isinstance(above, Module):
            folders = [*above.search]
        names = {each.name for each in pkgutil.iter_modules(folders)}
        if not parent:
            names |= sys.stdlib_module_names
        # Of so many names, some resemble any word a little.
        guess = closest(last, names, likeness=0.6 if parent else 0.75)
        fixes = [f"did you mean {guess!r}?"] if guess else []
        if not parent:
            message += ", neither in a file nor installed"
            fixes.append("install what provides it, or name its folder: --watch-code DIR")
        return _Problem(IMPORT_MISSING, message, " ".join(fixes))

    def _unbound(self, module: Module, found: Module | Elsewhere, name: str) -> _Problem:
        if isinstance(found, Module) and found.file is None:
            missing = _shown(f"{found.name}.{name}", module)
            return _Problem(IMPORT_MISSING, f"there is no module {missing!r}")
        guess = closest(name, found.names, likeness=0.6 if isinstance(found, Module) else 0.8)
        if guess is not None and not found.may_bind(guess):
            guess = None
        message = f"{_shown(found.name, module)!r} binds no {name!r}"
        return _Problem(NAME_MISSING, message, f"did you mean {guess!r}?" if guess else "")

    def _undeclared(self, ref: PluginRef, other: PluginRef) -> _Problem | None:
        graph = self._project.graph
        if ref in graph.downstream([other]):
            return None
        if other in graph.downstream([ref]):
            message = f"imports code of {other}, which depends on {ref} in turn"
            fix = "move what both need into a module beside them"
        else:
            path, line = place_of_dependencies(self._project.plugins[ref][1])
            message = f"imports code of {other}, which may not be loaded yet"
            fix = f"add it to depends_on in {path}:{line}"
        return _Problem(IMPORT_UNDECLARED, message, fix)


def _home(module: Module) -> str:
    """Return the package of its plugin, or the outermost one that it is in."""
    return module.name.partition(".")[0] if module.ref is None else package_name(module.ref)


def _shown(name: str, module: Module) -> str:
    """Return `name` as a person would write it in `module`'s plugin."""
    return name.removeprefix(_home(module)) if module.ref is not None else name
