"""From pydantic's findings to sentences for an operator: file, line, key, what was given, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from .yaml_source import Located, Path

_CROSS_CHECK = "cross_check"
_SHOWN_CHARACTERS = 60
_SECRET_KEYS = frozenset({"url"})  # a journal's URL may hold a password
_PLAIN_WORDS = {  # pydantic shows the pattern; a person wants the rule
    "name": "a name of a-z, 0-9, _ and - (at most 64 characters)",
    "fallback": "a name of a-z, 0-9, _ and - (at most 64 characters)",
    "family": "a word of a-z, 0-9 and _",
    "class": "an import path, package.module:ClassName",
    "revision": "the 40 hexadecimal digits of a commit, in quotes where they are all digits",
    "device": "cpu, cuda or cuda:N",
    "url": "sqlite:///file.db or postgresql+psycopg://user@host/database",
}
_LABEL_FIELDS = frozenset({"labels", "label_selector", "fallback_selectors", "node_selector"})
_LABEL_KEY = "should be a label's name: [prefix/]name of letters, digits, -, _ and . (at most 63 characters)"
_LABEL_WORDS = {
    "labels": "should be a label's value: letters, digits, -, _ and . (at most 63 characters)",
    "node_selector": "should be a label's value: letters, digits, -, _ and . (at most 63 characters)",
    "label_selector": "should be a label's value, !value, in(a, b) or !in(a, b)",
    "fallback_selectors": "should be a label's value, !value, in(a, b) or !in(a, b)",
}


class CrossChecks:
    """Collects what is wrong between fields, each with its path, so that all of it is said at once."""

    def __init__(self) -> None:
        self._problems: list[tuple[Path, str]] = []

    def add(self, path: Path, words: str) -> None:
        """Note a problem at `path`, relative to the model that checks."""
        self._problems.append((path, words))

    def refuse(self) -> None:
        """Raise, inside a pydantic validator, if anything was noted."""
        if self._problems:
            words = "; ".join(f"{'.'.join(map(str, path))}: {words}" for path, words in self._problems)
            raise PydanticCustomError(_CROSS_CHECK, "{words}", {"words": words, "problems": self._problems})


def problems_of(error: ValidationError, located: Located, model: type[BaseModel]) -> list[str]:
    """One sentence a problem, in the order of the lines."""
    errors = error.errors(include_url=False)
    found = {
        (path, words) for details in errors if not _follows(details, errors) for path, words in _read(details, model)
    }
    sentences = [located.problem(path, words) for path, words in found]
    return sorted(sentences, key=lambda sentence: (int(sentence.removeprefix(located.source).split(":")[1]), sentence))


def _follows(details: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """Is a list called too short only because its items were refused one by one?"""
    path = details["loc"]
    inside = (other["loc"] for other in errors if len(other["loc"]) > len(path))
    return details["type"] == "too_short" and any(loc[: len(path)] == path for loc in inside)


def _read(details: ErrorDetails, model: type[BaseModel]) -> Iterator[tuple[Path, str]]:
    path: Path = details["loc"]
    kind = details["type"]
    if path and path[-1] == "[key]":
        yield path[:-1], _key_rule(path)
    elif kind == _CROSS_CHECK:
        for inner, words in details["ctx"]["problems"]:
            yield (*path, *inner), words
    elif kind == "missing":
        yield path, f"is missing; required: {', '.join(_required_at(model, path[:-1]))}"
    elif kind == "extra_forbidden":
        yield path, _unknown(str(path[-1]), _keys_at(model, path[:-1]))
    elif kind in ("too_short", "too_long"):
        least, most = details["ctx"].get("min_length"), details["ctx"].get("max_length")
        yield path, f"needs at least {least}" if most is None else f"has more than {most}"
    elif kind == "value_error":
        yield path, details["msg"].removeprefix("Value error, ")
    elif kind in ("model_type", "model_attributes_type"):
        yield path, f"should be a mapping of {', '.join(_keys_at(model, path))}; given {_shown(details['input'])}"
    else:
        key = str(path[-1]) if path else ""
        allowed = _value_rule(path) if kind in ("string_pattern_mismatch", "string_type") else None
        if allowed is None:
            allowed = details["msg"].replace("Input should", "should", 1)
        yield path, allowed if key in _SECRET_KEYS else f"{allowed}; given {_shown(details['input'])}"


def _key_rule(path: Path) -> str:
    if _LABEL_FIELDS.intersection(path):
        return _LABEL_KEY
    if "custom" in path:
        return "should be a resource's name of letters, digits, ., _, / and -"
    return "should be a name of a-z, 0-9, _ and - (at most 64 characters)"


def _value_rule(path: Path) -> str | None:
    """What a text may be, in words; None: pydantic's will do."""
    for field in reversed(path[:-1]):
        if field in _LABEL_WORDS:
            return _LABEL_WORDS[str(field)]
    if "sizes" in path:
        return "should be WIDTHxHEIGHT in pixels, at most 9999 each, with a small x"
    if path[:1] == ("nodes",) and path[-1] == "name":
        return "should be a name of a-z, 0-9 and - that begins with a letter (at most 40 characters)"
    plain = _PLAIN_WORDS.get(str(path[-1])) if path else None
    return f"should be {plain}" if plain else None


def _unknown(key: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"is no key here; {hint}allowed: {', '.join(allowed)}"


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model of the mapping at `path`, by the types of the fields on the way."""
    kind: Any = model
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = next((field for name, field in kind.model_fields.items() if part == (field.alias or name)), None)
            if field is None:
                return None
            kind = field.annotation
        else:  # dict[str, Model] or tuple[Model, ...]
            inner = [argument for argument in get_args(kind) if argument is not Ellipsis]
            kind = inner[-1] if inner else None
        while get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    found = _model_at(model, path)
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _required_at(model: type[BaseModel], path: Path) -> list[str]:
    found = _model_at(model, path)
    return [field.alias or name for name, field in found.model_fields.items() if field.is_required()] if found else []
