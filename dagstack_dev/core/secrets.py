"""What is kept secret wherever it would be shown: in messages, frames, logs and reprs.

- Values that manifests and configurations keep under telling keys are known, and masked wherever
  they occur: `remember`.
- Structured values are masked by their keys: `masked`.
- So is text where a telling key stands before a literal, and what has a form that only secrets
  have, as the password in a URL: `masked_text`, and `masked_lines` for the lines of a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MASK: Final = "***"
"""What stands in the place of a secret."""

LINES_OF_A_SECRET: Final = 200
"""How many lines before a line are looked at for the beginning of a secret."""

SECRET_TABLES: Final = frozenset({"env", "auth"})
"""Tables of a manifest whose values are secret, whatever their keys."""

_SECRET_WORDS: Final = frozenset({
        "password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "credential",
        "credentials", "creds", "authorization", "cookie", "cookies", "apikey", "apikeys",
        "privatekey", "accesskey", "jwt",
})  # fmt: skip
_LAST_WORDS: Final = frozenset({"token", "tokens", "auth", "pass", "bearer"})
"""Words that speak of a secret only at the end of a key: not `token_count`."""

_KEYS_OF: Final = frozenset({
        "api", "access", "private", "secret", "signing", "encryption", "master", "account",
})  # fmt: skip
"""Words before `key` that make it a secret."""

_ABOUT: Final = frozenset({
        "env", "file", "path", "name", "url", "uri", "endpoint", "header", "type", "hint", "policy",
        "length", "count", "limit", "size", "ttl", "expires", "expiry", "timeout", "min", "max",
        "field", "prompt", "error",
})  # fmt: skip
"""Words at the end of a key that speaks of a secret, but does not hold it."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_TELLING: Final = "pass|pwd|secret|token|key|cred|auth|cookie|jwt|bearer"
"""What every telling key has in it."""

_FORMS: Final = re.compile(
    r"""(?P<before>://[^\s/:@'"<>]*:)(?:[^\s/'"<>]+|(?!\d+/)[^\s@'"<>]{1,200})(?=@)"""
    r"|(?P<header>\b(?i:authorization|cookie):[ \t]*)[^\s\"'*][^\n]*"
    r"|(?P<scheme>\b(?i:bearer|basic)\s+)(?=[A-Za-z]*\d)[\w.~+/=-]{6,}"
    r"|(?P<option>(?<![\w-])--[a-z-]*?(?:token|password|secret|api-?key)['\"]?,?[ ]['\"]?)[^\s'\"]+"
    r"|(?P<begin>-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)(?s:.*?)(?=-----END |\Z)"
    r"|\b(?:sk-[\w-]{16,}|gh[oprsu]_\w{20,}|xox[abeprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"
)
_SIGNS: Final = (
    *_TELLING.split("|"),
    *("://", "basic", "sk-", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "xox", "akia", "eyj"),
)
"""What any text has one of in it that holds a secret by name or form, once it is in lower case. To
look for them one by one is faster than any regular expression, by far where that ignores case."""

_LITERAL: Final = (
    r"[A-Za-z]{0,2}(?:\"\"\"(?s:.*?)(?:\"\"\"|\Z)|'''(?s:.*?)(?:'''|\Z)"
    r"|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?)"
    r"|\{(?:[^{}]++|\{[^{}]*+\}?)*+\}?|\[[^\]]*\]?"
)
_KEY: Final = re.compile(
    rf"""(?<![\w.-])["']?-{{0,2}}(?P<key>(?>env(?![\w.-])|[\w.-]*?(?i:{_TELLING})[\w.-]*))["']?\]?"""
    r"""(?:[ ]?:[ ]?[A-Za-z][\w.\[\]| ]{0,40}?[ ]?=[ ]?"""  # As in `key: str = `.
    r"""|[ \t]*(?:[=!]=|=>|:=|=|:)\s*|\n[ ]{2}[^\n\[]*\[type=\w+,[ ]input_value=)"""
)
_EXPRESSION: Final = r"[A-Za-z_][\w.]*[(\[.]"
_IN_TEXT: Final = re.compile(
    rf"{_LITERAL}|(?!{_EXPRESSION}|<)(?:(?<==)|(?=[^\s,;&)\]}}'\"\d]{{0,100}}\d))[^\s,;&)\]}}'\"]+"
)
"""A value in a message or in code: a literal, or a word right after `=` or with a digit in it."""

