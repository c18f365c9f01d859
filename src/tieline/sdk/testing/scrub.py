"""Scrubbing: what a vendor really answered, with stand-ins for all that could tell of whom.

A text is taken apart into words and numbers; each gets a stand-in of the same shape, the same one wherever it comes again, so that ids
still join, links still lead on and a name within a longer text is still the same name. What the provider's own source
names is kept, for that is the vendor's vocabulary: states, types, paths. So are dates, truth values and small numbers.
"""

from __future__ import annotations

import ast
import hmac
import re
import secrets
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from tieline.sdk.entities import Entity

_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")
_URL = re.compile(r"https?://[^\s<>\"']+")
_HOST = r"(?:[\w-]+\.)+[A-Za-z]{2,12}"
_EMAIL = re.compile(rf"([\w.+'-]+)@({_HOST})")
_IPV4 = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_WORD = re.compile(r"[^\W_]+")
_TIMELY = re.compile(
    r"(?:^|_)(?:time|date|ts|exp|iat)(?:$|_)|_at$|At$|Time$|Date$|created|updated|expir", re.IGNORECASE
)
_TELLING = re.compile(r"phone|mobile|fax|zip|postal|street|address", re.IGNORECASE)
_CONSONANTS, _VOWELS, _DIGITS = "bcdfghklmnprstvz", "aeiou", "0123456789"
_SMALL = 10_000
_TRIES = 30
_KEPT_WORDS = frozenset(
    {"http", "https", "api", "www", "com", "example", "true", "false", "null", "next", "prev", "rel"}
)


class Scrubber:
    """One recording's stand-ins; they are made with a key that is thrown away with it."""

    def __init__(self, vocabulary: Iterable[str], *, secret: Mapping[str, str], hosts: Iterable[str] = ()) -> None:
        self._kept = _KEPT_WORDS | {word.lower() for text in vocabulary for word in _WORD.findall(text)}
        self._secret = dict(sorted(secret.items(), key=lambda pair: -len(pair[0])))
        self._hosts = frozenset(hosts)
        ours = [re.escape(one) for one in self._secret.values()]
        self._whole_ones = re.compile("|".join([*ours, *(one.pattern for one in (_MOMENT, _URL, _EMAIL, _IPV4))]))
        self._key = secrets.token_bytes(32)
        self._standing: dict[str, str] = {}
        self._taken: set[str] = set()

    def json(self, value: Any, *, name: str = "") -> Any:
        """A JSON value; `name` is the key that it stands under."""
        if isinstance(value, dict):
            return {self.name(key): self.json(one, name=key) for key, one in value.items()}
        if isinstance(value, list):
            return [self.json(one, name=name) for one in value]
        if isinstance(value, str):
            return self.text(value, telling=bool(_TELLING.search(name)))
        if type(value) is int and abs(value) >= _SMALL and not _TIMELY.search(name):
            return int(self._stand_in(str(abs(value)))) * (1 if value > 0 else -1)
        return value

    def name(self, key: str) -> str:
        """A key: only one that is itself an id or an address is replaced."""
        is_data = "@" in key or " " in key or (len(key) >= 16 and re.search(r"\d", key))
        return self.text(key) if is_data else key

    def text(self, value: str, *, telling: bool = False) -> str:
        """A text; of one that is `telling` as a whole, such as a telephone number, no part is kept."""
        for secret, stand_in in self._secret.items():
            value = value.replace(secret, stand_in)
        parts, end = [], 0
        for found in self._whole_ones.finditer(value):
            parts += [self._words(value[end : found.start()], telling=telling), self._whole(found[0])]
            end = found.end()
        return "".join([*parts, self._words(value[end:], telling=telling)])

    def url(self, url: str) -> str:
        """A URL: its host unless the provider itself names it, its path and the values of its query; always by https."""
        parts = urlsplit(url)
        path = "/".join(quote(self.text(unquote(one)), safe=":@!$&'()*+,;=~") for one in parts.path.split("/"))
        pairs = [(name, self.text(value)) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
        return urlunsplit(("https", self.host(parts.netloc), path, urlencode(pairs), ""))

    def host(self, host: str) -> str:
        """A host: a name below `.example`, where nothing is, without a port."""
        if not host or host in self._hosts:
            return host
        name = re.sub(r":\d+$", "", host)
        if _IPV4.fullmatch(name) or "." not in name:
            return f"server-{self._stand_in('x' + name.replace('.', 'x').replace('-', 'x'))}.example"
        return ".".join([*(self._words(label) for label in name.split(".")[:-1]), "example"])

    def _whole(self, found: str) -> str:
        if _MOMENT.fullmatch(found) or found in self._secret.values():
            return found
        if _URL.fullmatch(found):
            return self.url(found)
        if matched := _EMAIL.fullmatch(found):
            return f"{self._words(matched[1])}@{self.host(matched[2])}"
        return self.host(found)

    def _words(self, text: str, *, telling: bool = False) -> str:
        return _WORD.sub(lambda found: self._word(found[0], telling=telling), text)

    def _word(self, word: str, *, telling: bool) -> str:
        if word.lower() in self._kept:
            return word
        short = (len(word) == 1 and word.isascii()) or (word.isdigit() and len(word) < len(str(_SMALL)))
        return word if short and not telling else self._stand_in(word)

    def _stand_in(self, word: str) -> str:
        """Letters for letters and digits for digits, each in its case; a plain word's stand-in does not depend on its case."""
        key = word if re.search(r"\d", word) else word.lower()
        if key not in self._standing:
            made, attempt = key, 0
            while made == key or made in self._taken:
                made, attempt = self._draw(key, attempt), attempt + 1
            self._standing[key] = made
            self._taken.add(made)
        made = self._standing[key]
        if key != word.lower() or key == word:
            return made
        cased = (new.upper() if old.isupper() else new for old, new in zip(word, made, strict=False))
        return "".join([*cased, made[len(word) :]])

    def _draw(self, key: str, attempt: int) -> str:
        key += "a" * (attempt // _TRIES)  # there are few short words
        noise = self._digest(f"{attempt}:{key}", len(key))
        return "".join(
            _draw_one(old, number, index) for index, (old, number) in enumerate(zip(key, noise, strict=True))
        )

    def _digest(self, text: str, length: int = 32) -> bytes:
        noise = b""
        while len(noise) < length:
            noise += hmac.digest(self._key, f"{len(noise)}:{text}".encode(), "sha256")
        return noise[:length]


def vocabulary_of(folder: Path) -> set[str]:
    """Every text that a provider's source holds, without its prose: what the vendor calls things."""
    found: set[str] = set()
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        prose = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        prose |= {
            id(word.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for word in node.keywords
            if word.arg in _PROSE
        }
        found |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        }
    return found


def normal_words() -> set[str]:
    """The words that the normalised kinds themselves know, such as states and severities."""
    kinds = [info.annotation for kind in Entity.__subclasses__() for info in kind.model_fields.values()]
    return {word for annotation in kinds for word in _literals(annotation)}


def _literals(annotation: Any) -> Iterator[str]:
    for part in typing.get_args(annotation):
        if isinstance(part, str) and typing.get_origin(annotation) is typing.Literal:
            yield part
        yield from _literals(part)


_PROSE = frozenset({"help", "description", "title", "app_help", "remains", "advice", "examples"})


def _draw_one(old: str, number: int, index: int) -> str:
    if old.isdigit():
        return _DIGITS[1:][number % 9] if index == 0 else _DIGITS[number % 10]
    letters = _VOWELS if index % 2 else _CONSONANTS
    new = letters[number % len(letters)]
    return new.upper() if old.isupper() else new
