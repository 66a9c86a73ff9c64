"""YAML text to plain values that remember their lines. Data only: no tags, anchors or aliases, no key twice.

Scalars follow YAML 1.2 (`on`, `no` and `12:30` are text, `1e-3` is a number), sequences become tuples. Size, depth and
number of values are bounded, and checked on the stream of events, before anything is built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from .catalogue_errors import CatalogueError

Path = tuple[str | int, ...]  # ("tiers", 0, "name")

LIMIT_CHARACTERS = 1_000_000
LIMIT_VALUES = 20_000
LIMIT_DEPTH = 20
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Mapping[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Located:
    """Values, and the line of each. `source` is the file's name, as messages give it."""

    value: Any
    source: str
    lines: Mapping[Path, int]  # of the key where there is one, counted from 1

    def problem(self, path: Path, words: str) -> str:
        """One sentence about the value at `path`; a path that is not in the text has the line of what would hold it."""
        known = next((path[:end] for end in range(len(path), -1, -1) if path[:end] in self.lines), ())
        where = f"{self.source}:{self.lines.get(known, 1)}"
        return f"{where}: {written(path)}: {words}" if path else f"{where}: {words}"


def written(path: Path) -> str:
    """A path as a person writes it: tiers[0].presets.fast."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def parse_yaml(text: str, source: str) -> Located:
    """The values of one YAML document. Raises CatalogueError, which names the line."""
    if len(text) > LIMIT_CHARACTERS:
        raise CatalogueError([f"{source}:1: has {len(text)} characters; at most {LIMIT_CHARACTERS} are read"])
    try:
        _check_events(text, source)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = f"{error.problem or error.context or 'is no YAML'}"
        raise CatalogueError([f"{source}:{mark.line + 1 if mark else 1}: is no YAML: {words}"]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise CatalogueError(
            [f"{source}:{line}: character U+{ord(text[error.position]):04X} is not allowed"]
        ) from error
    if node is None:
        raise CatalogueError([f"{source}:1: is empty"])
    lines: dict[Path, int] = {(): 1}
    return Located(_Builder(source, lines).build(node, ()), source, lines)


def _check_events(text: str, source: str) -> None:
    """Refuse what data does not need and what could grow without bound."""
    depth = values = 0
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise CatalogueError([f"{source}:{line}: anchors and aliases (& and *) are not used here; write it out"])
        if getattr(event, "tag", None) is not None:
            raise CatalogueError([f"{source}:{line}: tags ({event.tag}) are not used here; write plain values"])
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if depth > LIMIT_DEPTH:
            raise CatalogueError([f"{source}:{line}: is nested deeper than {LIMIT_DEPTH} levels"])
        if values > LIMIT_VALUES:
            raise CatalogueError([f"{source}:{line}: more than {LIMIT_VALUES} values"])


class _Builder:
    """Turns nodes into values and writes down their lines."""

    def __init__(self, source: str, lines: dict[Path, int]) -> None:
        self._source = source
        self._lines = lines

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return {key: self.build(value, (*path, key)) for key, value in self._items(node, path)}
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.build(item, (*path, index)) for index, item in enumerate(node.value))
        return node.value if node.style is not None else self._scalar(node, path)

    def _items(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise CatalogueError([f"{self._source}:{line}: {written(path)}: a key must be a plain word"])
            at = (*path, key_node.value)
            if at in self._lines:
                first = self._lines[at]
                raise CatalogueError([f"{self._source}:{line}: {written(at)}: given twice, first on line {first}"])
            self._lines[at] = line
            yield key_node.value, value

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = node.value
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        number = float(text) if _DECIMAL.fullmatch(text) else None
        if _NOT_FINITE.fullmatch(text) or (number is not None and not math.isfinite(number)):
            line = node.start_mark.line + 1
            raise CatalogueError([f"{self._source}:{line}: {written(path)}: must be finite, given {text}"])
        return text if number is None else number
