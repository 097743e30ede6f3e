"""What is kept secret wherever it would be shown: in messages, frames, logs and reprs.

Three things tell a secret: the name of its key, as in `api_key`; a form that only secrets have, as
the password in a URL; and that it is one of the values that manifests and configurations have
under such keys, wherever it occurs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MASK: Final = "***"
"""What stands in the place of a secret."""

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

_TELLING: Final = re.compile(
    r"(?i)pass|pwd|secret|token|key|cred|auth|cookie|jwt|://|bearer|basic|sk-|gh._|xox|akia|eyj"
)
"""What any text that holds a secret by name or form has in it."""

_KEY: Final = re.compile(
    r"""(?<![\w.-])(?:[bBfFrRuU]{1,2}(?=["']))?(?P<quote>["']?)-{0,2}(?P<key>[A-Za-z_][\w.-]*+)(?P=quote)\]?"""
    r"""(?P<between>\s*:\s*[A-Za-z][\w.]*(?:\[[\w., |]*\])?(?:\s*\|\s*[\w.]+)*\s*=\s*"""
    r"""|\s*(?:[=!]=|=>|:=|=|:)\s*|,\s*(?=[bBfFrRuU]{0,2}["']))"""
)
_HEADER: Final = re.compile(
    r"(?im)\b((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]{0,40}(?:key|token|secret))(:[ \t]*)"
    r"(?![ \t]*[\"'*]).+"
)
_STRING: Final = re.compile(
    r'[A-Za-z]{0,2}("""|\'\'\')(?s:.*?)(?:\1|\Z)'
    r"|[A-Za-z]{0,2}\"(?:\\.|[^\"\\\n])*\"?"
    r"|[A-Za-z]{0,2}'(?:\\.|[^'\\\n])*'?"
)
_BARE: Final = re.compile(r"[^\s,;&)\]}'\"]+")
_BARE_DATA: Final = re.compile(r"[^\s,\]}#](?:[^,\]}#\n]*[^\s,\]}#])?")
_BRACKETS: Final = {"(": ")", "[": "]", "{": "}"}
_NO_VALUE: Final = re.compile(r"(?i)(none|null|true|false|str|bytes|\.\.\.|\*\*\*)$")
_EXPRESSION: Final = re.compile(r"[A-Za-z_][\w.]*[(\[]|<")
_NUMBER: Final = re.compile(r"[\d._]+")

_FORMS: Final = re.compile(
    r"(?P<url>://[^\s/:@'\"<>]*:)[^\s/'\"<>]+(?=@)"
    r"|(?P<flag>--(?:[a-z]+-)*(?:token|password|passwd|secret|api-?key) )[^\s'\"]+"
    r"|(?P<scheme>\b(?i:bearer|basic)\s+)(?=[A-Za-z]*\d)[\w.~+/=-]{6,}"
    r"|\b(?:sk-[\w-]{16,}|gh[oprsu]_\w{20,}|xox[abeprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"
)
_OF_PYDANTIC: Final = re.compile(
    r"(?m)^([\w.-]+)(\n  [^\n]*\[type=[^\n]*?input_value=)[^\n]*(?=, input_type=)"
)
_OF_JSONSCHEMA: Final = re.compile(
    r"On instance(?:\[[^\]\n]*\])*\['([^'\]\n]*)'\]:\n\s*([^\n]{3,})"
)
_PRIVATE_KEY: Final = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.*?)(?=-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_TABLE: Final = re.compile(r"[ \t]*\[+(?P<keys>[^\]\n]+)\]")
_ENTRY: Final = re.compile(r"[ \t]*(?P<key>[\w.\"'-]+)\s*[=:]\s*")

_DATA_FILES: Final = (".toml", ".json", ".yaml", ".yml")
SECRET_TABLES: Final = frozenset({"env", "auth"})
"""Tables of a manifest whose values are secret, whatever their keys."""

_UNNAMED: Final = re.compile(r"(?=.*\d)(?=.*[A-Za-z])(?![a-z\d.-]+\.[a-z]{2,}$)[^/\\:\s~]{12,}")
"""A value that may be secret, whatever its name: no path, URL, host or plain word."""

_MOST_KNOWN: Final = 1000
_DEPTH: Final = 50

_known: dict[str, None] = {}  # Of the whole process, the newest last: texts know no registry.


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Whether what stands under `key` is a secret, by the words in it, however they are joined."""
    words = [word.lower() for word in _WORD.findall(key)]
    if not words or words[-1] in _ABOUT:
        return False
    pairs = pairwise(words)
    return (
        not _SECRET_WORDS.isdisjoint(words)
        or words[-1] in _LAST_WORDS
        or any(second in {"key", "keys"} and first in _KEYS_OF for first, second in pairs)
    )


def remember(values: Iterable[object]) -> None:
    """Mask `values` from now on in every text they occur in, unless they are all too common."""
    for value in values:
        if isinstance(value, str) and _is_telling(value):
            _known.pop(value, None)
            _known[value] = None
    while len(_known) > _MOST_KNOWN:
        _known.pop(next(iter(_known)), None)


def _is_telling(value: str) -> bool:
    """Whether `value` can be nothing else: no short one, no plain word such as `postgres`."""
    is_word = re.fullmatch(r"[A-Z]?[a-z]+|[A-Z]+|[\d.]+", value) is not None
    return len(value) >= (16 if is_word else 6)


def remember_environment(env: Mapping[str, str]) -> None:
    """Mask the values of an environment, unless they are paths, URLs, hosts or plain words."""
    remember(
        value
        for name, value in env.items()
        if is_secret_key(name) or name.lower().endswith("key") or _UNNAMED.fullmatch(value)
    )


def secrets_in(config: object, depth: int = 0) -> Iterator[object]:
    """The values under keys that speak of secrets, at any depth of `config`."""
    if depth > _DEPTH:
        return
    if isinstance(config, Mapping):
        for key, value in config.items():
            if is_secret_key(str(key)):
                yield from _leaves(value, depth)
            else:
                yield from secrets_in(value, depth + 1)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from secrets_in(value, depth + 1)


def _leaves(value: object, depth: int) -> Iterator[object]:
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list | tuple) and depth <= _DEPTH:
        for each in value:
            yield from _leaves(each, depth + 1)
    else:
        yield value


def masked(value: Any) -> Any:
    """`value` with a mask for every secret in it; the same object where there is none."""
    return _masked(value, {})


def _masked(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, str):
        return masked_text(value)
    if type(value) not in {dict, list, tuple} and not isinstance(value, Mapping):
        return value
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = value  # It may hold itself.
    if len(done) > 10_000:  # noqa: PLR2004 - as many as are worth looking into
        return MASK
    if isinstance(value, Mapping):
        result: Any = {
            key: MASK if _is_secret(key, each) else _masked(each, done)
            for key, each in value.items()
        }
        is_same = all(result[key] is each for key, each in value.items())
    else:
        keys = (None, *(each if _may_be_key(each, value) else None for each in value))
        result = [
            MASK if _is_secret(key, each) else _masked(each, done)
            for key, each in zip(keys, value, strict=False)
        ]
        is_same = all(new is old for new, old in zip(result, value, strict=True))
        result = type(value)(result)
    done[id(value)] = value if is_same else result
    return done[id(value)]


def _may_be_key(each: object, values: Sequence[object]) -> bool:
    """Whether what follows `each` in `values` is its value: a pair, or an option of a command."""
    return isinstance(each, str | bytes) and (len(values) == 2 or each[:1] in {"-", b"-"})  # noqa: PLR2004 - a pair


def _is_secret(key: object, value: object) -> bool:
    """Whether `value` is a secret by its key."""
    if isinstance(key, bytes):
        key = key.decode("ascii", "replace")
    return isinstance(key, str) and is_secret_key(key) and _is_worth_it(key, value)


def _is_worth_it(key: str, value: object) -> bool:
    """Whether there is anything to hide: no switch, nothing empty, and tokens may be counted."""
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value in {"", MASK}):
        return False
    return not (isinstance(value, int | float) and key.lower().endswith(("token", "tokens")))


def masked_text(text: str) -> str:
    """A message with a mask for every secret in it."""
    if _TELLING.search(text) is not None:
        text = _HEADER.sub(rf"\1\2{MASK}", text)
        text = _without_pairs(_without_forms(_without_quotes(text)), _end_of_value_in_words)
    return without_known(text)


def without_known(text: str) -> str:
    """`text` without the secrets that manifests and configurations have given away."""
    for value in tuple(_known):
        if value in text:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, text)
    return text


def masked_lines(lines: Sequence[str], path: str) -> list[str]:
    """The lines of a file with a mask for every secret in them.

    Args:
        lines: of code or of data; what it is, the end of `path` tells.
        path: the file.
    """
    if not lines:
        return []
    if path.endswith(_DATA_FILES):
        text = _without_tables("\n".join(lines))
        text = _without_pairs(_without_forms(text), _end_of_value_in_data)
    else:
        text = _without_pairs(_without_forms("\n".join(lines)), _end_of_value_in_code)
    return without_known(text).split("\n")


def _without_quotes(text: str) -> str:
    """What pydantic and jsonschema say of values, without those of telling keys."""
    text = _OF_PYDANTIC.sub(
        lambda match: match[0] if not is_secret_key(match[1]) else f"{match[1]}{match[2]}{MASK}",
        text,
    )
    for match in _OF_JSONSCHEMA.finditer(text):
        if is_secret_key(match[1]):
            text = text.replace(match[2], MASK)
    return text


def _without_forms(text: str) -> str:
    text = _PRIVATE_KEY.sub(lambda match: match[1] + _mask_of(match[0]), text)
    return _FORMS.sub(
        lambda match: (match["url"] or match["flag"] or match["scheme"] or "") + MASK, text
    )


def _mask_of(value: str) -> str:
    """A mask of as many lines as `value` has, in the same quotes."""
    quote = ""
    if (string := _STRING.match(value)) is not None:
        quote = string[1] or string[0].lstrip("bBfFrRuU")[:1]
    return f"{quote}{MASK}{quote}" + f"\n{MASK}" * value.count("\n")


def _without_pairs(text: str, end_of_value: Callable[[str, int, str], int]) -> str:
    """`text` with a mask for each value that a telling key stands before."""
    parts: list[str] = []
    done = at = 0
    while (match := _KEY.search(text, at)) is not None:
        key, at = match["key"], match.end()
        is_kept = end_of_value is _end_of_value_in_data and key in SECRET_TABLES
        is_loose = match["between"].startswith(",") and not match["quote"]
        if is_loose or not (is_kept or is_secret_key(key)):
            at = match.start("between")
            continue
        end = end_of_value(text, at, match["between"])
        if end > at and _is_text_worth_it(key, text[at:end]):
            parts += (text[done:at], _mask_of(text[at:end]))
            done = at = end
    return "".join((*parts, text[done:])) if parts else text


def _is_text_worth_it(key: str, value: str) -> bool:
    if _NUMBER.fullmatch(value) is not None:
        return not key.lower().endswith(("token", "tokens", "pass"))
    return _NO_VALUE.match(value) is None


def _end_of_value_in_words(text: str, at: int, between: str) -> int:
    """Where a value ends in a message: a word after a colon may be part of a sentence."""
    if text[at : at + 1] in _BRACKETS:
        return _end_of_value_in_code(text, at, between)
    if (string := _STRING.match(text, at)) is not None:
        return string.end()
    bare = _BARE.match(text, at)
    if bare is None or _EXPRESSION.match(text, at):
        return at
    if is_secret_key(bare[0]):  # `self.token = token`, in a traceback.
        return at
    if ":" in between and not re.search(r"\d", bare[0]):
        return at
    return bare.end()


def _end_of_value_in_code(text: str, at: int, between: str) -> int:
    """Where a value ends in code: only literals are secrets, and `key=abc1` inside of them."""
    if text[at : at + 1] in _BRACKETS:
        end = _end_of_bracket(text, at)
        return end if re.search("[\"']", text[at:end]) else at
    if (string := _STRING.match(text, at)) is not None:
        return string.end()
    return _end_of_value_in_words(text, at, ":") if between == "=" else at


def _end_of_value_in_data(text: str, at: int, between: str) -> int:
    """Where a value ends in TOML, JSON or YAML."""
    if text[at : at + 1] in _BRACKETS:
        return _end_of_bracket(text, at)
    if (string := _STRING.match(text, at)) is not None:
        return string.end()
    bare = _BARE_DATA.match(text, at)
    return at if bare is None or "\n" in between else bare.end()


def _end_of_bracket(text: str, at: int) -> int:
    """The end of what is opened at `at`, or of the text."""
    depth = 0
    while at < len(text):
        if (string := _STRING.match(text, at)) is not None:
            at = string.end()
            continue
        depth += (text[at] in _BRACKETS) - (text[at] in _BRACKETS.values())
        at += 1
        if depth == 0:
            return at
    return at


def _without_tables(text: str) -> str:
    """TOML with a mask for each value in a table whose name tells that it is secret."""
    parts: list[str] = []
    is_secret = False
    at = 0
    while at < len(text):
        end = (text.find("\n", at) + 1) or len(text)
        if (table := _TABLE.match(text, at)) is not None:
            last = table["keys"].rpartition(".")[2].strip(" \"'")
            is_secret = last in SECRET_TABLES or is_secret_key(last)
        elif is_secret and (entry := _ENTRY.match(text, at)) is not None:
            value = _end_of_value_in_data(text, entry.end(), "")
            parts += (text[at : entry.end()], _mask_of(text[entry.end() : value]))
            at, end = value, (text.find("\n", value) + 1) or len(text)
        parts.append(text[at:end])
        at = end
    return "".join(parts)
