"""Label selectors mean what Ray means by them."""

import pytest
from pydantic import TypeAdapter, ValidationError

from cluster.labels import matches, written
from cluster.value import LabelKey, LabelRule, LabelValue

L4_SPOT = {"ray.io/accelerator-type": "L4", "ray.io/market-type": "spot"}


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({}, {}, True),
        ({"ray.io/accelerator-type": "L4"}, L4_SPOT, True),
        ({"ray.io/accelerator-type": "l4"}, L4_SPOT, False),
        ({"ray.io/accelerator-type": "L40S"}, L4_SPOT, False),
        ({"ray.io/accelerator-type": "!L4"}, L4_SPOT, False),
        ({"ray.io/accelerator-type": "!A100"}, L4_SPOT, True),
        ({"ray.io/accelerator-type": "in(A100, L4)"}, L4_SPOT, True),
        ({"ray.io/accelerator-type": "in(A100,L4)"}, L4_SPOT, True),
        ({"ray.io/accelerator-type": "in(A100, H100)"}, L4_SPOT, False),
        ({"ray.io/accelerator-type": "!in(A100, L4)"}, L4_SPOT, False),
        ({"ray.io/accelerator-type": "!in(A100, H100)"}, L4_SPOT, True),
        ({"ray.io/accelerator-type": "L4", "ray.io/market-type": "!spot"}, L4_SPOT, False),
        ({"zone": "b"}, L4_SPOT, False),
        ({"zone": "in(b, c)"}, L4_SPOT, False),
        ({"zone": "!b"}, L4_SPOT, True),
        ({"zone": "!in(b, c)"}, L4_SPOT, True),
        ({"zone": "in"}, {"zone": "in"}, True),
    ],
)
def test_a_selector_matches_when_all_its_rules_hold(
    selector: dict[str, str], labels: dict[str, str], expected: bool
) -> None:
    assert matches(selector, labels) is expected


def test_a_selector_is_written_as_in_the_file() -> None:
    assert written({"a": "in(b, c)", "d": "!e"}) == "a: in(b, c), d: !e"


@pytest.mark.parametrize(
    ("kind", "text", "allowed"),
    [
        (LabelRule, "L4", True),
        (LabelRule, "!L4", True),
        (LabelRule, "in(L4, A10G)", True),
        (LabelRule, "!in(L4)", True),
        (LabelRule, "in()", False),
        (LabelRule, "in(L4,", False),
        (LabelRule, "(L4)", False),
        (LabelRule, "!!L4", False),
        (LabelRule, "-L4", False),
        (LabelRule, "", False),
        (LabelRule, "a b", False),
        (LabelRule, "a" * 64, False),
        (LabelKey, "ray.io/accelerator-type", True),
        (LabelKey, "zone", True),
        (LabelKey, "a/b/c", False),
        (LabelKey, "/zone", False),
        (LabelKey, "zone-", False),
        (LabelValue, "a" * 63, True),
        (LabelValue, "!a", False),
        (LabelValue, "a\n", False),
    ],
)
def test_the_syntax_of_labels_is_rays(kind: object, text: str, allowed: bool) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(kind)
    if not allowed:
        with pytest.raises(ValidationError):
            adapter.validate_python(text)
        return
    assert adapter.validate_python(text) == text
    utils = pytest.importorskip("ray._private.label_utils")
    if kind is LabelRule:
        assert utils.validate_label_selector({"key": text}) is None
    else:
        utils.validate_node_label_syntax({text: "value"} if kind is LabelKey else {"key": text})
