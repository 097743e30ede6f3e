"""What `check` finds: each with a code, a place and a way to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from dagstack_dev.core.documents import DocumentInvalid
from dagstack_dev.core.errors import files, life, registry
from dagstack_dev.core.errors.base import said
from dagstack_dev.core.secrets import masked_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagstack_dev.core.errors.base import PluginRegistryError
    from dagstack_dev.core.refs import PluginRef


class Severity(StrEnum):
    """How bad a finding is: an error keeps a plugin from running, a warning may."""

    ERROR = "error"
    WARNING = "warning"


class Rule(NamedTuple):
    """A kind of finding, with a section in docs/checks.md.

    Attributes:
        code: stays what it is for ever.
        name: says it in a few words.
        fix: what to do, in general.
        severity: of all findings of this kind.
    """

    code: str
    name: str
    fix: str
    severity: Severity = Severity.ERROR


MANIFEST = Rule(
    "D101", "manifest-invalid", "mend the manifest; `dagstack-dev docs manifest` lists its fields"
)
CORE_VERSION = Rule(
    "D102", "core-version", "widen core_version once the plugin has been tried with this core"
)
RUNTIME = Rule("D103", "runtime-unknown", "name a runtime that is available")
KIND = Rule("D104", "kind-unknown", "mend kind, or declare it in the hookspecs")
KIND_VERSION = Rule("D105", "kind-version", "port the plugin, and then mend kind_api_version")
DECLARED_TWICE = Rule("D106", "declared-twice", "give one of them another name or kind")
FALLBACK_TWICE = Rule("D107", "fallback-twice", "remove fallback from all but one of them")
HOOKSPECS = Rule(
    "D108", "hookspecs-invalid", "mend the hookspecs; `dagstack-dev docs dispatch` shows their form"
)
MANIFEST_IGNORED = Rule(
    "D109",
    "manifest-ignored",
    "remove one of the manifests, or let both say the same",
    Severity.WARNING,
)
UNREADABLE = Rule("D110", "unreadable", "mend its permissions, or leave it out", Severity.WARNING)
TOO_MANY_FILES = Rule(
    "D111", "too-many-files", "name data in ignore of the manifest", Severity.WARNING
)
MANIFEST_COMPUTED = Rule(
    "D112", "manifest-computed", "write the manifest as a dict of constants", Severity.WARNING
)
DEPENDENCY_MISSING = Rule("D201", "dependency-missing", "add the plugin, or change depends_on")
DEPENDENCY_AMBIGUOUS = Rule("D202", "dependency-ambiguous", "name the kind too in depends_on")
DEPENDENCY_CYCLE = Rule("D203", "dependency-cycle", "remove one of the dependencies")
CODE = Rule("D301", "code-does-not-load", "mend the code")
IMPORT_MISSING = Rule("D302", "import-missing", "install what provides it, or mend the import")
NAME_MISSING = Rule("D303", "name-missing", "mend the name")
IMPORT_OUTSIDE = Rule("D304", "import-outside", "name the module without dots")
IMPORT_LATE = Rule(
    "D305", "import-late-missing", "install what provides it, or mend the import", Severity.WARNING
)
IMPORT_UNDECLARED = Rule(
    "D306", "import-undeclared", "use depends_on and ctx.registry.get_plugin", Severity.WARNING
)
METHOD_SIGNATURE = Rule("D307", "method-signature", "mend the parameters")
METHOD_GENERATOR = Rule("D308", "method-generator", "do not yield in it")
CONFIG_SECTION = Rule("D401", "config-section-invalid", "mend the section, or the schema")
CONFIG_UNUSED = Rule(
    "D402", "config-section-unused", "mend the name of the table, or remove it", Severity.WARNING
)
CONFIG = Rule("D403", "config-invalid", "mend the file")
BLAST = Rule("D501", "blast-radius", "move what changes often out of it", Severity.WARNING)
STANDARD_SHADOWED = Rule(
    "D502", "standard-module-shadowed", "give the file another name", Severity.WARNING
)
SERVER_MISSING = Rule("D601", "server-missing", "install what is missing, or mend the manifest")

RULES: Final = tuple(each for each in dict(vars()).values() if isinstance(each, Rule))
"""All rules, by code."""

_RULE_OF: Final[dict[type, Rule]] = {
    files.ConfigInvalid: CONFIG,
    files.ConfigSectionInvalid: CONFIG_SECTION,
    files.HookspecsInvalid: HOOKSPECS,
    files.ManifestComputed: MANIFEST_COMPUTED,
    files.ManifestInvalid: MANIFEST,
    files.ServerMissing: SERVER_MISSING,
    registry.AmbiguousPlugin: DEPENDENCY_AMBIGUOUS,
    registry.VersionIncompatible: CORE_VERSION,
    registry.RuntimeNotSupported: RUNTIME,
    registry.HookspecMissing: KIND,
    registry.KindVersionIncompatible: KIND_VERSION,
    registry.DependencyCycle: DEPENDENCY_CYCLE,
    registry.DependencyMissing: DEPENDENCY_MISSING,
    life.PluginLoadError: CODE,
    life.SignatureMismatch: METHOD_SIGNATURE,
}
"""Which rule an error of the registry stands for: `watch` prints that very error."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or may be.

    Attributes:
        rule: its kind.
        path: the file, or the folder of a plugin.
        line: counted from 1; None where it is about the whole file.
        column: counted from 1, likewise.
        message: what is wrong.
        fix: what to do, if there is more to say of it than of any finding of its kind.
        ref: the plugin, where one can be named.
    """

    rule: Rule
    path: str
    message: str
    line: int | None = None
    column: int | None = None
    fix: str = ""
    ref: PluginRef | None = None

    @classmethod
    def of(
        cls,
        rule: Rule,
        path: str,
        words: str,
        line: int | None = None,
        column: int | None = None,
        *,
        ref: PluginRef | None = None,
    ) -> Finding:
        """Make one of `words` that say what is wrong and, after a semicolon, what to do."""
        message, _, fix = words.rpartition("; ")
        return cls(rule, path, message or fix, line, column, fix if message else "", ref)

    @property
    def words(self) -> str:
        """What is wrong and what to do."""
        return f"{self.message}; {self.fix}" if self.fix else self.message


def rule_of(error: BaseException) -> Rule | None:
    """Return what kind of finding an error is; None for what only running the code shows."""
    if isinstance(error, registry.AmbiguousPlugin) and error.paths:
        return DECLARED_TWICE if len(error.candidates) == 1 else FALLBACK_TWICE
    if isinstance(error, life.PluginLoadError) and error.stage != "compile":
        return None
    return next((_RULE_OF[each] for each in type(error).__mro__ if each in _RULE_OF), None)


def findings_of(error: PluginRegistryError, place: str) -> Iterator[Finding]:
    """Yield what an error of the registry says, one finding for each problem of a file.

    Args:
        error: why a plugin cannot be built.
        place: the folder of the plugin, for an error that names none.
    """
    rule = rule_of(error) or CODE
    cause, column = error.__cause__, None
    if isinstance(cause, SyntaxError):
        column = cause.offset
    elif isinstance(cause, DocumentInvalid):
        column = cause.column
    if isinstance(error, files.Invalid):
        for problem in error.problems:
            field = f"{problem.field}: " if problem.field else ""
            words = f"{field}{masked_text(problem.message)}"
            yield Finding.of(rule, error.path, words, problem.line, column, ref=error.ref)
        return
    path = error.path or place
    words = said(error).removesuffix(f" ({path}:{error.line})").removesuffix(f" ({path})")
    if isinstance(error, life.PluginLoadError):
        words = masked_text(error.reason)
    yield Finding.of(rule, path, words, error.line, column, ref=error.ref)
