"""The specifier of `core_version`: PEP 440, as the contract says (section 4)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

_CARET: Final = re.compile(r"\^\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?")
_TILDE: Final = re.compile(r"~\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?")
_WILDCARD: Final = re.compile(r"=?\s*v?(\d+(?:\.\d+)?)\.[xX*](?:\.[xX*])?")
_BARE: Final = re.compile(r"=?\s*v?(\d+(?:\.\d+)*)")
_SPACED: Final = re.compile(r"(?<=[\w*])\s+(?=[<>=!~])")

_USUAL: Final = ">=0.1,<1"


@lru_cache(maxsize=1024)
def accepts(specifier_text: str, core_version: str) -> bool:
    """Return whether a version satisfies a specifier; pre-releases count as versions.

    Args:
        specifier_text: as in a manifest; one that is not valid accepts nothing.
        core_version: of PEP 440.
    """
    specifier = _specifier(specifier_text)
    return specifier is not None and specifier.contains(Version(core_version), prereleases=True)


def admitting(core_version: str) -> str:
    """Return a range from `core_version` up to the next major version."""
    release = Version(core_version).release
    major, minor = (*release, 0)[:2]
    return f">={major}.{minor},<{major + 1}"


def specifier_problem(text: str) -> str | None:
    """Return what is wrong with a specifier, with what to write instead; None for a valid one."""
    if _specifier(text) is not None:
        return None
    meant = _pep_440(text.strip())
    advice = f'write "{meant}"' if meant else f'write for example "{_USUAL}"'
    return f"{text!r} is not a PEP 440 specifier; {advice}"


@lru_cache(maxsize=1024)
def _specifier(text: str) -> SpecifierSet | None:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def _pep_440(text: str) -> str | None:
    """Return the range that npm and Cargo mean by `text`, in the words of PEP 440, or None."""
    if match := _CARET.fullmatch(text):
        return _range(match, _end_of_caret([int(part) for part in match.groups() if part]))
    if match := _TILDE.fullmatch(text):
        parts = [int(part) for part in match.groups() if part]
        return _range(match, [*parts[:1], parts[1] + 1] if len(parts) > 1 else [parts[0] + 1])
    if match := _WILDCARD.fullmatch(text):
        return f"=={match[1]}.*"
    if match := _BARE.fullmatch(text):  # The version that it was written for.
        return admitting(match[1])
    spaced = _SPACED.sub(",", text)
    return spaced if spaced != text and _specifier(spaced) is not None else None


def _end_of_caret(parts: list[int]) -> list[int]:
    """Return the first version that `^` excludes: its leftmost part that is not 0, plus one."""
    place = next((at for at, part in enumerate(parts) if part), len(parts) - 1)
    return [*parts[:place], parts[place] + 1]


def _range(match: re.Match[str], end: list[int]) -> str:
    start = ".".join(part for part in match.groups() if part)
    return f">={start},<{'.'.join(map(str, end))}"
