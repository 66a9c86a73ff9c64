"""YAML that a person reads, and that is read back as it was."""

import yaml

from cluster.manifest.yaml_text import yaml_text


def test_keys_keep_their_order_and_texts_of_lines_are_blocks() -> None:
    shared = {"x": 1.0}
    written = yaml_text({"b": [1, 2], "a": "first\nsecond\n", "c": [shared, shared], "e": [], "f": ("y", "z")})
    assert written == ("b: [1, 2]\na: |\n  first\n  second\nc:\n  - x: 1.0\n  - x: 1.0\ne: []\nf: [y, z]\n")


def test_what_another_reader_would_take_for_something_else_is_quoted() -> None:
    """Go's YAML and Python's read 1.1: yes, on, 12:30, 1e3 and 0x10 are no texts there."""
    values = {"a": "yes", "b": "on", "c": "12:30:00", "d": "1_0", "e": "null", "f": "0x10", "g": "", "h": 8.3e-08}
    assert yaml.safe_load(yaml_text(values)) == values


def test_documents_are_separated() -> None:
    assert list(yaml.safe_load_all(yaml_text({"a": 1}, {"b": None}))) == [{"a": 1}, {"b": None}]
