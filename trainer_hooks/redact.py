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
from collections.abc import Iterable, Mapping
from typing import Any

from trainer_hooks.metrics import Unreadable, read_number
from trainer_hooks.shield import ask

MASK = "****"
_DEEPEST = 8
_MOST_ITEMS = 2_000
_LONGEST_TEXT = 64_000
_LONGEST_DESCRIPTION = 500
_MOST_CHARACTERS = 1_000_000
_COST_OF_A_VALUE = 8
_SHORT_TEXT = 200
_SHORTEST_SECRET = 6
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
_NAMED = re.compile(r"\b([A-Za-z_][\w-]{1,60})(['\"]?\s{0,2}[=:]\s{0,2}['\"]?)(?![\s'\"])([^\s'\",;&)}\]]+)")
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
    """The values that the environment holds under secret names; there, whatever ends in TOKEN is one."""
    return [
        value
        for name, value in environ.items()
        if name != "PWD" and (is_secret_name(name) or name.upper().endswith("_TOKEN"))
    ]


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
        if values is None:
            return {}
        items = ask(lambda: dict(values))
        if isinstance(items, Exception):
            items = ask(lambda: dict(vars(values)))
        plain: dict[str, Any] = self.plain({"value": values} if isinstance(items, Exception) else items)
        return plain

    def word(self, value: Any) -> str | None:
        """What something is called, as a text; None for None."""
        if type(value) is str:
            return self.text(value)
        plain = self.plain(value)
        return plain if plain is None or isinstance(plain, str) else str(plain)

    def words(self, values: Any) -> list[str]:
        """Names, as texts: of one text, of a sequence, or the values of a mapping; what is None is left out."""
        if type(values) is list and all(type(value) is str for value in values):
            return [self.text(value) for value in values]
        if isinstance(values, (str, os.PathLike)):
            values = [values]
        items = ask(lambda: list(values.values() if isinstance(values, Mapping) else values))
        words = [] if isinstance(items, Exception) else [self.word(item) for item in items]
        return [word for word in words if word is not None]

    def words_by_name(self, values: Any) -> dict[str, str]:
        """Texts by name, as `mapping`; what is None is left out."""
        plain = self.mapping(values)
        return {name: str(value) for name, value in plain.items() if value is not None}

    def _clean(self, text: str) -> str:
        if self._known:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _IN_TEXT:
            text = pattern.sub(replacement, text)
        if _MAY_NAME_ONE.search(text):
            text = _NAMED.sub(_masked_if_secret, text)
        return text.encode("utf-8", "backslashreplace").decode()


class _Plain:
    """Makes one value plain, within one budget for all that is in it."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._left = _MOST_CHARACTERS

    def of(self, value: Any, depth: int, above: frozenset[int]) -> Any:
        answer = ask(lambda: self._of(value, depth, above))
        return _nameless(value) if isinstance(answer, Exception) else answer

    def _of(self, value: Any, depth: int, above: frozenset[int]) -> Any:
        self._left -= _COST_OF_A_VALUE
        if self._left < 0:
            return "…"
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (str, os.PathLike)):
            return self._text(os.fsdecode(value))
        if isinstance(value, (int, float)):
            return _plain_number(value)
        if depth == 0 or id(value) in above:
            return "…"
        return self._container(value, depth - 1, above | {id(value)})

    def _container(self, value: Any, depth: int, above: frozenset[int]) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            items = itertools.takewhile(self._has_room, itertools.islice(value.items(), _MOST_ITEMS))
            return dict(self._item(key, item, depth, above) for key, item in items)
        if isinstance(value, (list, tuple, set, frozenset)):
            parts = itertools.takewhile(self._has_room, itertools.islice(value, _MOST_ITEMS))
            return [self.of(part, depth, above) for part in parts]
        try:
            return read_number(value)
        except Unreadable:
            return self._text(str(value), _LONGEST_DESCRIPTION)

    def _item(self, key: Any, value: Any, depth: int, above: frozenset[int]) -> tuple[str, Any]:
        answer = ask(lambda: str(key))
        name = answer if isinstance(answer, str) else _nameless(key)
        return self._text(name), MASK if _masks(name, value) else self.of(value, depth, above)

    def _text(self, text: str, longest: int = _LONGEST_TEXT) -> str:
        clean = self._redactor.text(text, max(0, min(longest, self._left)))
        self._left -= len(clean)
        return clean

    def _has_room(self, _: Any) -> bool:
        return self._left > 0


def _nameless(value: Any) -> str:
    return f"<{type(value).__qualname__}>"


def _masks(name: str, value: Any) -> bool:
    """Whether the value has to go: whatever it is, unless it only says that there is none, or whether there is one."""
    says_nothing = type(value) in (type(None), bool) or (type(value) is str and not value)
    return not says_nothing and is_secret_name(name)


def _masked_if_secret(found: re.Match[str]) -> str:
    name, between, _ = found.groups()
    return f"{name}{between}{MASK}" if is_secret_name(name) else found[0]


def _plain_number(value: float) -> Any:
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else str(value)
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
