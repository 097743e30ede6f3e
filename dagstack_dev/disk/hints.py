"""What may have been meant, where the words of an exception do not say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dagstack_dev.core.blame import NAMESPACE
from dagstack_dev.core.errors.base import said
from dagstack_dev.core.manifest_forms import MANIFEST_NAME
from dagstack_dev.core.refs import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable


def hint(error: BaseException, path: str | None) -> str:
    """Return what to append to the message of `error`; empty where nothing comes to mind.

    Args:
        error: of a plugin.
        path: the plugin's file whose line raised it, if it is known.
    """
    name = getattr(error, "name", None)
    if not isinstance(name, str) or "did you mean" in said(error).lower():
        return ""
    if isinstance(error, ModuleNotFoundError) and path is not None:
        return _of_module(name, Path(path).parent)
    if isinstance(error, AttributeError):
        return did_you_mean(name, _attributes(error.obj))
    return ""


def _of_module(name: str, folder: Path) -> str:
    """Suggest the relative import for a module beside, and for a plugin what is there for it."""
    beside = _modules(folder)
    if name in beside:
        return f"; it lies beside this file, so write: from . import {name}"
    last = name.rpartition(".")[2]
    if (folder.parent / last / MANIFEST_NAME).is_file():
        return f"; {last} is a plugin: add it to depends_on and use ctx.registry.get_plugin"
    if name.startswith(f"{NAMESPACE}."):
        return did_you_mean(last, beside)
    return ""


def _modules(folder: Path) -> list[str]:
    try:
        return [each.stem for each in folder.iterdir() if each.suffix == ".py" or each.is_dir()]
    except OSError:
        return []


def _attributes(obj: object) -> Iterable[str]:
    try:
        return [each for each in dir(obj) if not each.startswith("_")]
    except Exception:  # noqa: BLE001 - whatever a plugin's class does there
        return []