_IN_DATA: Final = re.compile(rf"{_LITERAL}|[^\s,\]}}#\[{{](?:[^,\]}}#\n]*[^\s,\]}}#])?")
_TABLES: Final = re.compile(
    r"(?ms)^(?P<head>[ \t]*\[{1,2}(?P<keys>[^\]\n]+)\][^\n]*\n)(?P<body>.*?)(?=^[ \t]*\[|\Z)"
)
_ENTRIES: Final = re.compile(rf"(?m)^(?P<head>[ \t]*[\w.\"'-]+[ \t]*=[ \t]*)(?:{_LITERAL}|[^\n]+)")
_NO_VALUE: Final = re.compile(r"(?i)none|null|true|false|str|bytes|\.\.\.|\*+|\"\"|''")

_UNNAMED: Final = re.compile(r"(?=.*\d)(?=.*[A-Za-z])(?![a-z\d.-]+\.[a-z]{2,}$)[^/\\:\s~]{12,}")
"""A value that may be secret, whatever its name: no path, URL, host or plain word."""

_RUN: Final = re.compile(r"\w+")
_MOST_KNOWN: Final = 10_000
_DEPTH: Final = 50

_known: dict[str, tuple[str, ...]] = {}
"""Known values of the whole process by their first words, so that no text is searched for each."""


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Return whether what stands under `key` is a secret, by the words of the key."""
    words = [word.lower() for word in _WORD.findall(key)]
    if not words or words[-1] in _ABOUT:
        return False
    return (
        not _SECRET_WORDS.isdisjoint(words)
        or words[-1] in _LAST_WORDS
        or any(last in {"key", "keys"} and first in _KEYS_OF for first, last in pairwise(words))
    )


def remember(values: Iterable[object]) -> None:
    """Mask `values` from now on in every text they occur in, unless they are all too common."""
    for value in values:
        if isinstance(value, str) and _is_unmistakable(value):
            word = _first_word(value)
            others = {value, *_known.pop(word, ())}
            _known[word] = tuple(sorted(others, key=len, reverse=True))
    while len(_known) > _MOST_KNOWN:
        _known.pop(next(iter(_known)), None)


def _first_word(value: str) -> str:
    word = _RUN.search(value)
    return word[0] if word is not None else ""


def _is_unmistakable(value: str) -> bool:
    """Return whether `value` is neither short nor a plain word such as `postgres`."""
    is_word = re.fullmatch(r"[A-Z]?[a-z]+|[A-Z]+|[\d.]+", value) is not None
    return len(value) >= (16 if is_word else 6)


def remember_environment(env: Mapping[str, str]) -> None:
    """Mask the values of an environment, unless they are paths, URLs, hosts or plain words."""
    remember(
        value
        for name, value in env.items()
        if is_secret_key(name) or name.lower().endswith("key") or _UNNAMED.fullmatch(value)
    )


def secrets_in(config: object, depth: int = 0, *, is_secret: bool = False) -> Iterator[object]:
    """Yield the values under keys that speak of secrets, at any depth of `config`."""
    if isinstance(config, Mapping | list | tuple):
        keyed = config.items() if isinstance(config, Mapping) else (("", each) for each in config)
        for key, value in keyed if depth < _DEPTH else ():
            is_one = is_secret or is_secret_key(str(key))
            yield from secrets_in(value, depth + 1, is_secret=is_one)
    elif is_secret:
        yield config


def masked(value: Any, above: tuple[int, ...] = ()) -> Any:
    """`value` with a mask for every secret in it.

    Args:
        value: anything; mappings, lists and tuples are looked into.
        above: the identities of what `value` is in.
    """
    if isinstance(value, str):
        return masked_text(value)
    if type(value) not in {dict, list, tuple} and not isinstance(value, Mapping):
        return value
    if id(value) in above or len(above) > _DEPTH:
        return "..."
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {
            key: MASK if _is_secret(key, each) else masked(each, above)
            for key, each in value.items()
        }
    is_pair = type(value) is tuple and len(value) == 2  # noqa: PLR2004 - a key and its value
    keys = ["", *(each if is_pair or _is_option(each) else "" for each in value[:-1])]
    return type(value)(
        MASK if _is_secret(key, each) else masked(each, above)
        for key, each in zip(keys, value, strict=False)
    )


def _is_option(value: object) -> bool:
    return isinstance(value, str) and value.startswith("--")


def _is_secret(key: object, value: object) -> bool:
    """Return whether `value` is a secret by its key; no switch, nor a number of tokens."""
    if isinstance(key, bytes):
        key = key.decode("ascii", "replace")
    # The cache would keep the class of a plugin's own kind of text alive.
    if not isinstance(key, str) or not is_secret_key(str.__str__(key)):
        return False
    is_count = isinstance(value, int | float) and key.lower().endswith(("token", "tokens"))
    return not (value is None or isinstance(value, bool) or value == "" or is_count)


def may_hold(line: str) -> bool:
    """Return whether a secret may be in `line`, which is JSON: an escape may stand before one."""
    return "\\" in line or _has_sign(line) or without_known(line) != line


def masked_text(text: str) -> str:
    """`text` with a mask for every secret in it."""
    if _has_sign(text):
        text = _without_pairs(_FORMS.sub(_mask_form, text), _IN_TEXT)
    return without_known(text)


def _has_sign(text: str) -> bool:
    return any(map(text.lower().__contains__, _SIGNS))


def masked_lines(lines: Sequence[str], path: str) -> list[str]:
    """Return the lines of a file with a mask for every secret in them.

    Args:
        lines: of code or of data; which of them, follows from the end of `path`.
        path: the file.
    """
    text = "\n".join(lines)
    if path.endswith((".toml", ".json", ".yaml", ".yml")):
        text = _without_pairs(_TABLES.sub(_mask_table, text), _IN_DATA)
    return masked_text(text).split("\n") if lines else []


def without_known(text: str) -> str:
    """`text` without the secrets that manifests and configurations have given away."""
    for word in _known.keys() & {"", *_RUN.findall(text)} if _known else ():
        for value in _known[word]:
            if value in text:
                text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, text)
    return text


def _mask_form(match: re.Match[str]) -> str:
    return (match[match.lastgroup] if match.lastgroup else "") + MASK + _more_lines(match[0])


def _without_pairs(text: str, values: re.Pattern[str]) -> str:
    """`text` with a mask for each of `values` after a telling key."""
    parts, done, at = [], 0, 0
    while (match := _KEY.search(text, at)) is not None:
        key = match["key"]
        is_secret = is_secret_key(key) or (key in SECRET_TABLES and values is _IN_DATA)
        # What looks like the type of another name may be a telling key, as in `no key: token=`.
        at = match.end() if is_secret else match.end("key")
        if is_secret and (value := values.match(text, at)) and _may_be_secret(key, value[0]):
            quote = re.match("[A-Za-z]{0,2}(\"\"\"|'''|\"|')", value[0])
            mask = f"{quote[1]}{MASK}{quote[1]}" if quote else MASK
            parts += [text[done:at], mask, _more_lines(value[0])]
            done = at = value.end()
    return "".join((*parts, text[done:]))


def _may_be_secret(key: str, value: str) -> bool:
    """Return whether it may be one: no number, no type, nor a variable as in `token=token`."""
    is_count = value.isdigit() and key.lower().endswith(("token", "tokens", "pass"))
    is_variable = value.isidentifier() and is_secret_key(value)
    return not (is_count or is_variable or _NO_VALUE.fullmatch(value))


def _mask_table(match: re.Match[str]) -> str:
    """Return a table of a TOML file, each value masked if its name says that it is secret."""
    last = match["keys"].rpartition(".")[2].strip(" \"'")
    if last not in SECRET_TABLES and not is_secret_key(last):
        return match[0]
    return match["head"] + _ENTRIES.sub(
        lambda entry: entry["head"] + MASK + _more_lines(entry[0]), match["body"]
    )


def _more_lines(text: str) -> str:
    """As many lines of masks as there are in `text` after its first."""
    return f"\n{MASK}" * text.count("\n")
