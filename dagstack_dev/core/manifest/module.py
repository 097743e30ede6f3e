"""A manifest in Python code: a dict that the text of a module spells out (contract, section 1)."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dagstack_dev.core.errors.files import ManifestInvalid
from dagstack_dev.core.manifest.parsing import load_manifest_from_dict, validated

if TYPE_CHECKING:
    from dagstack_dev.core.manifest.fields import PluginManifest
    from dagstack_dev.core.sources import PluginSource

MANIFEST_ATTRIBUTE: Final = "DAGSTACK_PLUGIN_MANIFEST"
MANIFEST_FUNCTION: Final = "get_dagstack_manifest"


class Written(NamedTuple):
    """A manifest as the text of a module spells it out."""

    fields: Mapping[str, Any]
    node: ast.Dict

    def line_of(self, keys: Sequence[str]) -> int | None:
        """Return the line in which the field `keys` stands; none: that of the dict itself."""
        node: ast.expr = self.node
        line = node.lineno
        for key in keys:
            if not isinstance(node, ast.Dict):
                break
            for at, value in zip(node.keys, node.values, strict=True):
                if isinstance(at, ast.Constant) and at.value == key:
                    line, node = at.lineno, value
        return line


def module_manifest(source: PluginSource) -> PluginManifest:
    """Return the validated manifest of a plugin that is imported by name.

    What the text spells out counts, so that an edit of it is seen without running anything; what
    it computes is taken as it was when the module was imported.

    Raises:
        ManifestInvalid: the text does not parse, there is no manifest, or it is not valid.
    """
    module = source.module
    assert module is not None, "a folder has a file for its manifest"  # noqa: S101
    path = source.manifest_path
    file = source.manifest
    if file is not None and file.error is not None:
        raise ManifestInvalid.of(path, f"cannot be read: {file.error}")
    if file is not None:
        tree = parsed_module(file.content or b"", path)
        written = module.attribute and written_manifest(tree, module.attribute)
        if written:
            return validated(written.fields, path, written.line_of)
        written = written_manifest(tree)
        if written is not None:
            fields = written.fields
            if module.attribute is not None:
                fields = {"entry_point": f"{module.module}:{module.attribute}", **fields}
            return validated(fields, path, written.line_of)
    if module.computed is not None:
        return load_manifest_from_dict(module.computed, path)
    wanted = f"{MANIFEST_ATTRIBUTE} or {MANIFEST_FUNCTION}()"
    raise ManifestInvalid.of(path, f"binds no {wanted}, and there is no dagstack.toml beside it")


def parsed_module(text: bytes, path: str) -> ast.Module:
    """Return the statements of a module.

    Raises:
        ManifestInvalid: the text does not parse.
    """
    try:
        return ast.parse(text, path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = getattr(error, "msg", None) or str(error)
        line = getattr(error, "lineno", None)
        raise ManifestInvalid.of(path, f"is not valid Python: {said}", line) from error


def written_manifest(tree: ast.Module, attribute: str | None = None) -> Written | None:
    """Return the dict that a module binds to `attribute`, or has that function return, or None.

    Only what one statement spells out counts: constants in dicts, lists and tuples.
    """
    for name in (attribute,) if attribute else (MANIFEST_ATTRIBUTE, MANIFEST_FUNCTION):
        found = [statement for statement in tree.body if _touches(statement, name)]
        if found:
            written = _dict_of(found[0], name) if len(found) == 1 else None
            return None if written is None else _literal(written)
    return None


def _literal(node: ast.Dict) -> Written | None:
    try:
        return Written(ast.literal_eval(node), node)
    except (ValueError, TypeError):  # It is computed.
        return None


def _touches(statement: ast.stmt, name: str) -> bool:
    """Return whether `statement`, when the module is imported, may bind or alter `name`."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return statement.name == name
    return any(_alters(node, name) for node in ast.walk(statement))


def _alters(node: ast.AST, name: str) -> bool:
    match node:
        case (
            ast.Name(id=found, ctx=ast.Store() | ast.Del())
            | ast.Subscript(value=ast.Name(id=found), ctx=ast.Store() | ast.Del())
            | ast.Call(func=ast.Attribute(value=ast.Name(id=found)))
            | ast.alias(asname=str(found))
            | ast.alias(name=found, asname=None)
        ):
            return found == name
        case _:
            return False


def _dict_of(statement: ast.stmt, name: str) -> ast.Dict | None:
    """Return the dict that `statement` binds to `name`, or has a function of that name return."""
    value: ast.expr | None = None
    match statement:
        case ast.Assign(targets=[ast.Name(id=bound)]) | ast.AnnAssign(target=ast.Name(id=bound)):
            value = statement.value if bound == name else None
        case ast.FunctionDef(body=[*before, ast.Return(value=returned)]):
            plain = all(isinstance(each, ast.Expr) for each in before)  # A docstring.
            value = returned if plain and not statement.decorator_list else None
        case _:
            pass
    return value if isinstance(value, ast.Dict) else None
