"""No secrets out: what is kept or sent passes here and becomes plain, bounded, and free of credentials.

Two rules, since neither alone is enough: by name (a parameter called `api_key` is masked whatever it holds) and by
value (what an environment variable with such a name holds is masked wherever it turns up, in a URL, a message, a
traceback). Names are matched by whole words, so that `use_cls_token` or `keypoints` stay.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trainer_hooks.metrics import Unreadable, items_of, read_number, text_of
from trainer_hooks.shield import ask

MASK = "****"
_DEEPEST = 8
_MOST_ITEMS = 2_000
_MOST_NAMES = 50_000
_LONGEST_TEXT = 64_000
_LONGEST_DESCRIPTION = 500
_LEFT_OUT = "…"
_MOST_CHARACTERS = 1_000_000
_MOST_IN_A_LIST = 3_000_000
_COST_OF_A_VALUE = 8
_SHORT_TEXT = 200
_SHORTEST_SECRET = 6
_PAIR = 2
_SIMPLE = (str, bytes, int, float, bool)
_LONGEST_CREDENTIAL = 4_096

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = frozenset(
    [
        "password",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "secrets",
        "credential",
        "credentials",
        "authorization",
        "cookie",
        "apikey",
        "accesskey",
        "secretkey",
        "accesstoken",
        "authtoken",
    ]
)
_SECRET_PAIRS = frozenset(
    f"{first} {second}"
    for second, firsts in {
        "key": "api access secret private account encryption ssh signing",
        "token": "auth access api bearer refresh session security hf hub github gitlab wandb clearml hooks job id",
    }.items()
    for first in firsts.split()
)
# Where a credential lies is no credential; and PWD is the shell's working directory.
_PLACES = frozenset(["file", "path", "dir", "directory", "sock", "oldpwd"])
# `name=value`, `"name": "value"`: the rule by name, for texts. The first pattern spares most texts the second.
_MAY_NAME_ONE = re.compile(r"(?i)passw|pwd|passphrase|secret|token|key|credential|cookie")
_NAMED = re.compile(r"\b([A-Za-z_][\w-]{1,60})((?:\\{0,3}['\"])?)\s{0,2}[=:]{1,2}>?\s{0,2}(?!\s)")
# `--name value`, the same for command lines.
_OPTION = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]{1,60})()\s{1,3}(?![\s-])")
# How far a value goes, by what it begins with and where it stands.
_QUOTE = re.compile(r"[bBrRuUfF]{0,2}('''|\"\"\"|\\{0,3}['\"])")  # JSON within JSON has backslashes before it
_TO_THE_QUOTE = {quote: re.compile(rf"\\.|{quote}", re.DOTALL) for quote in ("'''", '"""', "'", '"')}
_TO_THE_BLANK = re.compile(r"\S*")
_IN_A_MAPPING = re.compile(r"[^\s,;)}\]]*")
_IN_A_QUERY = re.compile(r"[^\s&\"<>]*")
_TO_THE_END_OF_THE_LINE = re.compile(r"[^\r\n]*")
_BEFORE_A_QUERY = ("?", "&", "#")
_COOKIES = frozenset(["cookie", "set-cookie"])
_PASSWORD = re.compile(r"://[^/\s:@]{0,200}:([^/\s@]{1,4096})@")
# Long, in one piece, with digits in it, and no path.
_KEY = re.compile(r"(?![/.~])(?=\D*\d)[^\s:]{16,}")
_IN_TEXT = (
    (re.compile(r"(?<=://)[^/\s:@'\"]*:[^/\s@'\"]*(?=@)"), MASK),
    (re.compile(r"(?i)\b((?:proxy-)?authorization\W{1,4}(?:bearer|basic|token)?\s*)[^\s'\",;]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    (
        re.compile(
            r"(?i)([?&](?:X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature|sig)=)[^&\s'\",;)]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}\b|\bhf_\w{20,}\b|\bsk-[\w-]{20,}\b"), MASK),
)


def is_secret_name(name: str) -> bool:
    """Whether something of that name holds a credential, going by the words in it."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in _PLACES:
        return False
    if words == ["token"] or not _SECRET_WORDS.isdisjoint(words) or any(word.endswith("password") for word in words):
        return True
    return any(f"{one} {two}" in _SECRET_PAIRS for one, two in itertools.pairwise(words))


def known_secrets(environ: Mapping[str, str]) -> list[str]:
    """What the environment holds under secret names, and the passwords in its addresses.

    There, whatever ends in TOKEN is one, and what ends in KEY, if it looks like one.
    """
    named = [value for name, value in environ.items() if name != "PWD" and _is_secret_variable(name, value)]
    return [*named, *itertools.chain.from_iterable(map(passwords_in, environ.values()))]


def passwords_in(text: str) -> list[str]:
    """The passwords of addresses in a text: `https://user:password@host`."""
    return _PASSWORD.findall(text) if "@" in text else []


def _is_secret_variable(name: str, value: str) -> bool:
    upper = name.upper()
    return is_secret_name(name) or upper.endswith("_TOKEN") or (upper.endswith("_KEY") and bool(_KEY.fullmatch(value)))


class Redactor:
    """Makes values plain and texts clean; `known` are secrets to be masked wherever they stand."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        values = sorted({value for value in known if len(value) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, values))) if values else None
        self._margin = max(_LONGEST_CREDENTIAL, *map(len, values), 0)
        # Names of classes, tasks, checkpoints and their places come again with every epoch.
        self._cleaned = functools.lru_cache(maxsize=1024)(self._clean)

    def text(self, text: str, longest: int = _LONGEST_TEXT) -> str:
        """The text without secrets, valid Unicode, cut in the middle where it is longer than `longest` characters."""
        if len(text) <= _SHORT_TEXT and len(cleaned := self._cleaned(text)) <= longest:
            return cleaned
        half = max(1, longest // 2)
        margin = self._margin
        if len(text) > longest + 2 * margin:
            # Masked with a margin that is then cut off: half of a secret would not be recognized at the cut.
            start, end = self._clean(text[: half + margin])[:-margin], self._clean(text[-half - margin :])[margin:]
        else:
            start = end = self._clean(text)
            if len(start) <= longest:
                return start
        return f"{start[:half]}\n… {len(text) - longest} characters left out …\n{end[-half:]}"

    def plain(self, value: Any) -> Any:
        """The value as JSON can hold it: numbers, texts, lists and mappings; other objects become short texts.

        Never raises, whatever the objects do when they are looked at; about a million characters at most.
        """
        return _Plain(self).of(value, _DEEPEST, frozenset())

    def mapping(self, values: Any) -> dict[str, Any]:
        """A mapping, or an object's attributes, made plain, the values of secret names masked; empty for None."""
        return _Plain(self).mapping(values)

    def mappings(self, values: Any) -> list[dict[str, Any]]:
        """Mappings made plain, as many as there is room for; none where there is no sequence of them."""
        items = ask(lambda: _some(values, _MOST_NAMES))
        return [] if isinstance(items, Exception) else _Plain(self, _MOST_IN_A_LIST).mappings(items)

    def word(self, value: Any) -> str | None:
        """What something is called, as a text; None for None."""
        if type(value) is str:
            return self.text(value)
        plain = self.plain(value)
        return plain if plain is None or isinstance(plain, str) else str(plain)

    def words(self, values: Any) -> list[str]:
        """Names, as texts: of one text, of a sequence, or the values of a mapping; what is None is left out."""
        if type(values) is list and all(type(value) is str for value in values) and _is_short(values):
            return [self.text(value) for value in values]
        if issubclass(type(values), (str, os.PathLike)):
            values = [values]
        items = ask(lambda: _some(values.values() if issubclass(type(values), Mapping) else values, _MOST_NAMES))
        return [] if isinstance(items, Exception) else _Plain(self).words(items)

    def words_by_name(self, values: Any) -> dict[str, str]:
        """Texts by name, as `mapping`; what is None is left out."""
        plain = self.mapping(values)
        return {name: str(value) for name, value in plain.items() if value is not None}

    def _clean(self, text: str) -> str:
        if self._known:
            text = self._known.sub(MASK, text)
        text = text.replace("\0", "\\x00")  # which databases refuse: the whole event would be lost for it
        for pattern, replacement in _IN_TEXT:
            text = pattern.sub(replacement, text)
        if _MAY_NAME_ONE.search(text):
            text = _without_named(_OPTION, _without_named(_NAMED, text))
        return text.encode("utf-8", "backslashreplace").decode()


class _Plain:
    """Makes one value plain, within one budget for all that is in it."""

    def __init__(self, redactor: Redactor, characters: int = _MOST_CHARACTERS) -> None:
        self._redactor = redactor
        self._left = characters

    def of(self, value: Any, depth: int, above: frozenset[int]) -> Any:
        answer = ask(lambda: self._of(value, depth, above))
        return _nameless(value) if isinstance(answer, Exception) else answer

    def mapping(self, values: Any) -> dict[str, Any]:
        """See `Redactor.mapping`."""
        if values is None:
            return {}
        items = ask(lambda: _pairs(values))
        if isinstance(items, Exception):
            items = ask(lambda: _pairs(vars(values)))
        return self._dictionary([("value", values)] if isinstance(items, Exception) else items, _DEEPEST, frozenset())

    def mappings(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        """See `Redactor.mappings`."""
        return [self.mapping(value) for value in itertools.takewhile(self._has_room, values)]

    def words(self, values: Sequence[Any]) -> list[str]:
        """Each as a text, but for those that are None."""
        shown = [self.of(value, 1, frozenset()) for value in itertools.takewhile(self._has_room, values)]
        return [value if isinstance(value, str) else str(value) for value in shown if value is not None]

    def _of(self, value: Any, depth: int, above: frozenset[int]) -> Any:
        self._left -= _COST_OF_A_VALUE
        if self._left < 0:
            return "…"
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (str, os.PathLike)):
            # A text is taken as it is, whatever a class of the host's own says of it.
            return self._text(str.__str__(value) if isinstance(value, str) else os.fsdecode(value))
        if isinstance(value, (int, float)):
            return _plain_number(value)
        if depth == 0 or id(value) in above:
            return "…"
        return self._container(value, depth - 1, above | {id(value)})

    def _container(self, value: Any, depth: int, above: frozenset[int]) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return self._dictionary(_pairs(value), depth, above)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._list(value, depth, above)
        try:
            return read_number(value)
        except Unreadable:
            return self._text(str(value), _LONGEST_DESCRIPTION)

    def _list(self, value: Iterable[Any], depth: int, above: frozenset[int]) -> list[Any]:
        parts = _some(value, _MOST_ITEMS + 1)
        # A command's arguments, and headers in pairs, have their secrets behind the names.
        named = _masked_in_a_row(parts[:_MOST_ITEMS], pair=isinstance(value, tuple) and len(parts) == _PAIR)
        shown = [self.of(part, depth, above) for part in itertools.takewhile(self._has_room, named)]
        return shown if len(shown) == len(parts) else [*shown, _LEFT_OUT]

    def _dictionary(self, pairs: Sequence[tuple[Any, Any]], depth: int, above: frozenset[int]) -> dict[str, Any]:
        items = itertools.takewhile(self._has_room, pairs[:_MOST_ITEMS])
        shown = [self._item(key, item, depth, above) for key, item in items]
        return dict(shown if len(shown) == len(pairs) else [*shown, (_LEFT_OUT, "the rest is left out")])

    def _item(self, key: Any, value: Any, depth: int, above: frozenset[int]) -> tuple[str, Any]:
        said = text_of(key)
        name = _nameless(key) if said is None else said
        return self._text(name), MASK if _masks(name, value) else self.of(value, depth, above)

    def _text(self, text: str, longest: int = _LONGEST_TEXT) -> str:
        clean = self._redactor.text(text, max(0, min(longest, self._left)))
        self._left -= len(clean)
        return clean

    def _has_room(self, _: Any) -> bool:
        return self._left > 0


def _pairs(values: Any) -> list[tuple[Any, Any]]:
    """The items of a mapping, or of what can be made one; one more than are told, where there are more."""
    if issubclass(type(values), Mapping):
        return items_of(values, _MOST_ITEMS + 1)
    if type(values) in _SIMPLE:
        return [("value", values)]
    if hasattr(values, "keys"):
        return [(key, values[key]) for key in _some(values.keys(), _MOST_ITEMS + 1)]
    return [(key, value) for key, value in _some(values, _MOST_ITEMS + 1)]


def _some(values: Iterable[Any], most: int) -> list[Any]:
    """The first ones: what a host gives may have no end."""
    return list(itertools.islice(values, most))


def _is_short(texts: list[str]) -> bool:
    return len(texts) <= _MOST_NAMES and sum(map(len, texts)) <= _MOST_CHARACTERS


def _nameless(value: Any) -> str:
    return f"<{type(value).__qualname__}>"


def _masked_in_a_row(values: Iterable[Any], *, pair: bool) -> Iterator[Any]:
    """The values, each masked that stands behind the name of a secret: an option's, or the first of a pair."""
    name = ""
    for place, value in enumerate(values):
        yield MASK if name and _masks(name, value) else value
        is_name = type(value) is str and (value.startswith("-") or (pair and place == 0))
        name = value if is_name and "=" not in value else ""


def _masks(name: str, value: Any) -> bool:
    """Whether the value has to go: whatever it is, unless it only says that there is none, or whether there is one."""
    says_nothing = type(value) in (type(None), bool) or (type(value) is str and not value)
    return not says_nothing and is_secret_name(name)


def _without_named(pattern: re.Pattern[str], text: str) -> str:
    """The text, each value masked in front of which the pattern finds the name of a secret."""
    parts = []
    position = done = 0
    while found := pattern.search(text, position):
        position = found.end()  # and not the value's: a further name may stand in it, and its own value behind it
        within = position < done and not _QUOTE.match(text, position)
        if within or not is_secret_name(found[1]):
            continue
        start, end = _value_behind(found)
        if start > done and start < end:
            parts += [text[done:start], MASK]
        done = max(done, end) if start < end else done
    return "".join([*parts, text[done:]])


def _value_behind(name: re.Match[str]) -> tuple[int, int]:
    """From where to where the value stands that such a name has; rather more than too little of it."""
    text, start = name.string, name.end()
    quote = _QUOTE.match(text, start)
    if quote:
        return quote.end(), _closing(quote)
    if name[2]:
        form = _IN_A_MAPPING
    elif name[1].lower() in _COOKIES:
        form = _TO_THE_END_OF_THE_LINE
    else:
        before = text[max(0, name.start() - 1) : name.start()]
        form = _IN_A_QUERY if before in _BEFORE_A_QUERY else _TO_THE_BLANK
    return start, _end(form, text, start)


def _closing(quote: re.Match[str]) -> int:
    """Where the quotation ends: at the same quote, or with the line if that never comes."""
    text, mark = quote.string, quote[1]
    if mark in _TO_THE_QUOTE:
        ends = (found.start() for found in _TO_THE_QUOTE[mark].finditer(text, quote.end()) if found[0] == mark)
        end = next(ends, -1)
    else:
        end = text.find(mark, quote.end())
    return end if end >= 0 else _end(_TO_THE_END_OF_THE_LINE, text, quote.end())


def _end(form: re.Pattern[str], text: str, start: int) -> int:
    found = form.match(text, start)
    return found.end() if found else start


def _plain_number(value: float) -> Any:
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else str(value)
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
