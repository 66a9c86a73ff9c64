"""Dicts as YAML for people: keys in the order in which they were put, long texts as blocks, no anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_WIDTH = 120


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # the same value twice is written twice

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)  # lists stand inside their key


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _short_list(dumper: yaml.SafeDumper, values: Sequence[Any]) -> yaml.SequenceNode:
    plain = not any(isinstance(value, Mapping | list | tuple) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=plain)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _short_list)
_Dumper.add_representer(tuple, _short_list)


def yaml_text(*documents: Mapping[str, Any]) -> str:
    """YAML 1.1, as Ray and Kubernetes read it, of one or more documents."""
    return yaml.dump_all(
        [dict(document) for document in documents],
        Dumper=_Dumper,
        sort_keys=False,
        width=_WIDTH,
        allow_unicode=True,
        explicit_start=len(documents) > 1,
    )
