"""Tests of reading YAML: values with lines, and the refusal of what is no plain data."""

import pytest

from serve.catalogue_errors import CatalogueError
from serve.yaml_source import LIMIT_CHARACTERS, LIMIT_DEPTH, LIMIT_VALUES, parse_yaml


def refusal(text: str) -> str:
    with pytest.raises(CatalogueError) as caught:
        parse_yaml(text, "f.yaml")
    (problem,) = caught.value.problems
    return problem


def test_parse_remembers_the_line_of_every_key_and_item() -> None:
    located = parse_yaml("a: 1\n\nb:\n  - x\n  - c:\n      2\n", "f.yaml")
    assert located.value == {"a": 1, "b": ("x", {"c": 2})}
    assert located.problem(("b", 1, "c"), "words") == "f.yaml:5: b[1].c: words"
    assert located.problem(("b", 1, "absent"), "words") == "f.yaml:5: b[1].absent: words"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-7", -7),
        (".5", 0.5),
        ("+1.", 1.0),
        ("12:30", "12:30"),
        ("on", "on"),
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("true", True),
        ("~", None),
        ("'1'", "1"),
        ('"null"', "null"),
    ],
)
def test_parse_reads_scalars_by_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"k: {text}", "f.yaml").value["k"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a: given twice, first on line 1"),
        ("a:\n  b: 1\n  b: 1\n", "f.yaml:3: a.b: given twice, first on line 2"),
        ("a: &x 1\nb: *x\n", "f.yaml:1: anchors and aliases"),
        ("a: 1\n<<: *x\n", "f.yaml:2: anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", "f.yaml:1: tags (tag:yaml.org,2002:python/object"),
        ("a: 1\n? [x]\n: 2\n", "f.yaml:2: : a key must be a plain word"),
        ("a: [1\nb: 2\n", "f.yaml:2: is no YAML: "),
        ("a: 1\n\tb: 2\n", "f.yaml:2: is no YAML: "),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: is no YAML: "),
        ("a: 1\nb: \x00\n", "f.yaml:2: character U+0000 is not allowed"),
        ("# only words\n", "f.yaml:1: is empty"),
        ("[" * 200_000, f"f.yaml:1: is nested deeper than {LIMIT_DEPTH} levels"),
        (f"[{'1,' * LIMIT_VALUES}]", f"f.yaml:1: more than {LIMIT_VALUES} values"),
        ("a" * (LIMIT_CHARACTERS + 1), f"f.yaml:1: has {LIMIT_CHARACTERS + 1} characters"),
    ],
)
def test_parse_refuses_what_is_no_plain_data(text: str, said: str) -> None:
    assert refusal(text).startswith(said)
